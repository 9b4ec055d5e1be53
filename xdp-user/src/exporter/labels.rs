//! Labels and the values that they can have.

use xdp_common::abi::{Fault, NotIpKind};
use xdp_common::reason::{Class, Reason};

use crate::api::types::{ClassCounts, EventKind, Family, ListKind, WaitReason};
use crate::domain::{ClassState, Mode};
use crate::events;
use crate::feeds::FeedCause;
use crate::host::lost::{HostLoss, SynCookieEvent};
use crate::host::received::LinkLoss;

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Interface.
    Interface,
    /// Why a packet passed or was dropped.
    Reason,
    /// What was done with it.
    Action,
    /// Whether verdicts are carried out.
    Mode,
    /// Kernel table.
    Table,
    /// Allowlist or blocklist.
    Kind,
    /// List of entries.
    List,
    /// Why a list's refresh changed nothing.
    Failure,
    /// Service class.
    Class,
    /// What a class made of a packet.
    Outcome,
    /// How hard pressed a class is.
    State,
    /// Address family.
    Family,
    /// How a reload ended.
    Result,
    /// Fault of our own.
    Fault,
    /// What a frame carries that isn't IP.
    NotIp,
    /// Where the host itself lost a packet.
    Cause,
    /// What the kernel did with SYN cookies.
    Event,
    /// Kind of an event of the daemon's.
    EventKind,
    /// A way that events take out of the daemon.
    Outlet,
    /// What an interface waits for.
    Waiting,
    /// Version of the daemon.
    Version,
    /// Version of the kernel border.
    Abi,
}

/// A packet went on to the host.
pub const PASSED: &str = "passed";
/// A packet was dropped.
pub const DROPPED: &str = "dropped";
/// Label value of an action: answered in the host's place.
pub const ANSWERED: &str = "answered";
/// A reload took effect.
pub const OK: &str = "ok";
/// A reload was refused.
pub const REFUSED: &str = "refused";
/// The tables, by the names in [`crate::api::types::TableStatus`].
pub const TABLES: [&str; 5] = ["allow", "block", "overrides", "sources", "bans"];
/// The two kinds of lists.
pub const KINDS: [ListKind; 2] = [ListKind::Allow, ListKind::Block];

/// One of the counts of a class.
type Counted = fn(&ClassCounts) -> u64;

/// What a class makes of packets, with where it is counted.
pub const OUTCOMES: [(&str, Counted); 9] = [
    ("all", |counts| counts.packets),
    ("newcomer", |counts| counts.newcomers),
    ("over", |counts| counts.over),
    ("proven", |counts| counts.proven),
    ("unsolicited", |counts| counts.unsolicited),
    // One series for each class and outcome: what was refused without being remembered is one.
    ("refused", |counts| {
        counts.refused + counts.too_soon + counts.over_returning
    }),
    ("cookie", |counts| counts.cookies),
    ("first_packet", |counts| counts.first_packets),
    ("returned", |counts| counts.returned),
];

impl Label {
    /// Every label.
    pub const ALL: [Self; 22] = [
        Self::Interface,
        Self::Reason,
        Self::Action,
        Self::Mode,
        Self::Table,
        Self::Kind,
        Self::List,
        Self::Failure,
        Self::Class,
        Self::Outcome,
        Self::State,
        Self::Family,
        Self::Result,
        Self::Fault,
        Self::NotIp,
        Self::Cause,
        Self::Event,
        Self::EventKind,
        Self::Outlet,
        Self::Waiting,
        Self::Version,
        Self::Abi,
    ];

    /// The name in the text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Reason => "reason",
            Self::Action => "action",
            Self::Mode => "mode",
            Self::Table => "table",
            Self::Kind => "kind",
            Self::List => "list",
            Self::Failure => "failure",
            Self::Class => "class",
            Self::Outcome => "outcome",
            Self::State => "state",
            Self::Family => "family",
            Self::Result => "result",
            Self::Fault => "fault",
            Self::NotIp => "carried",
            Self::Cause => "cause",
            Self::Event => "event",
            Self::EventKind => "event_kind",
            Self::Outlet => "outlet",
            Self::Waiting => "waiting",
            Self::Version => "version",
            Self::Abi => "abi",
        }
    }

    /// What it says and, where it has no closed set of values, what bounds them.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Interface => "Protected interface, at most 15 of them.",
            Self::Reason => "Why a packet passed or was dropped, see below.",
            Self::Action => {
                "What was done with the packet. One that `passed` for a reason to drop or to answer \
                 was only observed."
            }
            Self::Mode => "Whether verdicts are carried out.",
            Self::Table => "Kernel table.",
            Self::Kind => "What a list does.",
            Self::List => "List of entries, as many as the operator named.",
            Self::Failure => "Why the refresh of a list that keeps itself changed nothing.",
            Self::Class => "Service class, at most 32: the built-in ones and the operator's.",
            Self::Outcome => {
                "What the class made of a packet. `all` is every packet in it; a packet that was \
                 `over` the budget is counted again under what became of it."
            }
            Self::State => "How hard pressed a service class is.",
            Self::Family => "Address family.",
            Self::Result => "How a reload of the configuration ended.",
            Self::Fault => "Fault of our own, see below.",
            Self::NotIp => {
                "What a frame carries that isn't IP. `other` is every EtherType without a name here; \
                 `status` tells some of them by number."
            }
            Self::Cause => "Where link, driver or kernel lost a packet, see below.",
            Self::Event => "What the kernel did with SYN cookies of its own, see below.",
            Self::EventKind => "Kind of an event, see docs/events.md.",
            Self::Outlet => "A way that events take out of the daemon.",
            Self::Waiting => {
                "What an interface without the program waits for: it is missing, another XDP program \
                 is on it, its driver lacks the native mode that is asked for, or the kernel refuses \
                 for another reason."
            }
            Self::Version => "Version of the daemon.",
            Self::Abi => "Version of the types that daemon and kernel program share.",
        }
    }

    /// Every value that it can have; `None` where they aren't a closed set.
    pub fn values(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Interface | Self::List | Self::Class | Self::Version | Self::Abi => None,
            Self::Reason => Some(Reason::ALL.iter().map(|reason| reason.name()).collect()),
            Self::Action => Some(vec![PASSED, DROPPED, ANSWERED]),
            Self::Mode => Some(Mode::ALL.map(Mode::name).to_vec()),
            Self::Table => Some(TABLES.to_vec()),
            Self::Failure => Some(FeedCause::ALL.map(FeedCause::name).to_vec()),
            Self::Kind => Some(KINDS.map(ListKind::name).to_vec()),
            Self::Outcome => Some(OUTCOMES.map(|(name, _)| name).to_vec()),
            Self::State => Some(ClassState::ALL.map(ClassState::name).to_vec()),
            Self::Family => Some(Family::ALL.map(Family::name).to_vec()),
            Self::Result => Some(vec![OK, REFUSED]),
            Self::Fault => Some(Fault::ALL.iter().map(|fault| fault.name()).collect()),
            Self::NotIp => Some(NotIpKind::ALL.iter().map(|kind| kind.name()).collect()),
            Self::Cause => {
                let link = LinkLoss::ALL.into_iter().map(LinkLoss::name);
                Some(link.chain(HostLoss::ALL.map(HostLoss::name)).collect())
            }
            Self::EventKind => Some(EventKind::ALL.map(EventKind::name).to_vec()),
            Self::Outlet => Some(events::LOSSES.to_vec()),
            Self::Waiting => Some(WaitReason::ALL.map(WaitReason::name).to_vec()),
            Self::Event => Some(SynCookieEvent::ALL.map(SynCookieEvent::name).to_vec()),
        }
    }
}

/// What can happen to a packet with this reason.
pub const fn actions(reason: Reason) -> &'static [&'static str] {
    match reason.class() {
        Class::Pass => &[PASSED],
        Class::Drop => &[DROPPED, PASSED],
        Class::Answer => &[ANSWERED, PASSED],
    }
}

/// One sentence about a fault.
pub const fn fault_description(fault: Fault) -> &'static str {
    match fault {
        Fault::BanTableFull => {
            "A ban could not be stored because the ban table is full; the limits still hold."
        }
        Fault::SourceTableFull => {
            "A source could not be stored because others kept changing its place in the table; the packet passed without a limit."
        }
        Fault::EventLost => "The buffer for events was full: an event is lost.",
        Fault::LimiterContended => {
            "Too many CPUs met at one source's limiter; the packet counted as over the limit."
        }
        Fault::HitMissed => {
            "A list entry's hit was written over before it was read; the entry's hits are too few."
        }
        Fault::SampleLost => "The buffer for samples was full: a sampled packet is lost.",
        Fault::AnswerLost => {
            "A SYN without TCP options was to be answered with a cookie and its frame had no room for the answer; it was dropped."
        }
    }
}
