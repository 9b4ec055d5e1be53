//! Feeds [`xdp_fuzz::capture`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xdp_fuzz::capture::run(input));
