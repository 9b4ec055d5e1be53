//! Receivers that are XDP programs, attached in native mode.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use xdp_common::reason::{Action, Reason};
use xdp_user::api::types::ListKind;
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Capacity, Datapath};
use xdp_user::domain::{AttachMode, Prefix};

use super::super::super::stand::{OBJECT, take};
use super::super::lane::Lane;
use super::Installed;
use crate::kernel::policy;
use crate::oracle::{Bans, Limits, Rate, Rules};

/// Attaches one program of the bench's own object.
pub(super) fn attach_own(lane: &Lane, name: &str) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new()
        .load(OBJECT)
        .context("loading the bench's maps")?;
    attach(lane, &mut ebpf, name)?;
    Ok(ebpf)
}

fn attach(lane: &Lane, ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?
        .try_into()?;
    program.load().with_context(|| format!("loading {name}"))?;
    lane.host
        .run(|| program.attach(&lane.interface, XdpMode::Driver))?
        .with_context(|| format!("attaching {name}"))?;
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
        };
        let mut datapath = lane.host.run(|| KernelDatapath::load(capacity, 0))??;
        datapath.set_policy(&policy(&rules()))?;
        for address in listed {
            datapath.put_entry(ListKind::Block, &Prefix::from(*address), 0, 0)?;
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

/// xdp-tools' filter, `xdp-filter load --policy allow --features ipv4,ipv6`: its own object, with
/// room for more addresses than the 10,000 that it has by default.
pub(super) struct XdpFilter {
    _ebpf: Ebpf,
    counts: PerCpuArray<MapData, FilterCount>,
}

const FILTER_OBJECT: &str = "xdpfilt_alw_ip.o";
const FILTER_PROGRAM: &str = "xdpfilt_alw_ip";
/// `MAP_FLAG_SRC` (xdp-filter/common_kern_user.h): the address is denied as a source.
const FILTER_SOURCE: u64 = 1;
/// `enum xdp_action`.
const DROP: u32 = 1;

/// `struct datarec` (xdp-tools, headers/xdp/xdp_stats_kern_user.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct FilterCount {
    packets: u64,
    bytes: u64,
}

// SAFETY: `repr(C)`, words only, no padding.
unsafe impl aya::Pod for FilterCount {}

impl XdpFilter {
    pub(super) fn install(lane: &Lane, listed: &[Ipv4Addr]) -> Result<Self> {
        let path = filter_object().with_context(|| {
            format!("{FILTER_OBJECT} is not installed (Debian's package: xdp-tools)")
        })?;
        let object = std::fs::read(&path)?;
        let entries = u32::try_from(listed.len())?;
        // Its maps are pinned by name; here in the lane's own file system, gone with it.
        let mut ebpf = lane
            .host
            .run(|| {
                EbpfLoader::new()
                    .default_map_pin_directory("/sys/fs/bpf")
                    .map_max_entries("filter_ipv4", entries)
                    .load(&object)
            })?
            .with_context(|| format!("loading {}", path.display()))?;
        let mut filter: PerCpuHashMap<MapData, [u8; 4], u64> = take(&mut ebpf, "filter_ipv4")?;
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| {
            anyhow::anyhow!("asking for the number of CPUs in {file}: {error}")
        })?;
        for address in listed {
            let flags = PerCpuValues::try_from(vec![FILTER_SOURCE; cpus])?;
            filter.insert(address.octets(), flags, 0)?;
        }
        let counts: PerCpuArray<MapData, FilterCount> = take(&mut ebpf, "xdp_stats_map")?;
        ensure!(counts.len() > DROP, "xdp-filter counts otherwise");
        attach(lane, &mut ebpf, FILTER_PROGRAM)?;
        Ok(Self {
            _ebpf: ebpf,
            counts,
        })
    }
}

impl Installed for XdpFilter {
    fn dropped(&self, _lane: &Lane) -> Result<u64> {
        let per_cpu = self.counts.get(&DROP, 0)?;
        Ok(per_cpu.iter().map(|count| count.packets).sum())
    }
}

/// Distributions put it into `bpf` below one of the library directories.
fn filter_object() -> Option<PathBuf> {
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten();
    ["/usr/lib".into(), "/usr/lib64".into()]
        .into_iter()
        .chain(below.flatten().map(|entry| entry.path()))
        .map(|directory| directory.join("bpf").join(FILTER_OBJECT))
        .find(|path| path.is_file())
}
