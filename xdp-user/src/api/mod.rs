//! HTTP with JSON over a Unix socket, and over TLS: the types, the daemon's side and the client's side.

pub mod client;
mod guard;
mod kept;
pub mod openapi;
mod outcome;
mod refused;
pub mod rights;
pub mod serve;
mod server;
pub mod socket;
mod stream;
mod tokens;
mod transfer;
pub mod types;
