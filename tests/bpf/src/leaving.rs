//! Somebody else's program at the egress hook: counts what leaves, and lets the next program go on.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

use crate::maps::LEFT;

/// `TCX_NEXT` and `TC_ACT_UNSPEC` (include/uapi/linux/bpf.h, include/uapi/linux/pkt_cls.h).
const NEXT: i32 = -1;

#[classifier]
pub(crate) fn bench_leaving(_ctx: TcContext) -> i32 {
    if let Some(left) = LEFT.get_ptr_mut(0) {
        // SAFETY: the look-up gave this CPU's value, and the hook runs with softirqs off.
        unsafe { *left += 1 };
    }
    NEXT
}
