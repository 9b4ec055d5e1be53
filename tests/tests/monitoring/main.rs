//! What packaging/ has for Prometheus and Grafana: its form, and every query and rule of it against
//! a real Prometheus that scrapes the real daemon under real traffic.
//!
//! Grafana itself isn't needed for that: it substitutes the variables and asks Prometheus, and so
//! does this.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it, too")]

mod attack;
mod benign;
mod deployment;
mod form;
mod rules;

use std::path::{Path, PathBuf};

use xdp_user::exporter::metrics::{METRICS, Metric};

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The exporter's metrics that a query names; recorded series are named otherwise.
fn metrics_in(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("xdp_throttle_"))
        .collect()
}
