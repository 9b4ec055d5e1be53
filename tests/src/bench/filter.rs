//! xdp-filter of xdp-tools: its own object, with room for more addresses than the 10,000 of each
//! family that it has by default.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use super::stand::take;
use crate::netns::Namespace;

/// What `xdp-filter load --policy allow --features ipv4,ipv6` attaches.
const OBJECT: &str = "xdpfilt_alw_ip.o";
const PROGRAM: &str = "xdpfilt_alw_ip";
/// `MAP_FLAG_SRC` (xdp-filter/common_kern_user.h): the address is denied as a source.
const SOURCE: u64 = 1;
/// `enum xdp_action`.
const DROP: u32 = 1;

/// `struct datarec` (xdp-tools, headers/xdp/xdp_stats_kern_user.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct Count {
    packets: u64,
    bytes: u64,
}

// SAFETY: `repr(C)`, words only, no padding.
unsafe impl aya::Pod for Count {}

/// The loaded program with its lists.
pub(super) struct Filter {
    ebpf: Ebpf,
    counts: PerCpuArray<MapData, Count>,
    v4: PerCpuHashMap<MapData, [u8; 4], u64>,
    v6: PerCpuHashMap<MapData, [u8; 16], u64>,
    /// One value for each CPU.
    cpus: usize,
}

impl Filter {
    /// Loads it, with room for so many addresses of each family. Its maps are pinned by name; in
    /// this namespace's own file system, gone with it.
    pub(super) fn load(namespace: &Namespace, entries: u32) -> Result<Self> {
        let path = path()
            .with_context(|| format!("{OBJECT} is not installed (Debian's package: xdp-tools)"))?;
        let object = std::fs::read(&path)?;
        let mut ebpf = namespace
            .run(|| {
                EbpfLoader::new()
                    .default_map_pin_directory("/sys/fs/bpf")
                    .map_max_entries("filter_ipv4", entries)
                    .map_max_entries("filter_ipv6", entries)
                    .load(&object)
            })?
            .with_context(|| format!("loading {}", path.display()))?;
        let counts: PerCpuArray<MapData, Count> = take(&mut ebpf, "xdp_stats_map")?;
        ensure!(counts.len() > DROP, "xdp-filter counts otherwise");
        let mut filter = Self {
            v4: take(&mut ebpf, "filter_ipv4")?,
            v6: take(&mut ebpf, "filter_ipv6")?,
            cpus: aya::util::nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?,
            ebpf,
            counts,
        };
        let program = filter.program()?;
        program
            .load()
            .with_context(|| format!("loading {PROGRAM}"))?;
        Ok(filter)
    }

    /// The program, to attach or to call.
    pub(super) fn program(&mut self) -> Result<&mut Xdp> {
        let program = self
            .ebpf
            .program_mut(PROGRAM)
            .with_context(|| format!("the object has no program {PROGRAM}"))?;
        Ok(program.try_into()?)
    }

    pub(super) fn deny_v4(&mut self, address: Ipv4Addr) -> Result<()> {
        let flags = PerCpuValues::try_from(vec![SOURCE; self.cpus])?;
        Ok(self.v4.insert(address.octets(), flags, 0)?)
    }

    pub(super) fn deny_v6(&mut self, address: Ipv6Addr) -> Result<()> {
        let flags = PerCpuValues::try_from(vec![SOURCE; self.cpus])?;
        Ok(self.v6.insert(address.octets(), flags, 0)?)
    }

    /// Packets that it has dropped.
    pub(super) fn dropped(&self) -> Result<u64> {
        let per_cpu = self.counts.get(&DROP, 0)?;
        Ok(per_cpu.iter().map(|count| count.packets).sum())
    }
}

/// Distributions put it into `bpf` below one of the library directories.
fn path() -> Option<PathBuf> {
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten();
    ["/usr/lib".into(), "/usr/lib64".into()]
        .into_iter()
        .chain(below.flatten().map(|entry| entry.path()))
        .map(|directory| directory.join("bpf").join(OBJECT))
        .find(|path| path.is_file())
}
