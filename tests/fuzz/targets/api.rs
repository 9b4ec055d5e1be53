//! Feeds [`xdp_fuzz::api`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xdp_fuzz::api::run(input));
