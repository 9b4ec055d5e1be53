//! The program in the kernel against the oracle: random honest, cut and damaged frames, many of them several
//! times in a row, the same action, the same one counter, and the same state of the source behind every frame.
//!
//! `XDP_THROTTLE_SEED` repeats a run, `XDP_THROTTLE_FRAMES` sets the frames for each set of rules.

mod frames;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use frames::Population;
use ipnet::IpNet;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xdp_common::reason::{Action, Reason};
use xdp_tests::kernel::{self, Counters, Kernel, Sizes, Slot};
use xdp_tests::netns::privilege::kernel_usable;
use xdp_tests::oracle::{Banned, Bans, Judgement, Limits, Listed, Oracle, Rate, Rules};

const FRAMES_PER_RULES: usize = 50_000;
/// What no frame can bring about under a current policy and a table with room.
const NOT_HERE: [Reason; 14] = [
    Reason::NoPolicy,
    Reason::PolicyMismatch,
    Reason::SourceUntracked,
    // The oracle has no classes and no networks: `xdp-common/tests/class_model.rs`,
    // `verdict_reasons` and `class_sockets` have.
    Reason::Unsolicited,
    Reason::ClassBudget,
    Reason::FirstPacket,
    Reason::TooSoon,
    Reason::ReturningBudget,
    Reason::ClassPackets,
    Reason::ClassBytes,
    Reason::AggregatePackets,
    Reason::AggregateBytes,
    Reason::SynCookie,
    Reason::FragmentDropped,
];
const HOUR_NS: u64 = 3_600_000_000_000;
const MS: u64 = 1_000_000;

/// What frames begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Ethernet,
    /// The IP header, as on a tun.
    Bare,
}

#[test]
fn the_program_and_the_oracle_agree_on_random_frames() -> Result<()> {
    if !kernel_usable("the_program_and_the_oracle_agree_on_random_frames") {
        return Ok(());
    }
    let seed = from_environment("XDP_THROTTLE_SEED")?.unwrap_or_else(|| rand::rng().random());
    let frames =
        from_environment("XDP_THROTTLE_FRAMES")?.map_or(Ok(FRAMES_PER_RULES), usize::try_from)?;
    println!("repeat with XDP_THROTTLE_SEED={seed} XDP_THROTTLE_FRAMES={frames}");
    kernel::pin_to_cpu(0)?;
    let mut all = Counters::default();
    for (name, rules, begin) in [
        ("enforced", enforced()?, Begin::Ethernet),
        ("observed", observed()?, Begin::Ethernet),
        ("in part, by wider sources", in_part()?, Begin::Ethernet),
        ("enforced, without Ethernet", enforced()?, Begin::Bare),
    ] {
        let mut rng = StdRng::seed_from_u64(seed);
        let counters =
            compare(rules, begin, &mut rng, frames).with_context(|| format!("rules {name}"))?;
        print_counts(name, &counters);
        all.merge(&counters);
    }
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !NOT_HERE.contains(reason) && all.packets(**reason) == 0)
        .collect();
    // Few frames, asked for by hand, need not reach everything.
    ensure!(
        missing.is_empty() || frames < FRAMES_PER_RULES,
        "no frame came to {missing:?}"
    );
    Ok(())
}

/// Everything on, sources narrow, bans short enough to end and begin again within the run.
fn enforced() -> Result<Rules> {
    Ok(Rules {
        limits: Limits {
            packets: Some(Rate::new(50, 20)),
            bytes: Some(Rate::new(20_000, 9_000)),
            tcp_new: Some(Rate::new(10, 3)),
        },
        overrides: vec![
            (net("203.0.113.0/28")?, Limits::default()),
            (
                net("203.0.113.4/30")?,
                Limits {
                    bytes: Some(Rate::new(3_000_000, 2_000)),
                    ..Limits::default()
                },
            ),
            (
                net("2001:db8::/61")?,
                Limits {
                    packets: Some(Rate::new(1_000_000, 1)),
                    ..Limits::default()
                },
            ),
        ],
        bans: Some(Bans {
            strikes: 3,
            strike_interval_ns: 2 * MS,
            strike_decay_ns: 40 * MS,
            base_ns: 5 * MS,
            max_ns: 60 * MS,
            growth_shift: 1,
            level_decay_ns: 50 * MS,
        }),
        ..listed()?
    })
}

/// The same, and nothing is dropped.
fn observed() -> Result<Rules> {
    Ok(Rules {
        enforce: false,
        ..enforced()?
    })
}

/// Some reasons only counted, sanity off, networks as sources.
fn in_part() -> Result<Rules> {
    Ok(Rules {
        observed: BTreeSet::from(["blocklisted", "rate_bytes", "tcp_truncated", "not_ip"]),
        check_tcp_flags: false,
        check_land: false,
        check_martians: false,
        source_bits_v4: 29,
        source_bits_v6: 61,
        bans: None,
        overrides: vec![],
        ..enforced()?
    })
}

fn listed() -> Result<Rules> {
    let now = kernel::boot_ns()?;
    let ended = now.saturating_sub(1).max(1);
    Ok(Rules {
        allow: vec![
            Listed::forever(net("203.0.113.40/32")?),
            Listed::until(net("203.0.113.41/32")?, ended),
            Listed::until(net("2001:db8:ffff::/48")?, now + HOUR_NS),
        ],
        block: vec![
            Listed::forever(net("203.0.113.32/28")?),
            Listed::until(net("198.51.100.0/29")?, now + HOUR_NS),
            Listed::until(net("198.51.100.8/29")?, ended),
            Listed::forever(net("2001:db8:ffff::/48")?),
            Listed::forever(net("2001:db8:0:17::/64")?),
        ],
        ..Rules::default()
    })
}

/// Runs frames through both and returns what the program counted.
fn compare(rules: Rules, begin: Begin, rng: &mut StdRng, frames: usize) -> Result<Counters> {
    let mut kernel = {
        // Damaged addresses are new sources: none may be evicted.
        Kernel::load_with(&Sizes::default().sources(1 << 20).bans(1 << 16))?
    };
    let mut oracle = Oracle::new(rules);
    if begin == Begin::Bare {
        oracle = oracle.without_ethernet();
    }
    kernel.apply(oracle.rules())?;
    ban_some(&mut kernel, &mut oracle)?;

    let population = Population::new();
    let mut expected = Counters::default();
    let mut frame = Vec::new();
    for number in 0..frames {
        let whole = frames::next(rng, &population, frame);
        let (bytes, linear) = match begin {
            Begin::Ethernet => (whole.clone(), frames::first_buffer(rng, &whole)),
            Begin::Bare => (frames::bare(&whole), None),
        };
        frame = whole;
        let (slot, length) = step(&mut kernel, &mut oracle, &expected, &bytes, linear, begin)
            .with_context(|| {
                format!(
                    "frame {number}, {linear:?} in its first buffer: {}",
                    hex(&bytes)
                )
            })?;
        expected.add(slot, length);
    }
    let counted = kernel.counters()?;
    ensure!(
        counted == expected,
        "counters differ: the program {counted:?}, the oracle {expected:?}"
    );
    Ok(counted)
}

/// One source is banned for long, another was.
fn ban_some(kernel: &mut Kernel, oracle: &mut Oracle) -> Result<()> {
    let now = kernel::boot_ns()?;
    for (address, until_ns) in [("203.0.113.9", now + HOUR_NS), ("203.0.113.17", now)] {
        let source = oracle.source_of(address.parse()?);
        let ban = Banned {
            since_ns: now.saturating_sub(MS),
            until_ns,
            level: 2,
        };
        kernel.ban(source, kernel::ban_from(&ban))?;
        oracle.ban(source, ban);
    }
    Ok(())
}

/// One frame through both; the counter that both moved, and by how many bytes.
fn step(
    kernel: &mut Kernel,
    oracle: &mut Oracle,
    counted: &Counters,
    frame: &[u8],
    linear: Option<usize>,
    begin: Begin,
) -> Result<(Slot, u64)> {
    let source = oracle.source_in(frame);
    let before = kernel::boot_ns()?;
    let action = match linear {
        Some(linear) => kernel.run_split(frame, linear)?,
        None => None,
    };
    let first_buffer = linear.filter(|_| action.is_some()).unwrap_or(frame.len());
    let action = match (action, begin) {
        (Some(action), _) => action,
        (None, Begin::Ethernet) => kernel.run(frame)?,
        (None, Begin::Bare) => kernel.run_bare(frame)?,
    };
    let after = kernel::boot_ns()?;

    // A source that reached its limits tells the program's own time. Elsewhere a ban may end
    // between the two readings; one of them must explain what the program did.
    let seen = match source {
        Some(source) => kernel
            .source(source)?
            .map(|state| state.last_seen_ns)
            .filter(|seen| (before..=after).contains(seen)),
        None => None,
    };
    let times = seen.map_or([before, after], |seen| [seen, seen]);
    let mut said = Vec::new();
    for now in times {
        let judgement = oracle.judge_split(frame, first_buffer, now);
        let slot = slot_of(&judgement)?;
        let moved = kernel.count_of(slot)?.packets == counted.get(slot).packets + 1;
        if moved && (action == Action::Drop) == judgement.dropped {
            if let Some(source) = judgement.source {
                ensure!(seen.is_some(), "the program kept no time for {source}");
                same_state(kernel, oracle, source)?;
            }
            return Ok((slot, judgement.length));
        }
        said.push(judgement);
    }
    let moved = kernel.counters()?.since(counted);
    bail!("the program did {action:?} and counted {moved:?}, the oracle says {said:?}")
}

fn slot_of(judgement: &Judgement) -> Result<Slot> {
    Ok(Slot {
        interface: 15,
        reason: Reason::from_name(judgement.reason)
            .with_context(|| format!("the oracle's {}", judgement.reason))?,
        dropped: judgement.dropped,
    })
}

fn same_state(kernel: &Kernel, oracle: &Oracle, source: IpNet) -> Result<()> {
    let (theirs, ours) = (kernel.source(source)?, oracle.source(source));
    let theirs = theirs.as_ref().map(kernel::source_from);
    ensure!(
        theirs.as_ref() == ours,
        "{source}: the program keeps {theirs:?}, the oracle {ours:?}"
    );
    let theirs = kernel.ban_of(source)?.as_ref().map(kernel::banned_from);
    ensure!(
        theirs.as_ref() == oracle.ban_of(source),
        "{source}: the program's ban is {theirs:?}, the oracle's {:?}",
        oracle.ban_of(source)
    );
    Ok(())
}

fn print_counts(name: &str, counters: &Counters) {
    println!("{name}:");
    for (slot, count) in counters.iter() {
        let outcome = if slot.dropped { "dropped" } else { "passed" };
        println!(
            "  {:<26}{outcome:<9}{:>8}",
            slot.reason.name(),
            count.packets
        );
    }
}

fn from_environment(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(
            text.parse().with_context(|| format!("{name}={text}"))?,
        )),
        Err(_) => Ok(None),
    }
}

fn net(text: &str) -> Result<IpNet> {
    text.parse().with_context(|| format!("prefix {text}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
