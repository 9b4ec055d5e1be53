//! A flood of millions of sources, each of which sends once, past sources that are known.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use ipnet::IpNet;
use xdp_common::abi::{CLASS_KNOWN_FIRST, Class, FLAG_CLASSES, Limit, Plain as _, Policy, Source};
use xdp_common::reason::{Action, Reason};
use xdp_user::datapath::{ClassSet, Datapath as _, Memory};

use super::cases::{Case, Family, Scenario};
use super::plan::Size;
use super::stand::{Program, Stand};
use crate::kernel::{pin_to_cpu, policy};
use crate::oracle::Rules;
use crate::packet::Packet;
use crate::wait::wait_until;

const SIZE: Size = Size {
    listed: 0,
    slots: 1 << 13,
};
/// Known sources, and how long they may take to earn it.
const KNOWN: u8 = 200;
const EARNED_WITHIN: Duration = Duration::from_secs(30);
/// Packets of one call.
const CALL: u32 = 1_000_000;

/// The state before and after.
#[derive(Debug)]
pub struct Strangers {
    /// What was known of each known source.
    pub before: Vec<Source>,
    /// What is known of it behind the flood.
    pub after: Vec<Source>,
    /// Memory of the tables.
    pub memory: [Memory; 2],
    /// Packets of the flood that were refused for the class's budget.
    pub refused: u64,
    /// Packets of the flood that passed.
    pub passed: u64,
    /// Packets of known sources that passed in the middle of it, one each.
    pub known_passed: usize,
}

/// Floods the program from so many sources.
///
/// # Errors
/// When the program can't be loaded or run.
pub fn strangers(sources: u64) -> Result<Strangers> {
    let mut stand = Stand::new(SIZE)?;
    let known: Vec<Vec<u8>> = (0..KNOWN).map(|n| packet(n).build()).collect();
    put_in_force(&mut stand, Limit::OFF)?;
    become_known(&mut stand, &known)?;
    put_in_force(&mut stand, Limit::counts(100, 1000))?;
    let state = |stand: &Stand| -> Result<Vec<Source>> {
        let sources = (0..KNOWN).map(|n| stand.kernel.source(address(n)?));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        sources
            .into_iter()
            .map(|s| s.context("a known source is gone"))
            .collect()
    };
    let before = state(&stand)?;
    let start = (stand.kernel.counters()?, stand.kernel.datapath().memory());
    flood(&mut stand, sources)?;
    let counters = stand.kernel.counters()?.since(&start.0);
    let memory = [start.1, stand.kernel.datapath().memory()];
    let after = state(&stand)?;
    let passes = known.iter().map(|frame| stand.kernel.run(frame));
    let passes = passes.collect::<Result<Vec<Action>>>()?;
    Ok(Strangers {
        before,
        after,
        memory,
        refused: counters.packets(Reason::ClassBudget),
        passed: counters.packets(Reason::Accepted),
        known_passed: passes.iter().filter(|a| **a == Action::Pass).count(),
    })
}

/// One class, whose newcomers have this budget.
fn put_in_force(stand: &mut Stand, budget: Limit) -> Result<()> {
    let mut classes = ClassSet::default();
    classes.set_other(Class {
        budget,
        attack_budget: budget,
        pressure_ns: 3_000_000_000,
        flags: CLASS_KNOWN_FIRST,
        ..Class::ZERO
    });
    stand.kernel.datapath().set_classes(&classes)?;
    let policy = policy(&Rules::default());
    stand.kernel.set_policy(&Policy {
        flags: policy.flags | FLAG_CLASSES,
        ..policy
    })
}

/// Sends from every source until all of them have behaved for long enough.
fn become_known(stand: &mut Stand, frames: &[Vec<u8>]) -> Result<()> {
    let mut failed = Ok(());
    wait_until("the sources to be known", EARNED_WITHIN, || {
        failed = frames
            .iter()
            .try_for_each(|frame| stand.kernel.run(frame).map(drop));
        // Ten looks: the controller counts at every tenth.
        let datapath = stand.kernel.datapath();
        let tended = (0..10).try_for_each(|_| datapath.tend());
        failed.is_err() || tended.is_err() || datapath.protected_sources() == u64::from(KNOWN)
    })?;
    failed
}

/// One packet from each of so many sources.
fn flood(stand: &mut Stand, sources: u64) -> Result<()> {
    let scenario = Scenario {
        threads: 1,
        family: Family::Ipv4,
        case: Case::Refused,
        listed: 0,
        sources: 0,
    };
    pin_to_cpu(0)?;
    let frame = Packet::v4("192.0.2.1", "198.51.100.1")
        .udp(4000, 53)
        .build();
    for position in (0..sources).step_by(CALL as usize) {
        let aim = *scenario.aims(position, false).first().context("no aim")?;
        stand.aim_at(&[(0, aim)], Program::Throttle)?;
        let result = stand.driver(Program::Throttle)?.test_run(TestRunOptions {
            data_in: Some(&frame),
            repeat: CALL,
            ..TestRunOptions::new()
        })?;
        ensure!(
            [1, 2].contains(&result.return_value),
            "XDP action {}",
            result.return_value
        );
    }
    Ok(())
}

fn packet(n: u8) -> Packet {
    Packet::v4(&*format!("203.0.113.{n}"), "198.51.100.1").udp(4000, 53)
}

fn address(n: u8) -> Result<IpNet> {
    Ok(format!("203.0.113.{n}/32").parse()?)
}
