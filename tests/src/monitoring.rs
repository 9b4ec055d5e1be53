//! What packaging/ has for Grafana and Prometheus, and a scene in which all of it shows something.

pub mod boards;
pub mod picture;
pub mod rules;
pub mod scene;

use std::path::PathBuf;

/// A file or directory of packaging/.
fn packaging(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging")).join(path)
}
