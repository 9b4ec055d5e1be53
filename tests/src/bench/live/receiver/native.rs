//! Receivers that are XDP programs, attached in native mode.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use xdp_common::abi::Policy;
use xdp_common::reason::{Action, Reason};
use xdp_user::api::types::ListKind;
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Capacity, Datapath, NewEntry};
use xdp_user::domain::{AttachMode, Prefix};

use super::super::super::filter::Filter;
use super::super::super::stand::{OBJECT, interfaces};
use super::super::lane::Lane;
use super::Installed;
use crate::kernel::policy;
use crate::oracle::{Bans, Limits, Rate, Rules};

/// Lines of a table that a program chooses one of: 1 MiB, about what a list of 100,000 takes.
const FLOOR_LINES: u32 = 1 << 14;

/// Attaches one program of the bench's own object.
pub(super) fn attach_own(lane: &Lane, name: &str) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("FLOOR", FLOOR_LINES)
        .override_global("FLOOR_LINES", &[FLOOR_LINES; 2], true)
        .load(OBJECT)
        .context("loading the bench's maps")?;
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .with_context(|| format!("the bench's object has no program {name}"))?
        .try_into()?;
    program.load().with_context(|| format!("loading {name}"))?;
    attach(lane, program).with_context(|| format!("attaching {name}"))?;
    Ok(ebpf)
}

fn attach(lane: &Lane, program: &mut Xdp) -> Result<()> {
    lane.host
        .run(|| program.attach(&lane.interface, XdpMode::Driver))??;
    Ok(())
}

/// A program that does nothing but drop, from which everything is measured; or parse and drop.
pub(super) struct Plain {
    _ebpf: Ebpf,
}

impl Plain {
    pub(super) fn install(lane: &Lane, name: &str) -> Result<Self> {
        let ebpf = attach_own(lane, name)?;
        Ok(Self { _ebpf: ebpf })
    }
}

impl Installed for Plain {
    /// It doesn't count. What was handled and didn't reach the stack is gone.
    fn dropped(&self, lane: &Lane) -> Result<u64> {
        let handled = lane.host.link_counters(&lane.interface)?.rx_packets;
        let reached = lane.host.snmp()?.get("Ip", "InReceives");
        Ok(handled.saturating_sub(u64::try_from(reached)?))
    }
}

/// The real program.
pub(super) struct Throttle(KernelDatapath);

impl Throttle {
    pub(super) fn install(lane: &Lane, listed: &[Ipv4Addr]) -> Result<Self> {
        let capacity = Capacity {
            allow: 1024,
            block: u32::try_from(listed.len())?,
            overrides: 1024,
            sources: 1 << 18,
            bans: 1 << 16,
            flows: 1 << 20,
        };
        let mut datapath = lane.host.run(|| KernelDatapath::load(capacity, 0))??;
        datapath.set_policy(&Policy {
            interfaces: interfaces(lane.host.interface_index(&lane.interface)?),
            ..policy(&rules())
        })?;
        let entries: Vec<NewEntry> = listed
            .iter()
            .map(|address| NewEntry {
                prefix: Prefix::from(*address),
                expires_ns: 0,
                list: 0,
            })
            .collect();
        let refused = datapath.change_entries(ListKind::Block, &entries, &[]);
        if let Some((prefix, error)) = refused.into_iter().next() {
            return Err(error).with_context(|| format!("blocking {prefix}"));
        }
        let interface = lane.interface.parse()?;
        lane.host
            .run(|| datapath.attach(&interface, AttachMode::Native))??;
        Ok(Self(datapath))
    }
}

impl Installed for Throttle {
    fn dropped(&self, _lane: &Lane) -> Result<u64> {
        let counters = self.0.counters()?;
        Ok(counters.total(Reason::Blocklisted, Action::Drop).packets)
    }
}

/// Every stage is on, as in a config that uses all of them.
fn rules() -> Rules {
    let rate = Some(Rate::new(1_000, 1_000));
    Rules {
        limits: Limits {
            packets: rate,
            bytes: Some(Rate::new(10_000_000, 10_000_000)),
            tcp_new: rate,
        },
        bans: Some(Bans {
            strikes: 100,
            strike_interval_ns: 1_000_000_000,
            strike_decay_ns: 60_000_000_000,
            base_ns: 60_000_000_000,
            max_ns: 3_600_000_000_000,
            growth_shift: 1,
            level_decay_ns: 86_400_000_000_000,
        }),
        ..Rules::default()
    }
}

/// xdp-filter, attached without the dispatcher that its own tool puts before it.
pub(super) struct XdpFilter(Filter);

impl XdpFilter {
    pub(super) fn install(lane: &Lane, listed: &[Ipv4Addr]) -> Result<Self> {
        let mut filter = Filter::load(&lane.host, u32::try_from(listed.len())?)?;
        for address in listed {
            filter.deny_v4(*address)?;
        }
        attach(lane, filter.program()?).context("attaching xdp-filter")?;
        Ok(Self(filter))
    }
}

impl Installed for XdpFilter {
    fn dropped(&self, _lane: &Lane) -> Result<u64> {
        self.0.dropped()
    }
}
