//! Feeds [`xdp_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xdp_fuzz::config::run(input));
