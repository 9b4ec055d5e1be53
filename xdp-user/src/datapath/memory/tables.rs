//! What the decision asks of the tables in memory.

use xdp_common::abi::{
    Ban, Class, ClassCounter, Fault, Limit, Limits, MAX_INTERFACES, Policy, SourceKey,
};
use xdp_common::flows::{Flow, Keys, Retry, Window};
use xdp_common::packet::{Address, Packet, PacketView};
use xdp_common::verdict::{Cookie, Proof, Tables, Word as _};

use super::super::Datapath;
use super::cells::{BanCell, MemoryWord, SourceCell};
use super::flood::{self, ClassCells};
use super::{MemoryDatapath, key_bytes};

impl Tables for MemoryDatapath {
    type Place = SourceKey;
    type Ban<'a> = BanCell<'a>;
    type Class<'a> = ClassCells<'a>;
    type Source<'a> = &'a SourceCell;

    fn policy(&self) -> Option<&Policy> {
        Some(&self.policy)
    }

    fn listed(&self, source: &Address, now: impl FnOnce() -> u64) -> u8 {
        self.lists.lookup(source, now)
    }

    fn hit(&self, list: u8, source: &Address, bytes: u64) {
        self.hits.borrow_mut().push((list, *source, bytes));
    }

    fn place(&self, source: &SourceKey) -> SourceKey {
        *source
    }

    fn ban(&self, source: &SourceKey, _place: &SourceKey) -> Option<BanCell<'_>> {
        self.bans.get(&key_bytes(source)).map(BanCell)
    }

    fn limits(&self, source: &Address) -> Option<&Limits> {
        self.lists.limits((*source).into())
    }

    fn class_at(&self, place: usize) -> u8 {
        self.flood.class_at(place)
    }

    fn class(&self, number: u8) -> Option<&Class> {
        self.flood.class(number)
    }

    fn class_state(&self, number: u8) -> Option<ClassCells<'_>> {
        self.flood.state(number)
    }

    fn count_class(&self, number: u8, change: impl FnOnce(&mut ClassCounter) -> u64) -> u64 {
        self.flood.count(number, change)
    }

    /// As for an interface that the policy doesn't name.
    fn stands_aside(&self, packet: &Packet) -> bool {
        let aside = if packet.source.is_v4() {
            self.policy.aside_v4
        } else {
            self.policy.aside_v6
        };
        aside >> (MAX_INTERFACES - 1) & 1 != 0
    }

    /// Nobody is asked: the packet is hypothetical, or another host's.
    fn proof(&self, _packet: &Packet) -> Proof {
        Proof::Unknown
    }

    fn cookie(&self, packet: &Packet, _now: u64) -> Cookie {
        let forwards = if packet.source.is_v4() {
            self.policy.forwards_v4
        } else {
            self.policy.forwards_v6
        };
        if forwards >> (MAX_INTERFACES - 1) & 1 != 0 {
            return Cookie::Impossible;
        }
        Cookie::Ready
    }

    fn flow_keys<V: PacketView + ?Sized>(&self, view: &V, packet: &Packet) -> Option<Keys> {
        self.flood.flows.keys(view, packet)
    }

    fn flow(&self, keys: &Keys, is_tcp: bool, now: u64) -> Option<Flow> {
        self.flood.flows.flow(keys.flow, is_tcp, now)
    }

    fn keep_flow(&self, hash: u64, flow: Flow, is_tcp: bool, now: u64) {
        self.flood.flows.keep(hash, flow, is_tcp, now);
    }

    fn retried(&self, keys: &Keys, window: Window, now: u64) -> Retry {
        self.flood.flows.retried(keys.retry, window, now)
    }

    /// What leaves isn't seen here.
    fn remembers_answers(&self) -> bool {
        false
    }

    fn may_be_known(&self, _place: &SourceKey) -> bool {
        true
    }

    fn is_known(&self, place: &SourceKey) -> bool {
        Datapath::is_known(self, place)
    }

    fn hash(&self, key: &SourceKey) -> u64 {
        flood::hash(key)
    }

    fn hash_of(&self, place: &SourceKey) -> u64 {
        flood::hash(place)
    }

    fn meter(&self, hash: u64, limit: &Limit, units: u64, now: u64) -> bool {
        self.flood.meter(hash, limit, units, now)
    }

    fn first_fragment(&self, packet: &Packet, now: u64) -> Option<bool> {
        self.flood.first_fragment(packet, now)
    }

    fn note_first_fragment(&self, packet: &Packet, passed: bool, now: u64) {
        self.flood.note_first_fragment(packet, passed, now);
    }

    fn source(&self, place: &SourceKey, now: u64, bytes: u64, packets: u64) -> Option<&SourceCell> {
        let source = self.sources.get(&key_bytes(place))?;
        MemoryWord(&source.packets).add(packets);
        MemoryWord(&source.bytes).add(bytes);
        source.last_seen_ns.set(now);
        Some(source)
    }

    fn start_ban(&self, key: &SourceKey, _place: &SourceKey, ban: &Ban) {
        let known = self.bans.contains_key(&key_bytes(key));
        if !known && self.bans.len() >= self.capacity.bans as usize {
            self.fault(Fault::BanTableFull);
            return;
        }
        self.started.borrow_mut().push((*key, *ban));
    }

    fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }
}
