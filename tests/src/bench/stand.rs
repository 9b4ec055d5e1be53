//! The programs with their tables, filled alike.

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use serde::Serialize;
use xdp_common::abi::{
    CLASS_KNOWN_FIRST, Class, FLAG_CLASSES, FLAG_COARSE_CLOCK, Limit, MAX_INTERFACES, Plain as _,
    Policy, map,
};

use super::abi::{Aim, Count, Rules};
use super::cases::{Case, Family};
use super::fill;
use super::filter::Filter;
use super::lines;
use super::plan::Size;
use crate::kernel::{Kernel, LOOPBACK, Sizes, policy};
use crate::oracle;
use xdp_user::control::ticks;
use xdp_user::datapath::{Capacity, ClassSet, Datapath as _};

pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdp-bench.bpf.o"));

// SAFETY: `repr(C)`, words only, no padding.
unsafe impl aya::Pod for Aim {}
// SAFETY: the same.
unsafe impl aya::Pod for Count {}
// SAFETY: the same.
unsafe impl aya::Pod for Rules {}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Program {
    /// Returns `XDP_DROP` and does nothing else.
    Bare,
    /// Reads Ethernet and IP, and drops.
    Parse,
    /// The same, with one read from a table as large as the real program's list.
    Line,
    /// The same, with one read from the smallest table that can hold such a list.
    Smallest,
    /// The real program.
    Throttle,
    /// The same job on LPM tries and an LRU hash.
    Lpm,
    /// The same job on hashes and an LRU hash; knows whole addresses only.
    Hash,
    /// xdp-filter of xdp-tools, where it is installed; denies addresses and does nothing more.
    XdpFilter,
}

impl Program {
    /// All, in the order of the table.
    pub(super) const ALL: [Self; 8] = [
        Self::Bare,
        Self::Parse,
        Self::Line,
        Self::Smallest,
        Self::Throttle,
        Self::Lpm,
        Self::Hash,
        Self::XdpFilter,
    ];

    /// Whether the program can do the job at all.
    fn can(self, case: Case) -> bool {
        if case == Case::Refused {
            // Nobody else has budgets.
            return matches!(self, Self::Bare | Self::Parse | Self::Throttle);
        }
        match self {
            Self::Hash => case != Case::BlockedPrefix,
            Self::XdpFilter => case == Case::BlockedHost,
            Self::Line | Self::Smallest => {
                matches!(case, Case::BlockedHost | Case::BlockedPrefix)
            }
            Self::Bare | Self::Parse | Self::Throttle | Self::Lpm => true,
        }
    }

    /// Whether it keeps lists and sources.
    pub(super) fn judges(self) -> bool {
        !matches!(self, Self::Bare | Self::Parse | Self::Line | Self::Smallest)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bench_bare",
            Self::Parse => "bench_parse",
            Self::Line => "bench_line",
            Self::Smallest => "bench_smallest",
            Self::Throttle => map::PROGRAM,
            Self::Lpm => "bench_lpm",
            Self::Hash => "bench_hash",
            Self::XdpFilter => "xdp-filter",
        }
    }
}

/// The allowlist's entries beside a blocklist of so many.
pub(super) const fn allowed(listed: u32) -> u32 {
    if listed < 100_000 { listed } else { 100_000 }
}

const BAN_SLOTS: u32 = 1 << 18;

const DRIVERS: [&str; 2] = ["bench_driver", "bench_driver_plain"];

/// Everything loaded.
pub(super) struct Stand {
    /// Owns the references and the driver.
    ebpf: Ebpf,
    /// Keep the programs in place.
    _programs: [ProgramArray<MapData>; 2],
    filter: Option<Filter>,
    aim: PerCpuArray<MapData, Aim>,
    counts: PerCpuArray<MapData, Count>,
    rules: Array<MapData, Rules>,
    pub(super) kernel: Kernel,
}

impl Stand {
    /// Loads the programs and fills their lists and bans.
    pub(super) fn new(size: Size) -> Result<Self> {
        let mut kernel = Kernel::load_with(&sizes_of_program(size))?;
        let mut ebpf = load_references(size)?;
        let mut programs: ProgramArray<MapData> = take(&mut ebpf, "PROGRAMS")?;
        let mut plain: ProgramArray<MapData> = take(&mut ebpf, "PLAIN_PROGRAMS")?;
        let mut filter = fill::filter(size)?;
        for program in Program::ALL {
            let fd = match program {
                Program::XdpFilter => {
                    if let Some(filter) = &mut filter {
                        let fd = filter.program()?.fd()?;
                        plain
                            .set(program as u32, fd, 0)
                            .context("giving the driver xdp-filter")?;
                    }
                    continue;
                }
                Program::Throttle => kernel.program()?.fd()?,
                Program::Bare
                | Program::Parse
                | Program::Line
                | Program::Smallest
                | Program::Lpm
                | Program::Hash => xdp(&ebpf, program.name())?.fd()?,
            };
            programs
                .set(program as u32, fd, 0)
                .with_context(|| format!("giving the driver the program {}", program.name()))?;
        }
        fill::program(&mut kernel, size)?;
        fill::references(&mut ebpf, size)?;
        Ok(Self {
            aim: take(&mut ebpf, "AIM")?,
            counts: take(&mut ebpf, "COUNTS")?,
            rules: take(&mut ebpf, "RULES")?,
            _programs: [programs, plain],
            filter,
            ebpf,
            kernel,
        })
    }

    /// Whether the program is there and can do the job.
    pub(super) fn can(&self, program: Program, case: Case) -> bool {
        program.can(case) && (program != Program::XdpFilter || self.filter.is_some())
    }

    /// The program to run: a tail call wants both to be `xdp.frags`, or neither.
    pub(super) fn driver(&self, program: Program) -> Result<&Xdp> {
        let plain = program == Program::XdpFilter;
        let name = if plain { DRIVERS[1] } else { DRIVERS[0] };
        xdp(&self.ebpf, name)
    }

    /// Tells the driver of each of these CPUs what to do.
    pub(super) fn aim_at(&mut self, aims: &[(usize, Aim)], program: Program) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
        let (_, any) = aims.first().context("no CPU to aim on")?;
        let mut values = vec![*any; cpus];
        for (cpu, aim) in aims {
            ensure!(*cpu < cpus, "CPU {cpu} of {cpus}");
            values[*cpu] = Aim {
                target: program as u32,
                ..*aim
            };
        }
        self.aim.set(0, PerCpuValues::try_from(values)?, 0)?;
        Ok(())
    }

    /// Puts limits in force that the case's packets stay under, or go over at once. Every stage is
    /// on: sanity checks, limits of packets, bytes and new connections, limits by prefix, bans.
    pub(super) fn limit(&mut self, case: Case) -> Result<()> {
        let over = case == Case::Over;
        let (per_second, burst) = if over { (1, 0) } else { (1_000_000, 1_000_000) };
        let rate = Some(oracle::Rate::new(per_second, burst));
        let many = Some(oracle::Rate::new(10_000_000_000, 10_000_000_000));
        let rules = oracle::Rules {
            limits: oracle::Limits {
                packets: rate,
                bytes: many,
                tcp_new: rate,
            },
            // So many strikes that a source stays limited and isn't banned.
            bans: Some(oracle::Bans {
                strikes: u32::MAX,
                strike_interval_ns: 1_000_000_000,
                strike_decay_ns: 60_000_000_000,
                base_ns: 60_000_000_000,
                max_ns: 3_600_000_000_000,
                growth_shift: 1,
                level_decay_ns: 86_400_000_000_000,
            }),
            overrides: vec![(fill::OVERRIDE.parse()?, oracle::Limits::default())],
            ..oracle::Rules::default()
        };
        self.kernel.apply(&rules)?;
        self.kernel.datapath().set_classes(&classes(case))?;
        let policy = as_controller(policy(&rules));
        self.kernel.set_policy(&Policy {
            flags: policy.flags | FLAG_CLASSES,
            interfaces: interfaces(LOOPBACK),
            ..policy
        })?;
        let rules = Rules {
            packet_ns: if over { 1_000_000_000 } else { 1_000 },
            byte_ns_fp: 6_554,
            tolerance_ns: if over { 0 } else { 1_000_000_000 },
        };
        self.rules.set(0, rules, 0)?;
        Ok(())
    }

    /// Packets that the program, or the references, have judged as the case wants, and all that
    /// they have judged.
    pub(super) fn judged(&self, program: Program, case: Case) -> Result<(u64, u64)> {
        let (reason, verdict) = case.verdict();
        if program == Program::Throttle {
            let counters = self.kernel.counters()?;
            let all = counters.iter().map(|(_, count)| count.packets).sum();
            return Ok((counters.packets(reason), all));
        }
        if program == Program::XdpFilter {
            let dropped = self.filter.as_ref().map_or(Ok(0), Filter::dropped)?;
            return Ok((dropped, dropped));
        }
        let mut all = 0;
        let mut wanted = 0;
        for index in 0..self.counts.len() {
            let per_cpu = self.counts.get(&index, 0)?;
            let packets: u64 = per_cpu.iter().map(|count| count.packets).sum();
            all += packets;
            if index == verdict as u32 {
                wanted = packets;
            }
        }
        Ok((wanted, all))
    }
}

/// A controller names the interface that frames come in on. Those of a test run come in on loopback.
pub(super) const fn interfaces(index: u32) -> [u32; MAX_INTERFACES] {
    let mut interfaces = [0; MAX_INTERFACES];
    interfaces[0] = index;
    interfaces
}

/// All packets in one class: without a budget, or with one of nothing.
fn classes(case: Case) -> ClassSet {
    let mut classes = ClassSet::default();
    if case == Case::Refused {
        classes.set_other(Class {
            budget: Limit::counts(1, 0),
            attack_budget: Limit::counts(1, 0),
            pressure_ns: 3_000_000_000,
            flags: CLASS_KNOWN_FIRST,
            ..Class::ZERO
        });
    }
    classes
}

/// With the clock that the controller would have the program read.
fn as_controller(policy: Policy) -> Policy {
    let clock = ticks::measure();
    if !clock.is_fine_for(&policy.limits, &[]) {
        return policy;
    }
    Policy {
        flags: policy.flags | FLAG_COARSE_CLOCK,
        clock_offset_ns: clock.offset_ns,
        tick_ns: u32::try_from(clock.tick_ns).unwrap_or(0),
        ..policy
    }
}

fn sizes_of_program(size: Size) -> Sizes {
    let sizes = Sizes::default().sources(size.slots).bans(BAN_SLOTS);
    Sizes {
        capacity: Capacity {
            allow: allowed(size.listed).max(16),
            block: size.listed.max(16),
            ..sizes.capacity
        },
        ..sizes
    }
}

fn load_references(size: Size) -> Result<Ebpf> {
    let blocked = size.listed.max(16);
    let allowed = allowed(size.listed).max(16);
    let mut loader = EbpfLoader::new();
    for lists in [&fill::TRIES, &fill::HASHES] {
        for family in Family::ALL {
            loader.map_max_entries(lists.blocked(family), blocked);
            loader.map_max_entries(lists.allowed(family), allowed);
        }
    }
    let own = Family::ALL.map(|family| lines::of_own_table(family, size));
    let smallest = Family::ALL.map(|family| lines::of_smallest_table(family, size));
    for (map, constant, lines) in [
        ("FLOOR", "FLOOR_LINES", &own),
        ("SMALLEST", "SMALLEST_LINES", &smallest),
    ] {
        loader.map_max_entries(map, lines[0].max(lines[1]));
        loader.override_global(constant, lines, true);
    }
    loader.map_max_entries("REF_SOURCES", size.slots);
    loader.map_max_entries("REF_BANS", BAN_SLOTS);
    let mut ebpf = loader.load(OBJECT).context("loading the bench's maps")?;
    let references = [
        Program::Bare,
        Program::Parse,
        Program::Line,
        Program::Smallest,
        Program::Lpm,
        Program::Hash,
    ];
    for name in references.map(Program::name).iter().chain(&DRIVERS) {
        let program = ebpf
            .program_mut(name)
            .with_context(|| format!("the bench's object has no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().with_context(|| format!("loading {name}"))?;
    }
    Ok(ebpf)
}

fn xdp<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    let program = ebpf
        .program(name)
        .with_context(|| format!("the bench's object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A map of the bench's object.
pub(crate) fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M> {
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the bench's object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("map {name} has another shape than the bench's"))
}
