//! See `number7_fuzz::diagnosis`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    number7_fuzz::diagnosis(data);
});
