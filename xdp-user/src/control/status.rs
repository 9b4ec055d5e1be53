//! The state of everything in one answer.

use std::cmp::Reverse;

use anyhow::Result;
use xdp_common::abi::{Fault, MAX_INTERFACES, NotIpKind, OTHER_ETHER_TYPES};
use xdp_common::reason::{Action, Class, Reason};

use super::Control;
use super::entries::Entries;
use super::interfaces::Interface;
use super::policy;
use crate::api::types::{
    ConfigStatus, HostStatus, InterfaceReceived, InterfaceStatus, LinkState, ListKind, ListStatus,
    MapStatus, NamedCount, NotIpCount, PinStatus, ReachStatus, ReasonCount, Status, TableStatus,
};
use crate::datapath::{Continuity, Counters, Egress, Memory};

impl Control {
    /// The state of everything.
    pub fn status(&mut self) -> Result<Status> {
        let counters = self.datapath.counters()?;
        let now = Self::now();
        let bans = self.datapath.bans()?;
        let sources = self.datapath.source_count()?;
        let memory = self.datapath.memory();
        let in_force = bans
            .iter()
            .filter(|(_, ban)| ban.until_ns > now.boot_ns)
            .count();
        let interfaces = self.interfaces.iter().map(|interface| &interface.name);
        let host = self.host.read(interfaces);
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            mode: self.config.mode,
            observe_reasons: self
                .config
                .observe_reasons
                .iter()
                .map(|r| r.name().to_owned())
                .collect(),
            config: ConfigStatus {
                path: self.reloads.path.clone(),
                loaded: self.reloads.loaded,
                reloads: self.reloads.done,
                refused: self.reloads.refused,
                last_error: self.reloads.last_error.clone(),
            },
            kernel: nix::sys::utsname::uname()?
                .release()
                .to_string_lossy()
                .into_owned(),
            verified_instructions: self.datapath.verified_instructions(),
            stages: policy::stage_names(self.datapath.stages()),
            interfaces: self.interface_status(&counters),
            reasons: reason_counts(|reason, action| counters.total(reason, action), true),
            tables: self.table_status(sources, bans.len(), &memory),
            maps: map_status(&memory),
            memory_bytes: memory.total(),
            protected_sources: self.datapath.protected_sources(),
            lists: self.list_status()?,
            kept_lists: self.kept_lists(),
            bans: count(in_force),
            mitigation: self.mitigation_status(now)?,
            flow_memory: self.flow_memory_status(now)?,
            faults: Fault::ALL
                .iter()
                .map(|fault| NamedCount {
                    name: fault.name().to_owned(),
                    count: counters.fault(*fault),
                })
                .collect(),
            not_ip: not_ip(&counters),
            reach: ReachStatus::default(),
            events: self.journal.status(),
            warnings: self.current_warnings(&counters, &host),
            host,
            privileges: crate::privileges::current(),
            pins: self.pin_status(),
            pending: self.pending_status(),
        })
    }

    fn pin_status(&self) -> PinStatus {
        let (start, why) = match self.datapath.continuity() {
            Continuity::None => ("unpinned", None),
            Continuity::Unpinned(why) => ("unpinned", Some(why)),
            Continuity::Fresh => ("fresh", None),
            Continuity::TookOver => ("took_over", None),
            Continuity::Refilled(why) => ("refilled", Some(why)),
        };
        let pins = &self.config.pins;
        let directory = pins.directory.as_ref().filter(|_| start != "unpinned");
        PinStatus {
            directory: directory.map(|path| path.display().to_string()),
            on_exit: pins.on_exit.name().to_owned(),
            start: start.to_owned(),
            why,
        }
    }

    fn interface_status(&self, counters: &Counters) -> Vec<InterfaceStatus> {
        let egress = |interface: &Interface| {
            interface.attached?;
            Some(self.datapath.egress(&interface.configured))
        };
        self.interfaces
            .iter()
            .map(|interface| (interface, egress(interface)))
            .map(|(interface, egress)| InterfaceStatus {
                egress: match &egress {
                    Some(Egress::Attached(hook)) => Some(hook.name().to_owned()),
                    Some(Egress::Missing(_)) | None => None,
                },
                egress_why: match egress {
                    Some(Egress::Missing(why)) => Some(why),
                    Some(Egress::Attached(_)) | None => None,
                },
                name: interface.name.as_str().to_owned(),
                configured: (interface.name != interface.configured)
                    .then(|| interface.configured.to_string()),
                index: interface.attached.map_or(0, |a| a.index),
                attached: interface.attached.is_some(),
                waiting: interface.waiting.as_ref().map(|waits| waits.reason),
                waiting_why: interface.waiting.as_ref().map(|waits| waits.why.clone()),
                mode: interface
                    .attached
                    .map(|a| if a.native { "native" } else { "generic" }.to_owned()),
                reasons: reason_counts(
                    |reason, action| counters.get(interface.slot, reason, action),
                    false,
                ),
            })
            .collect()
    }

    fn table_status(&self, sources: usize, bans: usize, memory: &Memory) -> Vec<TableStatus> {
        let capacity = &self.config.capacity;
        let fullest = |entries: &Entries| entries.stored(true).max(entries.stored(false));
        let v4 = self
            .stored_limits
            .keys()
            .filter(|prefix| prefix.is_ipv4())
            .count();
        [
            (
                "allow",
                fullest(&self.allow),
                capacity.allow,
                memory.allow,
                "new entries are refused with an error",
            ),
            (
                "block",
                fullest(&self.block),
                capacity.block,
                memory.block,
                "new entries are refused with an error",
            ),
            (
                "overrides",
                v4.max(self.stored_limits.len() - v4),
                capacity.overrides,
                memory.overrides,
                "a configuration with more is refused",
            ),
            (
                "sources",
                sources,
                capacity.sources,
                memory.sources,
                "a new source takes the place of one that has sent least, never of a protected one",
            ),
            (
                "bans",
                bans,
                capacity.bans,
                memory.bans,
                "a new ban is not stored, counted as a fault; the source stays limited",
            ),
        ]
        .into_iter()
        .map(
            |(name, entries, capacity, memory_bytes, when_full)| TableStatus {
                name: name.to_owned(),
                entries: count(entries),
                capacity: u64::from(capacity),
                memory_bytes,
                when_full: when_full.to_owned(),
            },
        )
        .collect()
    }

    fn list_status(&self) -> Result<Vec<ListStatus>> {
        let mut lists = Vec::new();
        for (kind, entries) in [
            (ListKind::Allow, &self.allow),
            (ListKind::Block, &self.block),
        ] {
            for (list, entries) in entries.sizes() {
                lists.push(ListStatus {
                    name: self.list_name(list)?,
                    kind,
                    entries,
                });
            }
        }
        Ok(lists)
    }

    fn current_warnings(&self, counters: &Counters, host: &HostStatus) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(host.interfaces.iter().filter_map(link_trouble));
        for interface in &self.interfaces {
            let name = &interface.name;
            match interface.attached {
                None => {
                    let why = interface.waiting.as_ref();
                    let why = why.map_or(String::new(), |waits| format!(" ({})", waits.why));
                    warnings.push(format!(
                        "{name} is not attached: its traffic is not filtered, and it is attached as \
                         soon as it can be{why}"
                    ));
                }
                Some(attached) if !attached.native => warnings.push(format!(
                    "{name} is attached in generic mode, which is several times slower: its driver has no native XDP"
                )),
                Some(_) => {}
            }
            if let (Some(_), true) = (interface.attached, self.config.mitigation.enabled)
                && let Egress::Missing(why) = self.datapath.egress(&interface.configured)
            {
                warnings.push(format!(
                    "what leaves by {name} isn't noted, so classes ask local sockets alone, and stand \
                     aside where the host forwards: {why}"
                ));
            }
            if let Some(other) = self.other_of_that_name(interface) {
                warnings.push(other);
            }
        }
        if let Continuity::Unpinned(why) = self.datapath.continuity() {
            warnings.push(format!(
                "nothing is pinned, so traffic passes unfiltered when the daemon ends: {why}"
            ));
        }
        if let Some(why) = self.state.trouble() {
            warnings.push(format!(
                "the state on disk takes no changes, so none are made; filtering goes on: {why}"
            ));
        }
        if let Some(recovered) = self.state.recovered() {
            warnings.push(format!(
                "the state on disk was damaged at the start: {} entries, bans and limits could be read{}; the damaged file is {}",
                recovered.rows,
                if recovered.partly { ", others could not" } else { "" },
                recovered.kept.display()
            ));
        }
        warnings.extend(self.datapath.pin_trouble().map(str::to_owned));
        if !self.unsettled.is_empty() {
            warnings.push(format!(
                "{} entries are on disk but not in the kernel yet",
                self.unsettled.len()
            ));
        }
        if counters.fault(Fault::BanTableFull) > 0 {
            warnings.push("the ban table was full: raise capacity.bans and restart".to_owned());
        }
        let strays: u64 = [Action::Pass, Action::Drop]
            .iter()
            .flat_map(|action| {
                Reason::ALL
                    .iter()
                    .map(|reason| counters.get(MAX_INTERFACES - 1, *reason, *action).packets)
            })
            .sum();
        if strays > 0 {
            warnings.push(format!(
                "{strays} packets came in before their interface had a counter of its own"
            ));
        }
        warnings
    }
}

fn map_status(memory: &Memory) -> Vec<MapStatus> {
    let maps = memory.fixed.iter();
    maps.map(|map| MapStatus {
        name: map.shown(),
        memory_bytes: map.bytes,
    })
    .collect()
}

/// What wasn't judged, by kind, and by EtherType for some of what has no kind of its own.
fn not_ip(counters: &Counters) -> Vec<NotIpCount> {
    let row = |kind: NotIpKind, ether_type: Option<u16>, packets| NotIpCount {
        kind: kind.name().to_owned(),
        ether_type: ether_type.map(|number| format!("0x{number:04x}")),
        packets,
    };
    let named = NotIpKind::ALL
        .iter()
        .filter(|kind| **kind != NotIpKind::Other);
    let mut rows: Vec<_> = named
        .map(|kind| row(*kind, None, counters.not_ip(*kind)))
        .collect();
    let mut others: Vec<_> = counters.other_ether_types().collect();
    others.sort_by_key(|(ether_type, packets)| (Reverse(*packets), *ether_type));
    others.truncate(OTHER_ETHER_TYPES);
    let told: u64 = others.iter().map(|(_, packets)| packets).sum();
    let untold = counters.not_ip(NotIpKind::Other).saturating_sub(told);
    rows.extend(
        others
            .into_iter()
            .map(|(ether_type, packets)| row(NotIpKind::Other, Some(ether_type), packets)),
    );
    rows.push(row(NotIpKind::Other, None, untold));
    rows.retain(|row| row.packets > 0);
    rows.sort_by_key(|row| Reverse(row.packets));
    rows
}

fn reason_counts(
    get: impl Fn(Reason, Action) -> xdp_common::abi::Counter,
    with_zeros: bool,
) -> Vec<ReasonCount> {
    let mut counts = Vec::new();
    for reason in Reason::ALL {
        let actions: &[(Action, &str)] = match reason.class() {
            Class::Pass => &[(Action::Pass, "passed")],
            Class::Drop => &[(Action::Drop, "dropped"), (Action::Pass, "passed")],
            Class::Answer => &[(Action::Answer, "answered"), (Action::Pass, "passed")],
        };
        for (action, name) in actions {
            let counter = get(*reason, *action);
            if with_zeros || counter.packets > 0 {
                counts.push(ReasonCount {
                    reason: reason.name().to_owned(),
                    action: (*name).to_owned(),
                    packets: counter.packets,
                    bytes: counter.bytes,
                });
            }
        }
    }
    counts
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Why nothing comes in on an interface, if nothing can.
fn link_trouble(interface: &InterfaceReceived) -> Option<String> {
    let name = &interface.name;
    match interface.link {
        LinkState::Up => None,
        LinkState::Down => Some(format!("{name} is down: `ip link set {name} up`")),
        LinkState::NoCarrier => Some(format!(
            "nobody is at the other end of {name}: a cable, a port, or the other end of a pair"
        )),
    }
}
