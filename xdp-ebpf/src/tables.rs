//! The stages' state over the maps.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::maps::LpmTrie;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use xdp_common::abi::{
    Ban, EVENT_BAN, Event, Fault, Limits, POLICY_SLOTS, Plain, Policy, SourceKey,
};
use xdp_common::packet::Address;
use xdp_common::sources::{Place, SourceLine as _, SourceMemory as _, ban_bit};
use xdp_common::sources::{may_be_banned, touch};
use xdp_common::verdict::{Tables, Word as _};

use crate::lists;
use crate::map_pointer::{Slot, count_one};
use crate::maps::{ACTIVE, BANS, EVENTS, FAULTS, LIMITS_V4, LIMITS_V6, POLICY, constant};
use crate::sources::{self, Known, Sources};

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

    #[inline(always)]
    fn sources(&self) -> Sources {
        Sources(self.policy.generation)
    }
}

impl Tables for KernelTables<'_> {
    type Place = Place;
    type Ban<'a>
        = Slot<'a, Ban>
    where
        Self: 'a;
    type Source<'a>
        = Known
    where
        Self: 'a;

    #[inline(always)]
    fn policy(&self) -> Option<&Policy> {
        Some(self.policy)
    }

    #[inline(always)]
    fn listed(&self, source: &Address, now: impl FnOnce() -> u64) -> u8 {
        lists::listed(source, now)
    }

    #[inline(always)]
    fn hit(&self, list: u8, source: &Address, bytes: u64) {
        lists::hit(list, source, bytes);
    }

    #[inline(always)]
    fn place(&self, source: &SourceKey) -> Place {
        let place = constant::source_shape().place(source);
        touch(&self.sources(), &place);
        place
    }

    #[inline(always)]
    fn ban(&self, source: &SourceKey, place: &Place) -> Option<Slot<'_, Ban>> {
        if !may_be_banned(&self.sources(), place) {
            return None;
        }
        BANS.get_ptr_mut(source).map(Slot::at)
    }

    #[inline(always)]
    fn limits(&self, source: &Address) -> Option<&Limits> {
        longest_match(&LIMITS_V4, &LIMITS_V6, source)
    }

    #[inline(always)]
    fn source(&self, place: &Place, now: u64, bytes: u64) -> Option<Known> {
        sources::known(&self.sources(), place, now, bytes)
    }

    #[inline(always)]
    fn start_ban(&self, key: &SourceKey, place: &Place, ban: &Ban) {
        if BANS.insert(key, ban, u64::from(BPF_ANY)).is_err() {
            self.fault(Fault::BanTableFull);
            warn!(
                self.ctx,
                "the ban table is full: a source stays limited but is not banned"
            );
            return;
        }
        // Behind the ban itself: the controller takes the bit away only where it finds none.
        if let Some(head) = self.sources().line(place.first_line) {
            head.word(0).or(ban_bit(place.tag));
        }
        // In its place, not on the stack, which is short.
        let Some(mut place) = EVENTS.reserve::<Event>(0) else {
            self.fault(Fault::EventLost);
            return;
        };
        place.write(Event {
            time_ns: ban.since_ns,
            source: *key,
            until_ns: ban.until_ns,
            kind: EVENT_BAN,
            reason: ban.reason,
            level: ban.level,
            ..Event::ZERO
        });
        place.submit(0);
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
