//! The flow memory of a datapath in memory.

use std::cell::Cell;

use xdp_common::flows::key::keys;
use xdp_common::flows::{self, Direction, Flow, Keys, Line, Retry, WORDS, Window};
use xdp_common::packet::{Packet, PacketView};

use super::cells::MemoryWord;

/// Lines, less one: 4 MiB. A capture or an explained packet has few flows.
const MASK: u32 = (1 << 16) - 1;
/// Nobody attacks a copy.
const SEEDS: [u64; 2] = [0x2545_f491_4f6c_dd1d, 0x9e37_79b9_7f4a_7c15];

/// Its lines, made with the first look.
#[derive(Default)]
pub(super) struct FlowMemory(std::cell::OnceCell<Vec<MemoryLine>>);

#[derive(Default)]
pub(super) struct MemoryLine([Cell<u64>; WORDS]);

impl<'a> Line for &'a MemoryLine {
    type Word = MemoryWord<'a>;

    fn word(self, index: usize) -> MemoryWord<'a> {
        MemoryWord(&self.0[index % WORDS])
    }
}

impl FlowMemory {
    fn line(&self, hash: u64) -> Option<&MemoryLine> {
        let make = || (0..=MASK).map(|_| MemoryLine::default()).collect();
        let lines: &Vec<MemoryLine> = self.0.get_or_init(make);
        lines.get(flows::line_of(hash, MASK) as usize)
    }

    pub(super) fn keys<V: PacketView + ?Sized>(&self, view: &V, packet: &Packet) -> Option<Keys> {
        keys(view, packet, Direction::In, SEEDS)
    }

    pub(super) fn flow(&self, hash: u64, is_tcp: bool, now: u64) -> Option<Flow> {
        flows::find(self.line(hash)?, hash, is_tcp, now)
    }

    pub(super) fn keep(&self, hash: u64, flow: Flow, is_tcp: bool, now: u64) {
        if let Some(line) = self.line(hash) {
            flows::keep(line, hash, flow, is_tcp, now);
        }
    }

    pub(super) fn retried(&self, hash: u64, window: Window, now: u64) -> Retry {
        let line = self.line(hash);
        line.map_or(Retry::First, |line| flows::retried(line, hash, window, now))
    }
}
