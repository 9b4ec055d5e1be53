//! The tables in host memory, and what frames of the suites have in common.

#![allow(dead_code, reason = "each suite takes what it needs")]
#![allow(unreachable_pub, reason = "a module of several test crates")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails there fails the test"
)]

pub mod flood;
pub mod flows;
pub mod frames;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use xdp_common::abi::{
    ABI_VERSION, Ban, Class, ClassCounter, FLAG_SANITY_LAND, FLAG_SANITY_MARTIAN,
    FLAG_SANITY_TCP_FLAGS, Fault, Limit, Limits, MODE_ENFORCE, Plain, Policy, Source, SourceKey,
};
use xdp_common::flows::key::keys;
use xdp_common::flows::{Direction, Flow, Keys, Retry, Window};
use xdp_common::lists::{ALLOW, BLOCK, LIMITS};
use xdp_common::packet::{Address, Octets, Packet, PacketView};
use xdp_common::reason::Reason;
use xdp_common::verdict::{
    BanState, Cookie, Offences, Proof, SourceState, Tables, Verdict, Word, decide, source_key,
};

/// A policy that enforces and checks everything, and limits nothing.
pub fn policy() -> Policy {
    let mut mask = [0; 16];
    mask[..8].fill(255);
    Policy {
        version: ABI_VERSION,
        mode: MODE_ENFORCE,
        flags: FLAG_SANITY_LAND | FLAG_SANITY_MARTIAN | FLAG_SANITY_TCP_FLAGS,
        source_len_v4: 32,
        source_len_v6: 64,
        source_mask_v4: [255; 4],
        source_mask_v6: mask,
        ..Policy::ZERO
    }
}

/// Leading bits, and the address.
#[derive(Clone, Copy, Debug)]
pub struct Prefix(pub u32, pub Address);

impl Prefix {
    fn covers(&self, address: &Address) -> bool {
        let bits = |address: &Address| match &address.octets() {
            Octets::V4(a) => (4, u128::from(u32::from_be_bytes(*a)) << 96),
            Octets::V6(a) => (6, u128::from_be_bytes(*a)),
        };
        let ((family, ours), (other, theirs)) = (bits(&self.1), bits(address));
        let shift = 128 - self.0;
        family == other && (shift == 128 || ours >> shift == theirs >> shift)
    }
}

/// A list entry with its hits.
#[derive(Default)]
pub struct HostEntry {
    pub expires_ns: u64,
    pub hits: AtomicU64,
}

/// Words of a source, in the order of the ABI's fields.
#[derive(Default)]
pub struct Words {
    words: [AtomicU64; Source::LAYOUT.len()],
    /// Packets by which a source might have become known.
    pub earned: AtomicU64,
}

/// Tables without a kernel. Lists are small and searched from end to end; sources are those that
/// the test names, and any other finds no room.
pub struct HostTables {
    pub policy: Policy,
    pub allow: Vec<(Prefix, HostEntry)>,
    pub block: Vec<(Prefix, HostEntry)>,
    pub overrides: Vec<(Prefix, Limits)>,
    sources: Vec<(SourceKey, Words)>,
    bans: Mutex<Vec<(SourceKey, Ban)>>,
    faults: Mutex<Vec<Fault>>,
    pub flood: flood::HostFlood,
}

impl HostTables {
    pub fn new(policy: Policy, sources: &[Address]) -> Self {
        let known = |address| (source_key(address, &policy), Words::default());
        Self {
            policy,
            allow: Vec::new(),
            block: Vec::new(),
            overrides: Vec::new(),
            sources: sources.iter().map(known).collect(),
            bans: Mutex::default(),
            faults: Mutex::default(),
            flood: flood::HostFlood::default(),
        }
    }

    /// Judges a frame at a time.
    pub fn judge(&self, frame: &[u8], now: u64) -> Verdict {
        decide(&frame, self, |_policy| now)
    }

    /// The reason of the frame at a time.
    pub fn reason(&self, frame: &[u8], now: u64) -> Reason {
        self.judge(frame, now).reason
    }

    pub fn key(&self, address: &Address) -> SourceKey {
        source_key(address, &self.policy)
    }

    pub fn ban_of(&self, address: &Address) -> Option<Ban> {
        let key = self.key(address);
        let bans = self.bans.lock().unwrap();
        bans.iter().find(|(k, _)| *k == key).map(|(_, ban)| *ban)
    }

    pub fn set_ban(&self, key: &SourceKey, ban: Ban) {
        let mut bans = self.bans.lock().unwrap();
        bans.retain(|(k, _)| k != key);
        bans.push((*key, ban));
    }

    pub fn words(&self, address: &Address) -> Option<&Words> {
        self.words_of(&self.key(address))
    }

    fn words_of(&self, key: &SourceKey) -> Option<&Words> {
        let found = self.sources.iter().find(|(known, _)| known == key);
        found.map(|(_, words)| words)
    }

    pub fn faults(&self) -> Vec<Fault> {
        self.faults.lock().unwrap().clone()
    }
}

impl Tables for HostTables {
    type Place = SourceKey;
    type Ban<'a> = HostBan;
    type Class<'a> = flood::HostClass<'a>;
    type Source<'a> = &'a Words;

    fn policy(&self) -> Option<&Policy> {
        Some(&self.policy)
    }

    fn listed(&self, source: &Address, now: impl FnOnce() -> u64) -> u8 {
        let matching = |list: &[(Prefix, HostEntry)], flag: u8| {
            let found = longest(list, source);
            found.map(|entry| (entry.expires_ns, flag))
        };
        let found = [matching(&self.allow, ALLOW), matching(&self.block, BLOCK)];
        let ends = |(end, _): &(u64, u8)| *end != 0;
        let now = if found.iter().flatten().any(ends) {
            now()
        } else {
            0
        };
        let in_force = found
            .iter()
            .flatten()
            .filter(|(end, _)| *end == 0 || now < *end);
        let limits = longest(&self.overrides, source).map_or(0, |_| LIMITS);
        in_force.fold(limits, |all, (_, flag)| all | flag)
    }

    fn hit(&self, list: u8, source: &Address, _bytes: u64) {
        let list = if list == ALLOW {
            &self.allow
        } else {
            &self.block
        };
        if let Some(entry) = longest(list, source) {
            entry.hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn place(&self, source: &SourceKey) -> SourceKey {
        *source
    }

    fn ban(&self, source: &SourceKey, _place: &SourceKey) -> Option<HostBan> {
        let bans = self.bans.lock().unwrap();
        let found = bans.iter().find(|(key, _)| key == source);
        found.map(|(_, ban)| HostBan(*ban))
    }

    fn limits(&self, source: &Address) -> Option<&Limits> {
        longest(&self.overrides, source)
    }

    fn class_at(&self, place: usize) -> u8 {
        self.flood.table.get(&place).copied().unwrap_or(0)
    }

    fn class(&self, number: u8) -> Option<&Class> {
        self.flood.classes.get(usize::from(number))
    }

    fn class_state(&self, number: u8) -> Option<flood::HostClass<'_>> {
        self.flood.state(number)
    }

    fn count_class(&self, number: u8, change: impl FnOnce(&mut ClassCounter) -> u64) -> u64 {
        self.flood.count(number, change)
    }

    fn stands_aside(&self, _packet: &Packet) -> bool {
        self.flood.aside
    }

    fn proof(&self, _packet: &Packet) -> Proof {
        self.flood.asked.fetch_add(1, Ordering::SeqCst);
        self.flood.proof
    }

    fn cookie(&self, _packet: &Packet, _now: u64) -> Cookie {
        self.flood.cookie
    }

    fn flow_keys<V: PacketView + ?Sized>(&self, view: &V, packet: &Packet) -> Option<Keys> {
        keys(view, packet, Direction::In, flood::FLOW_SEEDS)
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

    fn remembers_answers(&self) -> bool {
        self.flood.remembers_answers
    }

    fn may_be_known(&self, _place: &SourceKey) -> bool {
        true
    }

    fn is_known(&self, place: &SourceKey) -> bool {
        self.flood.known.contains(&flood::bytes(place))
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

    fn source(&self, key: &SourceKey, now: u64, bytes: u64, packets: u64) -> Option<&Words> {
        let words = self.words_of(key)?;
        words.word(4).add(packets);
        words.word(5).add(bytes);
        words.word(9).store(now);
        Some(words)
    }

    fn start_ban(&self, key: &SourceKey, _place: &SourceKey, ban: &Ban) {
        self.set_ban(key, *ban);
    }

    fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }
}

fn longest<'a, V>(list: &'a [(Prefix, V)], address: &Address) -> Option<&'a V> {
    list.iter()
        .filter(|(prefix, _)| prefix.covers(address))
        .max_by_key(|(prefix, _)| prefix.0)
        .map(|(_, value)| value)
}

/// A copy of a stored ban; its hits are not kept.
pub struct HostBan(Ban);

impl BanState for HostBan {
    fn get(&self) -> Ban {
        self.0
    }

    fn until_ns(&self) -> u64 {
        self.0.until_ns
    }

    fn hit(&self, _bytes: u64) {}
}

/// One word.
#[derive(Clone, Copy)]
pub struct HostWord<'a>(pub &'a AtomicU64);

impl Word for HostWord<'_> {
    fn load(self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn store(self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }

    fn add(self, n: u64) {
        self.0.fetch_add(n, Ordering::SeqCst);
    }

    fn or(self, bits: u64) {
        self.0.fetch_or(bits, Ordering::SeqCst);
    }

    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        let swap =
            |a: &AtomicU64| a.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        swap(self.0).map(drop)
    }
}

macro_rules! source_words {
    ($($index:literal $field:ident)+) => {
        impl<'a> SourceState for &'a Words {
            type Word = HostWord<'a>;
            $(
                fn $field(&self) -> HostWord<'a> {
                    HostWord(&self.words[$index])
                }
            )+

            fn judged(&self, _now: u64, earns: bool, proven: impl FnOnce() -> bool) {
                if earns && proven() {
                    self.earned.fetch_add(1, Ordering::SeqCst);
                }
            }

            fn offences(&self) -> Option<Offences<HostWord<'a>>> {
                Some(Offences {
                    strikes: HostWord(&self.words[3]),
                    dropped_packets: HostWord(&self.words[6]),
                    dropped_bytes: HostWord(&self.words[7]),
                })
            }
        }
    };
}
source_words!(0 tat_packets 1 tat_bytes 2 tat_tcp_new);

impl Words {
    /// A word by its place in the ABI's struct.
    pub fn word(&self, index: usize) -> HostWord<'_> {
        HostWord(&self.words[index])
    }

    /// Packets that reached the limits.
    pub fn packets(&self) -> HostWord<'_> {
        self.word(4)
    }
}
