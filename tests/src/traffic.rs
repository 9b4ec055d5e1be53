//! Traffic of both kinds: floods that don't wait for anybody, and an honest client that does.

pub mod client;
pub mod counter;
pub mod exchange;
pub mod frames;
pub mod latency;
pub mod pace;
pub mod sender;
pub mod server;
pub mod slots;
pub(crate) mod socket;
