//! The datapath in the kernel keeps the contract that the one in memory keeps, and says what an
//! interface lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{MapInfo, MapType};
use aya::programs::{ProgramInfo, TestRun, TestRunOptions};
use xdp_common::abi::map;
use xdp_common::reason::Action;
use xdp_tests::kernel::boot_ns;
use xdp_tests::netns::Namespace;
use xdp_tests::require_kernel;
use xdp_user::datapath::contract::{CAPACITY, Subject, contract};
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Datapath, DatapathError};
use xdp_user::domain::{AttachMode, IfName};
use xdp_user::host::framing::Framing;

struct Kernel(KernelDatapath);

impl Kernel {
    fn load() -> Result<Self> {
        Ok(Self(KernelDatapath::load(CAPACITY, 0)?))
    }
}

impl Subject for Kernel {
    fn datapath(&mut self) -> &mut dyn Datapath {
        &mut self.0
    }

    fn run(&mut self, frame: &[u8]) -> Result<Action> {
        let result = self.0.program()?.test_run(TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::new()
        })?;
        // Of `enum xdp_action` (include/uapi/linux/bpf.h) the program knows three.
        match result.return_value {
            1 => Ok(Action::Drop),
            2 => Ok(Action::Pass),
            3 => Ok(Action::Answer),
            other => anyhow::bail!("the program returned XDP action {other}"),
        }
    }

    fn now_ns(&self) -> u64 {
        boot_ns().unwrap_or(0)
    }

    fn interface(&self) -> Result<IfName> {
        Ok("lo".parse()?)
    }
}

#[test]
fn the_datapath_in_the_kernel_keeps_the_contract() {
    require_kernel!("the_datapath_in_the_kernel_keeps_the_contract");
    let namespace = Namespace::new("contract").unwrap();
    namespace
        .run(|| contract(&mut Kernel::load()?))
        .unwrap()
        .unwrap();
}

#[test]
fn what_keeps_an_interface_from_being_attached_is_told_apart() {
    require_kernel!("what_keeps_an_interface_from_being_attached_is_told_apart");
    let namespace = Namespace::new("attach").unwrap();
    let attached = namespace.run(|| -> Result<()> {
        let (mut ours, mut other) = (Kernel::load()?.0, Kernel::load()?.0);
        let lo: IfName = "lo".parse()?;
        let missing = ours.attach(&"absent0".parse()?, AttachMode::Auto);
        assert!(
            matches!(missing, Err(DatapathError::NoInterface { .. })),
            "{missing:?}"
        );
        let native = ours.attach(&lo, AttachMode::Native);
        assert!(
            matches!(native, Err(DatapathError::NoNative { .. })),
            "{native:?}"
        );
        let auto = ours.attach(&lo, AttachMode::Auto)?;
        assert!(!auto.native, "loopback has no native XDP");
        for mode in [AttachMode::Auto, AttachMode::Generic] {
            let occupied = other.attach(&lo, mode);
            assert!(
                matches!(occupied, Err(DatapathError::Occupied { .. })),
                "{occupied:?}"
            );
        }
        drop(ours);
        other.attach(&lo, AttachMode::Generic)?;
        Ok(())
    });
    attached.unwrap().unwrap();
}

#[test]
fn the_verifier_says_how_far_it_went() {
    require_kernel!("the_verifier_says_how_far_it_went");
    let kernel = Kernel::load().unwrap();
    // `bpf_prog_info.verified_insns` is there since Linux 5.16.
    let instructions = kernel.0.verified_instructions().unwrap();
    println!("{instructions} instructions verified");
    assert!((100..1_000_000).contains(&instructions), "{instructions}");
}

/// Bytes that the kernel adds to a map: its own record, pages of a ring buffer, rounding to a page.
const ADDED_BYTES: u64 = 16 * 1024;

#[test]
fn every_map_takes_the_memory_that_is_said_of_it() -> Result<()> {
    require_kernel!("every_map_takes_the_memory_that_is_said_of_it");
    let mut kernel = Kernel::load()?.0;
    let memory = kernel.memory();
    let of_egress = maps_of(kernel.egress_program(Framing::Ethernet)?.info()?)?;
    let tables = [(map::SOURCES, memory.sources), (map::BANS, memory.bans)];
    let fixed = memory.fixed.iter().map(|map| (map.name, map.bytes));
    let mut said: BTreeMap<&str, u64> = tables.into_iter().chain(fixed).collect();
    let mut seen = BTreeSet::new();
    for info in maps(&kernel)?.into_iter().chain(of_egress) {
        // What both programs look at is one map.
        if !seen.insert(info.id()) {
            continue;
        }
        let name = info.name_as_str().context("a map's name")?;
        let Some(said) = said.remove(name) else {
            // Empty until there are entries, and the program's constants.
            let expected = [map::LIMITS_V4, map::LIMITS_V6].contains(&name);
            assert!(expected || name.starts_with('.'), "{name} isn't counted");
            continue;
        };
        if let Some(bytes) = by_shape(&info)? {
            assert_eq!(said, bytes, "{name}");
        }
        let Some(taken) = charged(&info)? else {
            continue;
        };
        println!("{name}: {said} bytes, {taken} by the kernel");
        assert!((said..=said + ADDED_BYTES).contains(&taken), "{name}");
    }
    assert!(said.is_empty(), "no such maps: {said:?}");
    Ok(())
}

/// The maps of the loaded program.
fn maps(kernel: &KernelDatapath) -> Result<Vec<MapInfo>> {
    let program = kernel.loaded_program().context("no program")?;
    maps_of(program.info()?)
}

fn maps_of(program: ProgramInfo) -> Result<Vec<MapInfo>> {
    let ids = program.map_ids()?.context("no list of maps")?;
    let infos = ids.into_iter().map(|id| Ok(MapInfo::from_id(id)?));
    infos.collect()
}

/// Bytes of a map's values by what the kernel knows of its shape; nothing for a hash.
fn by_shape(info: &MapInfo) -> Result<Option<u64>> {
    let entries = u64::from(info.max_entries());
    let value = u64::from(info.value_size()).next_multiple_of(8);
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)? as u64;
    let shapes = [
        (MapType::Array, entries * value),
        // With a pointer to each entry.
        (MapType::PerCpuArray, entries * (value * cpus + 8)),
        (MapType::RingBuf, entries),
    ];
    let shape = info.map_type()?;
    let found = shapes.into_iter().find(|(of, _)| *of == shape);
    Ok(found.map(|(_, bytes)| bytes))
}

/// Bytes that the kernel says a map takes; nothing before Linux 6.4, which only guessed.
fn charged(info: &MapInfo) -> Result<Option<u64>> {
    let release = nix::sys::utsname::uname()?;
    let release = release.release().to_string_lossy();
    let mut numbers = release.split('.').map_while(|part| part.parse().ok());
    if (numbers.next(), numbers.next()) < (Some(6_u32), Some(4_u32)) {
        return Ok(None);
    }
    let map = info.fd()?;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd()))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(Some(bytes.context("no memlock")?.trim().parse()?))
}
