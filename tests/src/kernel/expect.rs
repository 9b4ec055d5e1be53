//! What tests say about one frame.

use xdp_common::reason::{Action, Reason};

use super::{Count, Kernel, Slot};

/// The counter slot of interfaces that the policy doesn't name.
pub const UNNAMED_INTERFACE: u32 = 15;

impl Kernel {
    /// The frame is dropped for this reason, and counted once under it with all of its bytes.
    ///
    /// # Panics
    /// When anything else happens.
    #[track_caller]
    pub fn assert_drops(&self, frame: &[u8], reason: Reason) {
        self.assert_judged(frame, reason, Action::Drop);
    }

    /// The frame passes for this reason, and is counted once under it with all of its bytes.
    ///
    /// # Panics
    /// When anything else happens.
    #[track_caller]
    pub fn assert_passes(&self, frame: &[u8], reason: Reason) {
        self.assert_judged(frame, reason, Action::Pass);
    }

    #[track_caller]
    #[allow(clippy::panic, reason = "an assertion")]
    fn assert_judged(&self, frame: &[u8], reason: Reason, action: Action) {
        let judged = match self.judge(frame) {
            Ok(judged) => judged,
            Err(error) => panic!("{} bytes: {error:#}", frame.len()),
        };
        let slot = Slot {
            interface: UNNAMED_INTERFACE,
            reason,
            dropped: action == Action::Drop,
        };
        let count = Count {
            packets: 1,
            bytes: frame.len() as u64,
        };
        assert_eq!(
            (judged.action, judged.slot, judged.count),
            (action, slot, count),
            "{} bytes: {frame:02x?}",
            frame.len()
        );
    }
}
