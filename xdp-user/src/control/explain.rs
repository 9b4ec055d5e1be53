//! What would happen to a packet, and why: the program's own decision on copies of the tables.

mod frame;

use anyhow::{Context, Result, bail};
use xdp_common::abi::{Limit, Limits, Plain, Policy, Source, SourceKey};
use xdp_common::reason::{Action, Reason};
use xdp_common::verdict::{STALE_NS, Verdict, network};

use super::bans::ban_view;
use super::clock::{Moment, as_program};
use super::{Control, policy};
use crate::api::types::{
    BanView, ExplainQuery, Explanation, ListKind, SampleView, SourceView, StageView,
};
use crate::datapath::keys::source_to_abi;
use crate::datapath::memory::MemoryDatapath;
use crate::datapath::{Capacity, Datapath, Meter};
use crate::domain::Prefix;
use crate::host::framing::{self, Framing};
use frame::Hypothetical;

/// Samples of a source that are shown.
const MAX_SAMPLES: usize = 5;

/// Stages as they stand in the program, with the reasons that fall in each.
const STAGES: [&str; 8] = [
    "parse",
    "allow",
    "block",
    "ban",
    "sanity",
    "class",
    "aggregate",
    "limits",
];

impl Control {
    /// Judges a hypothetical packet without touching what the program holds.
    pub fn explain(&mut self, query: &ExplainQuery) -> Result<Explanation> {
        let now = Self::now();
        let framing = self.framing_of(query.interface.as_deref())?;
        let packet = Hypothetical::new(query, framing)?;
        let host = Prefix::host(packet.address);
        let source = self.source_of(&host);
        let key = source_to_abi(&source);
        let (known, ban) = self.known_source(&key)?;

        let policy = self.current_policy()?;
        let mut copy = MemoryDatapath::new(Capacity {
            allow: 1,
            block: 1,
            overrides: 1,
            sources: 2,
            bans: 2,
            flows: 4096,
        });
        if let Some(classes) = self.classes.stored() {
            copy.set_classes(classes)?;
        }
        copy.set_policy(&policy)?;
        let allow = self.copy_entry(ListKind::Allow, &host, &mut copy)?;
        let block = self.copy_entry(ListKind::Block, &host, &mut copy)?;
        let limits = self.limits_of(&host)?;
        if let Some(prefix) = limits.prefix
            && let Some(stored) = self.stored_limits.get(&prefix)
        {
            copy.put_limits(&prefix, &policy::limits(stored))?;
        }
        if let Some(known) = known {
            copy.put_source(&key, known);
        }
        if let Some(ban) = &ban {
            copy.put_ban(&key, ban)?;
        }
        let is_known = self.datapath.is_known(&key);
        if is_known {
            copy.make_known(&key);
        }
        for (class, reading) in self.datapath.classes()?.iter().enumerate() {
            copy.put_class_reading(class, reading);
        }
        self.copy_meters(&packet, &key, &policy, &mut copy)?;
        let verdict = copy.judge_as(framing, &packet.frame, as_program(&policy, now.boot_ns));

        let parsed = packet.parsed();
        let ban_in_force = ban.filter(|ban| ban.until_ns > now.boot_ns);
        let view = known.map(|known| self.source_view(source, &known, ban, now));
        let findings = Findings {
            allow,
            block,
            ban: ban_in_force.map(|ban| ban_view(source, &ban, now)),
            class: self.class_finding(parsed.as_ref(), is_known),
            limits: limit_levels(&self.effective(&host, &policy), known.as_ref(), now),
            known: view.clone(),
        };
        Ok(Explanation {
            address: packet.address,
            source,
            packet: packet.description,
            reason: verdict.reason.name().to_owned(),
            description: verdict.reason.description().trim().to_owned(),
            action: match verdict.action {
                Action::Pass => "pass",
                Action::Drop => "drop",
                Action::Answer => "answer",
            }
            .to_owned(),
            mode: self.config.mode,
            stages: stages(&verdict, &findings),
            known: view,
            ban: ban.map(|ban| ban_view(source, &ban, now)),
            limits,
            samples: self.last_samples(&source),
        })
    }

    /// What the frames of a protected interface begin with; of the first, where none is named.
    fn framing_of(&self, interface: Option<&str>) -> Result<Framing> {
        let mut names = self.config.interfaces.iter().map(|one| &one.name);
        let Some(name) = interface else {
            let first = names.next().and_then(|name| framing::of(name).ok()?);
            return Ok(first.and_then(std::result::Result::ok).unwrap_or_default());
        };
        let known = names.find(|one| one.as_str() == name).with_context(|| {
            format!("{name} is no protected interface: see the interfaces of the status")
        })?;
        match framing::of(known)? {
            None => bail!("there is no interface {name} now: see `ip link`"),
            Some(Ok(framing)) => Ok(framing),
            Some(Err(unreadable)) => bail!("{name} is not protected: it is {}", unreadable.what),
        }
    }

    fn last_samples(&self, source: &Prefix) -> Vec<SampleView> {
        let samples = self.journal.samples_of(source, MAX_SAMPLES);
        let view = |(at, sample)| SampleView { at, sample };
        samples.into_iter().map(view).collect()
    }

    /// The entry that the kernel matches.
    pub(super) fn matching_entry(&mut self, kind: ListKind, host: &Prefix) -> Option<Prefix> {
        let entries = self.entries(kind);
        let covering = entries.covering(host);
        let mut widest_last = covering.iter().rev();
        let matched = widest_last.find(|(prefix, _)| entries.is_stored(prefix));
        matched.map(|(prefix, _)| *prefix)
    }

    /// Copies the entry that the kernel would match, and says which it is.
    fn copy_entry(
        &mut self,
        kind: ListKind,
        host: &Prefix,
        copy: &mut MemoryDatapath,
    ) -> Result<Option<String>> {
        let Some(prefix) = self.matching_entry(kind, host) else {
            return Ok(None);
        };
        let members = self.entries(kind).members(&prefix).to_vec();
        let Some(stored) = self.datapath.entry(kind, &prefix)? else {
            return Ok(None);
        };
        copy.put_entry(kind, &prefix, stored.expires_ns, stored.list)?;
        let mut words: Vec<String> = Vec::new();
        for member in members {
            let list = self.list_name(member.list)?;
            let until = member
                .expires
                .map_or_else(String::new, |at| format!(" until {at:.0}"));
            let why = member
                .comment
                .map_or_else(String::new, |c| format!(" ({c})"));
            words.push(format!("list {list}{until}{why}"));
        }
        Ok(Some(format!(
            "{prefix}: {}; {} packets so far",
            words.join(", "),
            stored.packets
        )))
    }

    /// Copies the limits that are kept for the source in its class, and for its network.
    fn copy_meters(
        &self,
        packet: &Hypothetical,
        source: &SourceKey,
        policy: &Policy,
        copy: &mut MemoryDatapath,
    ) -> Result<()> {
        let class = packet.parsed();
        let class = class.and_then(|packet| self.class_number_of(&packet));
        let of_class = class.map(|class| (*source, class));
        let network = (network(&packet.address.into(), policy), 0);
        for (key, class) in of_class.into_iter().chain([network]) {
            for bytes in [false, true] {
                let meter = Meter { key, class, bytes };
                if let Some(time) = self.datapath.meter(&meter)? {
                    copy.put_meter(&meter, time);
                }
            }
        }
        Ok(())
    }

    fn current_policy(&self) -> Result<Policy> {
        let limits = self.default_limits()?;
        let overrides = self.stored_overrides();
        let flow_memory = self.flow_memory_is_complete();
        let [aside_v4, aside_v6] = self.aside_masks(flow_memory);
        let [forwards_v4, forwards_v6] = self.forwards_masks(flow_memory);
        Ok(policy::build(
            &self.config,
            policy::Live {
                limits: Some(&limits),
                overrides: &overrides,
                aside_v4,
                aside_v6,
                flow_memory,
                forwards_v4,
                forwards_v6,
                surroundings: self.surroundings,
                ..policy::Live::default()
            },
        ))
    }

    fn effective(&self, host: &Prefix, policy: &Policy) -> Limits {
        let longest = self
            .stored_limits
            .iter()
            .filter(|(p, _)| p.covers(host))
            .max_by_key(|(p, _)| p.prefix_len());
        longest.map_or(policy.limits, |(_, limits)| policy::limits(limits))
    }
}

struct Findings {
    allow: Option<String>,
    block: Option<String>,
    ban: Option<BanView>,
    class: String,
    limits: String,
    known: Option<SourceView>,
}

/// The stages up to the one that decided.
fn stages(verdict: &Verdict, findings: &Findings) -> Vec<StageView> {
    let decided = stage_of(verdict.reason);
    let mut views = Vec::new();
    for stage in STAGES {
        let here = decided == Some(stage);
        let finding = match stage {
            "allow" => findings
                .allow
                .clone()
                .unwrap_or_else(|| "on no allowlist".to_owned()),
            "block" => findings
                .block
                .clone()
                .unwrap_or_else(|| "on no blocklist".to_owned()),
            "ban" => match &findings.ban {
                Some(ban) => format!(
                    "banned until {:.0} for {}, level {}",
                    ban.until, ban.reason, ban.level
                ),
                None => "not banned".to_owned(),
            },
            "class" => findings.class.clone(),
            "limits" => {
                let strikes = findings.known.as_ref().map_or(0, |known| known.strikes);
                format!("{}; {strikes} strikes", findings.limits)
            }
            _ if here => verdict.reason.description().trim().to_owned(),
            _ => "nothing wrong".to_owned(),
        };
        views.push(StageView {
            stage: stage.to_owned(),
            finding,
            decided: here,
        });
        if here {
            break;
        }
    }
    views
}

/// Where a reason falls; nothing for a packet that passed every stage.
fn stage_of(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Accepted | Reason::NoPolicy | Reason::PolicyMismatch => None,
        Reason::Allowlisted => Some("allow"),
        Reason::Blocklisted => Some("block"),
        Reason::Banned => Some("ban"),
        Reason::TcpFlags | Reason::Land | Reason::MartianSource => Some("sanity"),
        Reason::RatePackets | Reason::RateBytes | Reason::RateTcpNew | Reason::SourceUntracked => {
            Some("limits")
        }
        Reason::Unsolicited
        | Reason::ClassBudget
        | Reason::ClassPackets
        | Reason::ClassBytes
        | Reason::SynCookie
        | Reason::FragmentDropped
        | Reason::FirstPacket
        | Reason::TooSoon
        | Reason::ReturningBudget => Some("class"),
        Reason::AggregatePackets | Reason::AggregateBytes => Some("aggregate"),
        Reason::NotIp
        | Reason::EthernetTruncated
        | Reason::VlanTooDeep
        | Reason::Ipv4Truncated
        | Reason::Ipv4Malformed
        | Reason::Ipv6Truncated
        | Reason::Ipv6Malformed
        | Reason::Ipv6ExtensionsTooDeep
        | Reason::TcpTruncated
        | Reason::TcpMalformed
        | Reason::UdpTruncated
        | Reason::UdpMalformed
        | Reason::IcmpTruncated
        | Reason::Icmpv6Truncated
        | Reason::TinyFragment
        | Reason::FragmentOverlap => Some("parse"),
    }
}

/// How much of each burst is used up.
fn limit_levels(limits: &Limits, known: Option<&Source>, now: Moment) -> String {
    let known = known.copied().unwrap_or(Source::ZERO);
    let level = |name: &str, limit: &Limit, tat: u64| {
        if limit.is_off() {
            return format!("{name} off");
        }
        let ahead = match tat.saturating_sub(now.boot_ns) {
            // Left by another limit: the program starts anew.
            stale if stale > limit.tolerance_ns.saturating_add(STALE_NS) => 0,
            ahead => ahead.min(limit.tolerance_ns),
        };
        let percent = ahead
            .saturating_mul(100)
            .checked_div(limit.tolerance_ns)
            .unwrap_or(0);
        format!("{name} {percent}% of the burst used")
    };
    [
        level("packets", &limits.packets, known.tat_packets),
        level("bytes", &limits.bytes, known.tat_bytes),
        level("new connections", &limits.tcp_new, known.tat_tcp_new),
    ]
    .join(", ")
}
