#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| voip_fuzz::ng(bytes));
