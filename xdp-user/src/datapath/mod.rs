//! The kernel's side of the throttler in domain verbs.
//!
//! [`Datapath`] is what the controller asks for. [`kernel::KernelDatapath`] does it with BPF maps
//! and links and is, with its neighbours, the only place that names the loader;
//! [`memory::MemoryDatapath`] does it in the process, for `explain` and for tests that need no
//! kernel. Both pass the same contract test.

mod batch;
pub mod classes;
#[doc(hidden)]
pub mod contract;
pub mod cost;
mod counters;
pub mod events;
pub mod kernel;
pub(crate) mod pins {
    //! The pins, for who has no daemon.
    pub(crate) use super::kernel::pins::{Pins, name_of};
}
pub mod keys;
mod known_filter;
mod lists;
pub mod memory;
mod objects;
pub mod samples;
mod source_table;
mod syscall;

use std::collections::BTreeSet;
use std::io;

use xdp_common::abi::{Ban, EgressCounter, Limits, Plain as _, Policy, Source, SourceKey};

use crate::api::types::{ListKind, WaitReason};
use crate::domain::{AttachMode, IfName, Prefix};
use crate::host::framing::Framing;
pub use classes::{ClassReading, ClassSet};
pub use cost::Memory;
pub use counters::Counters;
pub use lists::{NewEntry, lines_for};
pub use objects::OBJECT;

/// How many entries each table holds; fixed when the program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Allowlist, for each address family.
    pub allow: u32,
    /// Blocklist, for each address family.
    pub block: u32,
    /// Overrides, for each address family.
    pub overrides: u32,
    /// Sources.
    pub sources: u32,
    /// Bans.
    pub bans: u32,
    /// Flows of the flow memory.
    pub flows: u32,
}

/// Lines of the flow memory for so many flows: a power of two, never more memory than asked for.
pub(crate) const fn flow_lines(flows: u32) -> u32 {
    let lines = flows / xdp_common::flows::FLOWS_PER_LINE;
    if lines < 2 { 1 } else { 1 << lines.ilog2() }
}

/// A list entry as it is stored, with its hits: exact while they are few, else estimated
/// ([`xdp_common::abi::hits`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it ends, nanoseconds of `CLOCK_BOOTTIME`; 0 never. The kernel has it act for up to 67 ms
    /// longer, never shorter.
    pub expires_ns: u64,
    /// Packets that it decided.
    pub packets: u64,
    /// Bytes that it decided.
    pub bytes: u64,
    /// The controller's number of the list that it came from.
    pub list: u32,
}

/// An entry that could not be stored or removed, and why.
pub type Refused = (Prefix, DatapathError);

/// How an interface is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Index of the interface.
    pub index: u32,
    /// In the driver; else in the network stack.
    pub native: bool,
}

/// The hook of the egress program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressHook {
    /// A link (kernel 6.6).
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

impl EgressHook {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Whether what leaves by an interface is noted in the flow memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// The egress program is there.
    Attached(EgressHook),
    /// It isn't, for this reason.
    Missing(String),
}

/// Why the datapath could not do something.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// A table has no room left.
    #[error("the {table} table is full: raise capacity.{table} in the config file and restart")]
    Full {
        /// `allow`, `block`, `overrides` or `bans`.
        table: &'static str,
    },
    /// No such interface.
    #[error("there is no interface {interface}: see `ip link`")]
    NoInterface {
        /// Its name.
        interface: IfName,
    },
    /// Another XDP program is on the interface.
    #[error(
        "another XDP program is attached to {interface}: {program}; detach it first, it is never replaced"
    )]
    Occupied {
        /// The interface's name.
        interface: IfName,
        /// Its name and its number, as far as the kernel tells.
        program: String,
    },
    /// Nothing can be pinned there.
    #[error("nothing can be pinned in {}", directory.display())]
    Pins {
        /// Where.
        directory: std::path::PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The driver has no native XDP, and native was asked for.
    #[error("{interface} cannot run XDP in native mode: use --mode auto or generic")]
    NoNative {
        /// The interface's name.
        interface: IfName,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Frames that the program can't read.
    #[error(
        "{interface} can't be protected: it is {what} (link type {link_type}), and the program reads \
         frames that begin with an Ethernet or an IP header; name the interface below or behind it instead"
    )]
    Framing {
        /// The interface's name.
        interface: IfName,
        /// The kernel's number of its type.
        link_type: u16,
        /// What it is.
        what: String,
    },
    /// A capability is missing.
    #[error(
        "the kernel refused to {what}: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Privilege {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel lacks a feature.
    #[error("this kernel, {running}, lacks {feature}: Linux {since} or newer is needed")]
    Unsupported {
        /// Its release, as `uname -r` says.
        running: String,
        /// What it lacks.
        feature: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// Anything else that the kernel refused.
    #[error("could not {what}")]
    Kernel {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        #[source]
        source: anyhow::Error,
    },
}

impl DatapathError {
    /// Why an interface can't be attached yet, where that may change by itself. What else the kernel
    /// refuses is a fault of this host or of the program, not of the interface.
    pub fn wait_reason(&self) -> Option<WaitReason> {
        match self {
            Self::NoInterface { .. } => Some(WaitReason::Missing),
            Self::Occupied { .. } => Some(WaitReason::Occupied),
            Self::NoNative { .. } => Some(WaitReason::NoNative),
            Self::Framing { .. } => Some(WaitReason::Unreadable),
            Self::Full { .. }
            | Self::Pins { .. }
            | Self::Privilege { .. }
            | Self::Unsupported { .. }
            | Self::Kernel { .. } => None,
        }
    }
}

/// Result of a datapath verb.
pub type Result<T> = std::result::Result<T, DatapathError>;

/// A limit that is kept for a hash ([`xdp_common::meters`]): of a source in a class, or of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// The source, or the network as [`xdp_common::verdict::network`] has it.
    pub key: SourceKey,
    /// The class; 0 for a network.
    pub class: u8,
    /// Of bytes, not of packets.
    pub bytes: bool,
}

impl Meter {
    /// Its hash, from that of its key.
    pub(crate) const fn hash(&self, of_key: u64) -> u64 {
        let hash = of_key ^ (self.class as u64) << 56;
        if self.bytes { !hash } else { hash }
    }
}

/// What became of the maps and the attachment that an earlier daemon left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing is pinned: what is attached ends with this process.
    #[default]
    None,
    /// Nothing can be pinned, for this reason.
    Unpinned(String),
    /// There were no pinned maps.
    Fresh,
    /// Its maps are in use, with all that was in them.
    TookOver,
    /// Its maps don't fit, for this reason: new ones were filled.
    Refilled(String),
}

/// What the controller asks of the kernel's side. One task owns it and is the only writer.
pub trait Datapath: Send {
    /// Puts a policy in force; a packet sees the old one or the new one.
    fn set_policy(&mut self, policy: &Policy) -> Result<()>;

    /// Writes a set of classes beside the one in use. It takes effect with the next
    /// [`Datapath::set_policy`], whose policy is made to name it.
    fn set_classes(&mut self, classes: &ClassSet) -> Result<()>;
    /// What is going on in each class, by number.
    fn classes(&self) -> Result<Vec<ClassReading>>;
    /// Sets the level of a class, one of `LEVEL_*`.
    fn set_class_level(&mut self, class: usize, level: u64) -> Result<()>;

    /// Stores a list entry or changes its end and list; its hits go on counting.
    fn put_entry(
        &mut self,
        kind: ListKind,
        prefix: &Prefix,
        expires_ns: u64,
        list: u32,
    ) -> Result<()>;
    /// Removes a list entry; nothing happens if it isn't there.
    fn remove_entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<()>;
    /// Stores entries and then removes others, and says which it could not. An entry stays as long as
    /// the wider one that takes its place isn't there. Where the changes are a large part of the
    /// list, all of them happen in one step: packets see the old list and then the new one.
    fn change_entries(
        &mut self,
        kind: ListKind,
        put: &[NewEntry],
        remove: &[Prefix],
    ) -> Vec<Refused> {
        let mut refused: Vec<Refused> = Vec::new();
        for entry in put {
            let NewEntry {
                prefix,
                expires_ns,
                list,
            } = entry;
            if let Err(error) = self.put_entry(kind, prefix, *expires_ns, *list) {
                refused.push((*prefix, error));
            }
        }
        let wide: BTreeSet<Prefix> = refused.iter().map(|(prefix, _)| *prefix).collect();
        for prefix in remove {
            if is_within(&wide, prefix) {
                refused.push((*prefix, stays(prefix)));
            } else if let Err(error) = self.remove_entry(kind, prefix) {
                refused.push((*prefix, error));
            }
        }
        refused
    }
    /// The entry stored for just this prefix.
    fn entry(&mut self, kind: ListKind, prefix: &Prefix) -> Result<Option<Entry>>;

    /// Stores limits for a prefix.
    fn put_limits(&mut self, prefix: &Prefix, limits: &Limits) -> Result<()>;
    /// Removes the limits of a prefix; nothing happens if there are none.
    fn remove_limits(&mut self, prefix: &Prefix) -> Result<()>;

    /// Stores a ban.
    fn put_ban(&mut self, source: &SourceKey, ban: &Ban) -> Result<()>;
    /// Removes a ban; tells whether there was one.
    fn remove_ban(&mut self, source: &SourceKey) -> Result<bool>;
    /// The ban of a source.
    fn ban(&self, source: &SourceKey) -> Result<Option<Ban>>;
    /// All bans, current and remembered.
    fn bans(&self) -> Result<Vec<(SourceKey, Ban)>>;

    /// What is known of a source.
    fn source(&self, source: &SourceKey) -> Result<Option<Source>>;
    /// All known sources.
    fn sources(&self) -> Result<Vec<(SourceKey, Source)>>;
    /// How many sources are known now, for whoever asks every few seconds.
    fn source_count(&self) -> Result<usize> {
        self.sources().map(|sources| sources.len())
    }

    /// Whether a source has behaved for a while, so that it doesn't count against budgets.
    fn is_known(&self, source: &SourceKey) -> bool;

    /// The time of a limit that is kept for a hash, in its own units; nothing where it is kept for
    /// nobody, which is as good as over.
    fn meter(&self, meter: &Meter) -> Result<Option<u64>>;

    /// Packets and bytes so far, and our own faults.
    fn counters(&self) -> Result<Counters>;

    /// Sets the counters of an interface slot to zero, for the next interface to use it.
    fn reset_counters(&mut self, slot: usize) -> Result<()>;

    /// Attaches an interface: native or generic as asked, native and then generic for `auto`. The
    /// interface is known by this name from then on, however it is renamed.
    fn attach(&mut self, interface: &IfName, mode: AttachMode) -> Result<Attached>;
    /// What the frames of an attached interface begin with.
    fn framing(&self, _interface: &IfName) -> Framing {
        Framing::Ethernet
    }
    /// The name that an attached interface has now, or nothing when it is no longer attached: the
    /// program goes with its device, and stays with a device that is renamed.
    fn attached_name(&self, interface: &IfName) -> Option<IfName>;
    /// The device that a name is for, which may be one of its further names (altnames): its index, and
    /// the name that the kernel has for it. Nothing where there is none.
    fn device_of(&self, name: &IfName) -> Option<(u32, IfName)>;
    /// Knows attached interfaces by other names from now on, all at once: pairs of the name before and
    /// the name to be.
    fn rename(&mut self, pairs: &[(IfName, IfName)]);
    /// Whether what leaves by an attached interface is noted in the flow memory. It is attached beside the
    /// interface, and where it can't be the interface is attached all the same.
    fn egress(&self, _interface: &IfName) -> Egress {
        Egress::Missing("nothing leaves here".to_owned())
    }
    /// What the egress program saw so far.
    fn egress_counter(&self) -> Result<EgressCounter> {
        Ok(EgressCounter::ZERO)
    }
    /// Whether the flow memory that an earlier daemon left was complete, and is in use.
    fn remembered_flows(&self) -> bool {
        false
    }
    /// Detaches an interface; nothing happens if it isn't attached.
    fn detach(&mut self, interface: &IfName) -> Result<()>;

    /// Puts a start in force: everything that was stored, set and attached since an earlier daemon's
    /// attachments were found, and removes limits of other prefixes than these. Before that, and after
    /// a failure, the earlier daemon's program and policy are in force. Says what was not possible and
    /// isn't worth a failure.
    fn go_live(&mut self, _limited: &[Prefix]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// The counter slot that an interface had in the maps that were taken over.
    fn slot_of(&self, _interface: &IfName) -> Option<usize> {
        None
    }
    /// What became of what an earlier daemon left.
    fn continuity(&self) -> Continuity {
        Continuity::None
    }
    /// What keeps an attached interface from being pinned now.
    fn pin_trouble(&self) -> Option<&str> {
        None
    }
    /// Detaches pinned interfaces that are not among these, and says which.
    fn forget_others(&mut self, _kept: &[IfName]) -> Result<Vec<IfName>> {
        Ok(Vec::new())
    }
    /// Takes all pins away.
    fn unpin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Work that is due about once a second: hits are collected, and sources that have stayed away
    /// lose their place in a full table.
    fn tend(&mut self) -> Result<()> {
        Ok(())
    }

    /// Memory that the tables take now; 0 where nobody counts it.
    fn memory(&self) -> Memory {
        Memory::default()
    }

    /// Known sources whose place no newcomer takes, as of the last time that they were tended.
    fn protected_sources(&self) -> u64 {
        0
    }

    /// The stages that the program has, of [`xdp_common::abi::STAGES`].
    fn stages(&self) -> u32 {
        xdp_common::abi::STAGES
    }

    /// Instructions that the verifier went through, where the kernel tells.
    fn verified_instructions(&self) -> Option<u32>;
}

/// Why an entry wasn't removed: see [`Datapath::change_entries`].
fn stays(prefix: &Prefix) -> DatapathError {
    DatapathError::Kernel {
        what: format!("remove {prefix}"),
        source: anyhow::anyhow!("it stays until the wider entry that takes its place is stored"),
    }
}

/// Whether a prefix of the set holds all of this one.
fn is_within(set: &BTreeSet<Prefix>, prefix: &Prefix) -> bool {
    !set.is_empty()
        && (0..=prefix.prefix_len())
            .filter_map(|len| Prefix::new(prefix.network(), len))
            .any(|wider| set.contains(&wider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_within_itself_and_wider_ones() {
        let parse = |text: &str| -> Prefix { text.parse().unwrap() };
        let set = BTreeSet::from(["192.0.2.0/24", "2001:db8::/32"].map(parse));
        for text in ["192.0.2.0/24", "192.0.2.7", "2001:db8:1::/48"] {
            assert!(is_within(&set, &parse(text)), "{text}");
        }
        for text in ["192.0.2.0/23", "192.0.3.7", "2001:db9::1"] {
            assert!(!is_within(&set, &parse(text)), "{text}");
        }
    }
}
