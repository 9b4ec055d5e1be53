//! Feeds [`xdp_fuzz::decide`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xdp_fuzz::decide::run(input));
