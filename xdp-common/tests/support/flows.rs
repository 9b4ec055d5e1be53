//! The flow memory in host memory.

use std::sync::atomic::AtomicU64;

use xdp_common::flows::{self, Flow, Line, Retry, Window, find, line_of, retried};

use super::HostWord;

/// Lines of the memory, less one.
const MASK: u32 = (1 << 12) - 1;

/// A line.
#[derive(Default)]
pub struct HostLine([AtomicU64; flows::WORDS]);

impl<'a> Line for &'a HostLine {
    type Word = HostWord<'a>;

    fn word(self, index: usize) -> HostWord<'a> {
        HostWord(&self.0[index])
    }
}

/// The memory.
pub struct HostFlows(Vec<HostLine>);

impl Default for HostFlows {
    fn default() -> Self {
        Self((0..=MASK).map(|_| HostLine::default()).collect())
    }
}

impl HostFlows {
    fn line(&self, hash: u64) -> &HostLine {
        &self.0[line_of(hash, MASK) as usize]
    }

    pub fn flow(&self, hash: u64, is_tcp: bool, now: u64) -> Option<Flow> {
        find(self.line(hash), hash, is_tcp, now)
    }

    pub fn keep(&self, hash: u64, flow: Flow, is_tcp: bool, now: u64) {
        flows::keep(self.line(hash), hash, flow, is_tcp, now);
    }

    pub fn retried(&self, hash: u64, window: Window, now: u64) -> Retry {
        retried(self.line(hash), hash, window, now)
    }
}
