//! The stages' state over the maps.

use core::ops::ControlFlow;

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::maps::LpmTrie;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use xdp_common::abi::{
    Ban, Class, ClassCounter, ClassState, EVENT_BAN, Event, FLAG_FLOW_MEMORY, FLAG_SYN_COOKIES,
    Fault, Limit, Limits, MAX_INTERFACES, POLICY_SLOTS, Plain, Policy, SourceKey,
};
use xdp_common::flows::{Flow, Keys, Retry, Window};
use xdp_common::fragments;
use xdp_common::lists::Found;
use xdp_common::packet::{Address, Octets, Packet, PacketView};
use xdp_common::reason::Reason;
use xdp_common::sources::{Place, SourceLine as _, SourceMemory as _, ban_bit};
use xdp_common::sources::{is_protected, may_be_banned};
use xdp_common::verdict::{Admission, Cookie, Offence, Proof, Tables, Word as _};

use crate::map_pointer::{Slot, count_one, modify};
use crate::maps::{
    ACTIVE, BANS, CLASS_COUNTERS, CLASS_STATES, EVENTS, FAULTS, FRAGMENTS, LIMITS_V4, LIMITS_V6,
    POLICY, SCRATCH, Scratch, constant,
};
use crate::sources::{self, Known, Sources};
use crate::{class, flows, known, lists, meters, offence, scratch, sockets};

/// The maps, with the policy looked up once.
pub(crate) struct KernelTables<'a> {
    ctx: &'a XdpContext,
    policy: &'a Policy,
    scratch: *mut Scratch,
}

impl<'a> KernelTables<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext, scratch: *mut Scratch) -> Option<Self> {
        let slot = *ACTIVE.get(0)?;
        scratch::keep_slot(scratch, slot);
        Self::by(ctx, scratch, slot)
    }

    /// The same in a function of the program's own: with the policy that the packet began with.
    #[inline(always)]
    pub(crate) fn again(ctx: &'a XdpContext) -> Option<Self> {
        Self::in_scratch(ctx, SCRATCH.get_ptr_mut(0)?)
    }

    /// The same with the memory that was looked up.
    #[inline(always)]
    pub(crate) fn in_scratch(ctx: &'a XdpContext, scratch: *mut Scratch) -> Option<Self> {
        Self::by(ctx, scratch, *scratch::slot(scratch))
    }

    /// With the policy in a slot.
    #[inline(always)]
    fn by(ctx: &'a XdpContext, scratch: *mut Scratch, slot: u32) -> Option<Self> {
        Some(Self {
            ctx,
            policy: POLICY.get(slot % POLICY_SLOTS)?,
            scratch,
        })
    }

    #[inline(always)]
    pub(crate) fn active_policy(&self) -> &'a Policy {
        self.policy
    }

    #[inline(always)]
    pub(crate) fn scratch(&self) -> *mut Scratch {
        self.scratch
    }

    /// The packet that was kept.
    #[inline(always)]
    pub(crate) fn packet(&self) -> &'a Packet {
        scratch::packet(self.scratch)
    }

    /// The counter slot of the interface that the frame came in on.
    #[inline(always)]
    pub(crate) fn interface_slot(&self) -> u32 {
        self.slot_of(self.ctx.ingress_ifindex() as u32)
    }

    /// The counter slot of an interface; usually the first.
    #[inline(always)]
    pub(crate) fn slot_of(&self, ifindex: u32) -> u32 {
        let unnamed = MAX_INTERFACES as u32 - 1;
        for (slot, named) in (0..unnamed).zip(self.policy.interfaces.iter()) {
            if *named == ifindex {
                return slot;
            }
        }
        unnamed
    }

    /// Whether the packet may be for somebody else than this host's sockets.
    #[inline(always)]
    fn forwards(&self, packet: &Packet) -> bool {
        let policy = self.policy;
        self.is_among(packet, policy.forwards_v4, policy.forwards_v6)
    }

    /// Whether the packet's interface is among the counter slots for its family.
    #[inline(always)]
    fn is_among(&self, packet: &Packet, v4: u32, v6: u32) -> bool {
        let slots = if packet.source.is_v4() { v4 } else { v6 };
        slots != 0 && slots >> (self.interface_slot() & 31) & 1 != 0
    }

    #[inline(always)]
    pub(crate) fn sources(&self) -> Sources {
        Sources(self.policy.generation)
    }
}

impl Tables for KernelTables<'_> {
    type Place = Place;
    type Ban<'a>
        = Slot<'a, Ban>
    where
        Self: 'a;
    type Class<'a>
        = Slot<'a, ClassState>
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
    fn flags(&self, policy: &Policy) -> u32 {
        policy.flags & constant::stages()
    }

    #[inline(always)]
    fn listed(&self, source: &Address, now: impl FnOnce() -> u64) -> u8 {
        lists::listed(source, Found::from_bits(*scratch::found(self.scratch)), now)
    }

    #[inline(always)]
    fn hit(&self, list: u8, source: &Address, bytes: u64) {
        lists::hit(self.scratch, list, source, bytes);
    }

    #[inline(always)]
    fn place(&self, source: &SourceKey) -> Place {
        constant::source_shape().place(source)
    }

    /// Both were reckoned when the packet was read.
    #[inline(always)]
    fn with_source<R>(
        &self,
        _packet: &Packet,
        _policy: &Policy,
        then: impl FnOnce(&SourceKey, &Place) -> R,
    ) -> R {
        then(scratch::key(self.scratch), scratch::place(self.scratch))
    }

    /// It was asked when the packet was read.
    #[inline(always)]
    fn may_be_known(&self, _place: &Place) -> bool {
        *scratch::known(self.scratch) != 0
    }

    #[inline(always)]
    fn is_known(&self, place: &Place) -> bool {
        is_protected(&self.sources(), place)
    }

    #[inline(always)]
    fn class_at(&self, place: usize) -> u8 {
        class::class_at(self.policy.class_bank, place)
    }

    #[inline(always)]
    fn class(&self, number: u8) -> Option<&Class> {
        class::class(self.policy.class_bank, number)
    }

    #[inline(always)]
    fn class_state(&self, number: u8) -> Option<Slot<'_, ClassState>> {
        CLASS_STATES.get_ptr_mut(number.into()).map(Slot::at)
    }

    #[inline(always)]
    fn count_class(&self, number: u8, change: impl FnOnce(&mut ClassCounter) -> u64) -> u64 {
        match CLASS_COUNTERS.get_ptr_mut(number.into()) {
            Some(counter) => modify(counter, change),
            None => 0,
        }
    }

    #[inline(always)]
    fn check_class<V: PacketView + ?Sized>(
        &self,
        _packet: &Packet,
        _view: &V,
        _place: &Place,
        may_be_known: bool,
        now: u64,
    ) -> ControlFlow<Reason, Admission> {
        class::judged(self.ctx, may_be_known, now)
    }

    /// The frame is read again, in a function of the program's own.
    #[inline(always)]
    fn flow_keys<V: PacketView + ?Sized>(&self, _view: &V, _packet: &Packet) -> Option<Keys> {
        flows::keys(self.ctx, self.scratch)
    }

    #[inline(always)]
    fn flow(&self, keys: &Keys, is_tcp: bool, now: u64) -> Option<Flow> {
        flows::found(keys.flow, is_tcp, now)
    }

    #[inline(always)]
    fn keep_flow(&self, hash: u64, flow: Flow, is_tcp: bool, now: u64) {
        flows::keep(hash, flow, is_tcp, now);
    }

    #[inline(always)]
    fn retried(&self, keys: &Keys, window: Window, now: u64) -> Retry {
        flows::retried(keys.retry, window, now)
    }

    #[inline(always)]
    fn asked_for<V: PacketView + ?Sized>(
        &self,
        _view: &V,
        _packet: &Packet,
        now: u64,
    ) -> Option<u64> {
        flows::asked_for(self.ctx, self.scratch, now)
    }

    #[inline(always)]
    fn remembers_answers(&self) -> bool {
        self.policy.flags & FLAG_FLOW_MEMORY != 0
    }

    #[inline(always)]
    fn charge_class(&self, _packet: &Packet, number: u8, _flow: Option<u64>, now: u64) {
        let _charged = class::class_charge(self.ctx.ctx, number.into(), now);
    }

    #[inline(always)]
    fn stands_aside(&self, packet: &Packet) -> bool {
        let policy = self.policy;
        self.is_among(packet, policy.aside_v4, policy.aside_v6)
    }

    #[inline(always)]
    fn proof(&self, packet: &Packet) -> Proof {
        match sockets::proof(self.ctx, packet) {
            // It may be for a host behind this one, or for a container.
            Proof::Nobody if self.forwards(packet) => Proof::Unknown,
            proof => proof,
        }
    }

    #[inline(always)]
    fn cookie(&self, packet: &Packet, now: u64) -> Cookie {
        // Where the host forwards, the ACK of a cookie may be translated to a container, which doesn't
        // know of it and resets the connection.
        if self.policy.flags & FLAG_SYN_COOKIES == 0 || self.forwards(packet) {
            return Cookie::Impossible;
        }
        sockets::cookie(self.ctx, now)
    }

    #[inline(always)]
    fn hash(&self, key: &SourceKey) -> u64 {
        let [kind, ..] = key.reserved;
        constant::source_shape().place(key).tag ^ u64::from(kind)
    }

    #[inline(always)]
    fn hash_of(&self, place: &Place) -> u64 {
        place.tag
    }

    #[inline(always)]
    fn meter(&self, hash: u64, limit: &Limit, units: u64, now: u64) -> bool {
        meters::take(hash, limit, units, now)
    }

    #[inline(always)]
    fn first_fragment(&self, packet: &Packet, now: u64) -> Option<bool> {
        let hash = fragments::hash(packet, constant::source_seeds());
        let word = FRAGMENTS
            .get_ptr_mut(fragments::index(hash))
            .map(Slot::at)?;
        fragments::read(word.alone().load(), hash, now)
    }

    #[inline(always)]
    fn note_first_fragment(&self, packet: &Packet, passed: bool, now: u64) {
        let hash = fragments::hash(packet, constant::source_seeds());
        if let Some(word) = FRAGMENTS.get_ptr_mut(fragments::index(hash)).map(Slot::at) {
            word.alone().store(fragments::word(hash, passed, now));
        }
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
    fn source(&self, place: &Place, now: u64, bytes: u64, packets: u64) -> Option<Known> {
        // Not one of many that are refused: the next one isn't looked for.
        if packets == 1 {
            scratch::note_asked(self.scratch);
        }
        sources::known(&self.sources(), place, now, bytes, packets)
    }

    #[inline(always)]
    fn offended<V: PacketView + ?Sized>(
        &self,
        known: &Known,
        _key: &SourceKey,
        _place: &Place,
        _view: &V,
        _packet: &Packet,
        offence: &Offence,
        now: u64,
    ) -> bool {
        offence::tell(self.ctx, known, offence, now)
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
        known::add(place.tag);
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
    match &address.octets() {
        Octets::V4(a) => v4.get(Key::new(32, *a)),
        Octets::V6(a) => v6.get(Key::new(128, *a)),
    }
}
