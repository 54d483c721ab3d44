//! See `number7_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    number7_fuzz::request(data);
});
