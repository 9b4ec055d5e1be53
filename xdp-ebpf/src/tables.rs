//! The stages' state over the maps.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::maps::LpmTrie;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use xdp_common::abi::{
    Ban, EVENT_BAN, Entry, Event, Fault, Limits, POLICY_SLOTS, Plain, Policy, Source, SourceKey,
};
use xdp_common::packet::Address;
use xdp_common::verdict::Tables;

use crate::map_pointer::{Slot, count_one};
use crate::maps::{
    ACTIVE, ALLOW_V4, ALLOW_V6, BANS, BLOCK_V4, BLOCK_V6, EVENTS, FAULTS, LIMITS_V4, LIMITS_V6,
    POLICY, SOURCES,
};

/// The maps, with the policy looked up once.
pub(crate) struct KernelTables<'a> {
    ctx: &'a XdpContext,
    policy: &'a Policy,
}

impl<'a> KernelTables<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Option<Self> {
        let slot = ACTIVE.get(0)? % POLICY_SLOTS;
        Some(Self {
            ctx,
            policy: POLICY.get(slot)?,
        })
    }

    #[inline(always)]
    pub(crate) fn active_policy(&self) -> &Policy {
        self.policy
    }
}

impl Tables for KernelTables<'_> {
    type Entry<'a>
        = Slot<'a, Entry>
    where
        Self: 'a;
    type Ban<'a>
        = Slot<'a, Ban>
    where
        Self: 'a;
    type Source<'a>
        = Slot<'a, Source>
    where
        Self: 'a;

    #[inline(always)]
    fn policy(&self) -> Option<&Policy> {
        Some(self.policy)
    }

    #[inline(always)]
    fn allowed(&self, source: &Address) -> Option<Slot<'_, Entry>> {
        longest_match(&ALLOW_V4, &ALLOW_V6, source).map(Slot::of)
    }

    #[inline(always)]
    fn blocked(&self, source: &Address) -> Option<Slot<'_, Entry>> {
        longest_match(&BLOCK_V4, &BLOCK_V6, source).map(Slot::of)
    }

    #[inline(always)]
    fn ban(&self, source: &SourceKey) -> Option<Slot<'_, Ban>> {
        BANS.get_ptr_mut(source).map(Slot::at)
    }

    #[inline(always)]
    fn limits(&self, source: &Address) -> Option<&Limits> {
        longest_match(&LIMITS_V4, &LIMITS_V6, source)
    }

    #[inline(always)]
    fn source(&self, key: &SourceKey, now: u64) -> Option<Slot<'_, Source>> {
        if let Some(known) = SOURCES.get_ptr_mut(key) {
            return Some(Slot::at(known));
        }
        let new = Source {
            first_seen_ns: now,
            ..Source::ZERO
        };
        // An error means that another CPU has added it, or that there is no room: the look-up
        // tells the two apart.
        let _added_or_there = SOURCES.insert(key, new, u64::from(BPF_NOEXIST));
        SOURCES.get_ptr_mut(key).map(Slot::at)
    }

    #[inline(always)]
    fn start_ban(&self, key: &SourceKey, ban: &Ban) {
        if BANS.insert(key, ban, u64::from(BPF_ANY)).is_err() {
            self.fault(Fault::BanTableFull);
            warn!(
                self.ctx,
                "the ban table is full: a source stays limited but is not banned"
            );
            return;
        }
        let event = Event {
            time_ns: ban.since_ns,
            source: *key,
            until_ns: ban.until_ns,
            kind: EVENT_BAN,
            reason: ban.reason,
            level: ban.level,
            ..Event::ZERO
        };
        if EVENTS.output::<Event>(&event, 0).is_err() {
            self.fault(Fault::EventLost);
        }
    }

    #[inline(always)]
    fn fault(&self, fault: Fault) {
        count_one(&FAULTS, fault.code());
    }
}

#[inline(always)]
fn longest_match<V>(
    v4: &'static LpmTrie<[u8; 4], V>,
    v6: &'static LpmTrie<[u8; 16], V>,
    address: &Address,
) -> Option<&'static V> {
    match address {
        Address::V4(a) => v4.get(Key::new(32, *a)),
        Address::V6(a) => v6.get(Key::new(128, *a)),
    }
}
