//! Traffic of both kinds: floods that don't wait for anybody, and an honest client that does.

pub mod client;
pub mod counter;
pub mod latency;
pub mod pace;
pub mod sender;
pub mod server;
mod socket;
