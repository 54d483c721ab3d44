//! See `number7_fuzz::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    number7_fuzz::signature(data);
});
