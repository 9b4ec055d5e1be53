//! The controller of xdp-throttle: the daemon and its command line.
//!
//! - [`domain`], [`config`], [`lists`]: what operators write, as types that can't be wrong;
//! - [`datapath`]: the kernel's side in domain verbs, the only place that names the loader;
//! - [`control`]: one task that owns the datapath; [`state`]: what outlives it on disk;
//! - [`doctor`]: what would go wrong on this host, before anything is started;
//! - [`events`]: what happened, for who asks, follows, or reads the log;
//! - [`feeds`]: lists that keep themselves, from files and HTTP servers;
//! - [`host`]: whose packets these are, and what was lost beside the program;
//! - [`replay`]: what a policy would have done to captured traffic;
//! - [`privileges`]: what the daemon may do, and how it gives up the rest;
//! - [`http`]: connections and their bounds; [`api`]: JSON over a Unix socket or TLS; [`cli`]: its
//!   client; [`exporter`]: Prometheus;
//! - [`daemon`]: all of it wired together.

pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod doctor;
pub mod domain;
pub mod events;
pub mod exporter;
pub mod failure;
pub mod feeds;
pub mod host;
pub mod http;
pub mod lists;
pub mod privileges;
pub mod replay;
pub mod state;
mod tokens;
