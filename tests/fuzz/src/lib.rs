//! What the fuzzer feeds: one module for each kind of input that comes from outside.
//!
//! A target takes any bytes and fails by panicking. `cargo xtask fuzz` builds each of them as a
//! libFuzzer program and runs it; an input that once failed lies in `regressions/`, and the test
//! suite runs it through the same function.

#![allow(clippy::panic, reason = "a target tells what it found by panicking")]

pub mod api;
pub mod capture;
pub mod config;
pub mod decide;
pub mod lists;

/// A target: its name, which is also the name of its program and of its folder of regressions, and
/// what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("lists", lists::run),
    ("config", config::run),
    ("capture", capture::run),
    ("api", api::run),
    ("decide", decide::run),
];
