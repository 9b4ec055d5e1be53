//! One packet, and what must come of it.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use xdp_common::abi::{ABI_VERSION, MODE_ENFORCE, Plain, Policy};
use xdp_common::reason::{Action, Reason};

use super::Subject;
use crate::domain::Prefix;

pub(super) const FRAME_LEN: usize = 64;

/// Enforces, and limits nobody.
pub(super) fn policy() -> Policy {
    Policy {
        version: ABI_VERSION,
        mode: MODE_ENFORCE,
        source_len_v4: 32,
        source_len_v6: 64,
        source_mask_v4: [0xff; 4],
        source_mask_v6: (u128::MAX << 64).to_be_bytes(),
        ..Policy::ZERO
    }
}

pub(super) fn prefix(text: &str) -> Result<Prefix> {
    Ok(text.parse()?)
}

/// A GRE packet: no stage reads more than its addresses.
pub(super) fn frame(source: &str) -> Result<Vec<u8>> {
    let mut frame = vec![0x02; 12];
    match source.parse()? {
        IpAddr::V4(source) => {
            frame.extend([0x08, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 47, 0, 0]);
            frame.extend(source.octets());
            frame.extend([203, 0, 113, 250]);
        }
        IpAddr::V6(source) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 10, 47, 64]);
            frame.extend(source.octets());
            frame.extend([0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        }
    }
    frame.resize(FRAME_LEN, 0);
    Ok(frame)
}

/// Sends one packet; exactly one counter must move, by that packet.
pub(super) fn expect(
    subject: &mut dyn Subject,
    source: &str,
    reason: Reason,
    action: Action,
) -> Result<()> {
    let before = subject.datapath().counters()?;
    let done = subject.run(&frame(source)?)?;
    let after = subject.datapath().counters()?;
    for other in Reason::ALL {
        for way in [Action::Pass, Action::Drop] {
            let (old, new) = (before.total(*other, way), after.total(*other, way));
            let moved = (new.packets - old.packets, new.bytes - old.bytes);
            let hit = *other == reason && way == action;
            let wanted = if hit { (1, FRAME_LEN as u64) } else { (0, 0) };
            ensure!(
                moved == wanted,
                "{source}: {other:?} {way:?} moved by {moved:?}"
            );
        }
    }
    ensure!(
        done == action,
        "{source}: counted {action:?}, done {done:?}"
    );
    Ok(())
}
