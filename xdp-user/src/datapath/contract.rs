//! What every datapath promises, as a check that runs over any of them.
//!
//! It lives here and not among the tests because two crates run it: this one over
//! [`super::memory::MemoryDatapath`], the kernel suites over [`super::kernel::KernelDatapath`].

mod entries;
mod packet;
mod sources;

use anyhow::{Context, Result, ensure};
use xdp_common::abi::{ABI_VERSION, Fault, MAX_INTERFACES, MODE_ENFORCE, MODE_OBSERVE, Policy};
use xdp_common::reason::{Action, Reason};

use super::keys::source_to_abi;
use super::{Capacity, Datapath, DatapathError};
use crate::api::types::ListKind;
use crate::domain::{AttachMode, IfName};
use packet::{expect, frame, policy, prefix};

/// Tables that are quickly full; bans are more than one bulk read brings (4,096).
pub const CAPACITY: Capacity = Capacity {
    allow: 4,
    block: 4,
    overrides: 4,
    sources: 1024,
    bans: 5000,
    flows: 4096,
};

/// Nanoseconds, longer than any run of the check.
const HOUR: u64 = 3600 * 1_000_000_000;
/// Where packets of an interface that the policy doesn't name are counted.
const STRANGERS: usize = MAX_INTERFACES - 1;

/// A datapath that frames can be sent through, on an interface that no policy names.
pub trait Subject {
    /// The datapath, loaded with [`CAPACITY`] and never used.
    fn datapath(&mut self) -> &mut dyn Datapath;
    /// What becomes of a frame that comes in now.
    fn run(&mut self, frame: &[u8]) -> Result<Action>;
    /// Nanoseconds of the clock that it judges by.
    fn now_ns(&self) -> u64;
    /// An interface that can be attached in generic mode.
    fn interface(&self) -> Result<IfName>;
}

/// Every promise, one after the other; each leaves the lists, limits and bans empty.
pub fn contract(subject: &mut dyn Subject) -> Result<()> {
    let promises: [(&str, Promise); 10] = [
        ("it starts empty and passes", starts_empty),
        ("a policy replaces the one before", replaces_policies),
        (
            "an entry is found by just its prefix",
            entries::finds_exact_entries,
        ),
        (
            "the longest prefix decides and counts",
            entries::counts_hits,
        ),
        ("an entry ends by itself", entries::ends_entries),
        ("full tables refuse what is new", entries::refuses_when_full),
        ("limits go by the longest prefix", sources::keeps_limits),
        ("bans are kept, listed and removed", sources::keeps_bans),
        ("counters are set to zero by slot", resets_counters),
        ("interfaces are attached once", attaches),
    ];
    for (name, promise) in promises {
        promise(subject).with_context(|| format!("broken: {name}"))?;
    }
    Ok(())
}

type Promise = fn(&mut dyn Subject) -> Result<()>;

fn starts_empty(subject: &mut dyn Subject) -> Result<()> {
    let datapath = subject.datapath();
    let counters = datapath.counters()?;
    for reason in Reason::ALL {
        for action in [Action::Pass, Action::Drop] {
            let count = counters.total(*reason, action);
            ensure!(
                (count.packets, count.bytes) == (0, 0),
                "{reason:?} {count:?}"
            );
        }
    }
    for fault in Fault::ALL {
        ensure!(counters.fault(*fault) == 0, "{fault:?}");
    }
    ensure!(datapath.bans()?.is_empty() && datapath.sources()?.is_empty());
    let source = source_to_abi(&prefix("192.0.2.1")?);
    ensure!(datapath.ban(&source)?.is_none() && datapath.source(&source)?.is_none());
    expect(subject, "192.0.2.1", Reason::NoPolicy, Action::Pass)
}

fn replaces_policies(subject: &mut dyn Subject) -> Result<()> {
    subject
        .datapath()
        .put_entry(ListKind::Block, &prefix("192.0.2.1")?, 0, 1)?;
    // More often than there are slots for policies.
    for generation in 1..40 {
        let mode = if generation % 2 == 0 {
            MODE_ENFORCE
        } else {
            MODE_OBSERVE
        };
        subject.datapath().set_policy(&Policy {
            mode,
            generation,
            ..policy()
        })?;
        let action = if mode == MODE_ENFORCE {
            Action::Drop
        } else {
            Action::Pass
        };
        expect(subject, "192.0.2.1", Reason::Blocklisted, action)?;
    }
    subject.datapath().set_policy(&Policy {
        version: ABI_VERSION + 1,
        ..policy()
    })?;
    expect(subject, "192.0.2.1", Reason::PolicyMismatch, Action::Pass)?;
    subject.datapath().set_policy(&policy())?;
    expect(subject, "192.0.2.1", Reason::Blocklisted, Action::Drop)?;
    Ok(subject
        .datapath()
        .remove_entry(ListKind::Block, &prefix("192.0.2.1")?)?)
}

fn resets_counters(subject: &mut dyn Subject) -> Result<()> {
    subject.run(&frame("203.0.113.1")?)?;
    let count = |subject: &mut dyn Subject| -> Result<u64> {
        let counters = subject.datapath().counters()?;
        Ok(counters
            .get(STRANGERS, Reason::Accepted, Action::Pass)
            .packets)
    };
    let before = count(subject)?;
    ensure!(
        before > 0,
        "packets of strangers are counted in the last slot"
    );
    subject.datapath().reset_counters(STRANGERS - 1)?;
    ensure!(count(subject)? == before, "another slot's counters stay");
    subject.datapath().reset_counters(STRANGERS)?;
    let counters = subject.datapath().counters()?;
    for reason in Reason::ALL {
        for action in [Action::Pass, Action::Drop] {
            let left = counters.total(*reason, action);
            ensure!((left.packets, left.bytes) == (0, 0), "{reason:?} {left:?}");
        }
    }
    subject.run(&frame("203.0.113.1")?)?;
    ensure!(count(subject)? == 1, "counting goes on");
    Ok(())
}

fn attaches(subject: &mut dyn Subject) -> Result<()> {
    let interface = subject.interface()?;
    let datapath = subject.datapath();
    datapath
        .detach(&interface)
        .context("not attached: nothing to do")?;
    let attached = datapath.attach(&interface, AttachMode::Generic)?;
    ensure!(attached.index != 0 && !attached.native, "{attached:?}");
    let again = datapath.attach(&interface, AttachMode::Generic)?;
    ensure!(again == attached, "{again:?}");
    datapath.detach(&interface)?;
    datapath.detach(&interface).context("detaching twice")?;
    datapath
        .attach(&interface, AttachMode::Generic)
        .context("attaching again")?;
    Ok(datapath.detach(&interface)?)
}

fn is_full(result: super::Result<()>, wanted: &str) -> Result<()> {
    match result {
        Err(DatapathError::Full { table }) => {
            ensure!(
                table == wanted,
                "{table} instead of {wanted} is said to be full"
            );
            Ok(())
        }
        Err(error) => Err(error).context("not recognised as a full table"),
        Ok(()) => anyhow::bail!("{wanted} took more than it holds"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryDatapath;
    use super::*;
    use crate::control::clock::Moment;

    impl Subject for MemoryDatapath {
        fn datapath(&mut self) -> &mut dyn Datapath {
            self
        }

        fn run(&mut self, frame: &[u8]) -> Result<Action> {
            Ok(self.judge(frame, self.now_ns()).action)
        }

        fn now_ns(&self) -> u64 {
            Moment::now().boot_ns
        }

        fn interface(&self) -> Result<IfName> {
            Ok("lo".parse()?)
        }
    }

    #[test]
    fn the_datapath_in_memory_keeps_the_contract() {
        contract(&mut MemoryDatapath::new(CAPACITY)).unwrap();
    }
}
