//! Feeds [`xdp_fuzz::lists`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xdp_fuzz::lists::run(input));
