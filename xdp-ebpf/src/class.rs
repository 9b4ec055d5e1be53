//! The class stage in a function of its own, and the maps behind it.

use core::ops::ControlFlow;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use xdp_common::abi::{ClassState, MAX_CLASSES, class_table};
use xdp_common::reason::Reason;
use xdp_common::verdict::{Admission, ClassWords, Standing, charge_class, check_class};

use crate::map_pointer::{MapWord, Slot};
use crate::maps::{CLASS_TABLE, CLASSES};
use crate::scratch::{flow_keys, has_flow, keep_has_flow, place, reason, used};
use crate::tables::KernelTables;
use crate::view::XdpView;

/// What [`class_stage`] returns: a kind, above it a reason, and above that the class whose budget is
/// taken from, and one.
const EARNING: u64 = 0;
const UNPROVEN: u64 = 1;
const REFUSED: u64 = 2;
const BROKEN: u64 = 3;
const REASON_SHIFT: u32 = 8;
const NEWCOMER_SHIFT: u32 = 16;

/// Judges the packet that is kept by its class.
///
/// VERIFIER: 6.18: as part of the program it needs more than what is left of its 512 bytes of stack.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn class_stage(ctx: *mut xdp_md, may_be_known: u64, now: u64) -> u64 {
    let ctx = XdpContext::new(ctx);
    let Some(tables) = KernelTables::again(&ctx) else {
        return EARNING;
    };
    let place = place(tables.scratch());
    let (packet, view) = (tables.packet(), XdpView::new(&ctx));
    match check_class(packet, &view, place, may_be_known != 0, &tables, now) {
        ControlFlow::Continue(Admission {
            standing,
            newcomer_of,
            flow,
        }) => {
            let told = match standing {
                Standing::Earning => EARNING,
                Standing::Unproven => UNPROVEN,
                Standing::Refused(reason) => REFUSED | u64::from(reason.code()) << REASON_SHIFT,
            };
            // In memory: the program's stack has no room for it beside what the limits keep there.
            keep_has_flow(tables.scratch(), flow.is_some().into());
            told | newcomer_of.map_or(0, |class| u64::from(class) + 1) << NEWCOMER_SHIFT
        }
        ControlFlow::Break(reason) => BROKEN | u64::from(reason.code()) << REASON_SHIFT,
    }
}

/// The same for the program.
#[inline(always)]
pub(crate) fn judged(
    ctx: &XdpContext,
    may_be_known: bool,
    now: u64,
) -> ControlFlow<Reason, Admission> {
    let told = class_stage(ctx.ctx, may_be_known.into(), now);
    let said = reason((told >> REASON_SHIFT) as u8);
    let standing = match told & 0xff {
        EARNING => Standing::Earning,
        UNPROVEN => Standing::Unproven,
        REFUSED => Standing::Refused(said),
        _ => return ControlFlow::Break(said),
    };
    ControlFlow::Continue(Admission {
        standing,
        newcomer_of: (told >> NEWCOMER_SHIFT)
            .checked_sub(1)
            .map(|class| class as u8),
        // See [`class_stage`].
        flow: None,
    })
}

/// Takes a newcomer's packet from the budget of its class, and keeps its flow.
///
/// VERIFIER: 6.18: its tries of a lost race are walked once, not on each path through the limits.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn class_charge(ctx: *mut xdp_md, number: u64, now: u64) -> u64 {
    let ctx = XdpContext::new(used(ctx));
    let Some(tables) = KernelTables::again(&ctx) else {
        return 0;
    };
    let flow = (*has_flow(tables.scratch()) != 0).then(|| {
        let [flow, _] = *flow_keys(tables.scratch());
        flow
    });
    charge_class(tables.packet(), number as u8, flow, &tables, now);
    1
}

/// The number at a place of a bank's class table.
#[inline(always)]
pub(crate) fn class_at(bank: u32, place: usize) -> u8 {
    let line = bank * class_table::LINES + (place / class_table::LINE) as u32;
    match CLASS_TABLE.get_ptr_mut(line) {
        Some(line) => Slot::at(line).byte(place % class_table::LINE),
        None => 0,
    }
}

/// A class of a bank.
#[inline(always)]
pub(crate) fn class(bank: u32, number: u8) -> Option<&'static xdp_common::abi::Class> {
    CLASSES.get(bank * MAX_CLASSES as u32 + u32::from(number))
}

impl<'a> ClassWords for Slot<'a, ClassState> {
    type Word = MapWord<'a>;

    #[inline(always)]
    fn tat(&self) -> MapWord<'a> {
        self.class_tat()
    }

    #[inline(always)]
    fn returning_tat(&self) -> MapWord<'a> {
        self.class_returning()
    }

    #[inline(always)]
    fn pressure_until(&self) -> MapWord<'a> {
        self.class_pressure()
    }

    #[inline(always)]
    fn level(&self) -> u64 {
        self.class_level()
    }
}
