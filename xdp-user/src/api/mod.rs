//! HTTP with JSON over a Unix socket: the types, the daemon's side and the client's side.

pub mod client;
mod kept;
pub mod rights;
pub mod server;
mod stream;
pub mod types;
