//! Promises about limits and bans.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use xdp_common::abi::{Ban, FLAG_OVERRIDES, Limit, Limits, Plain, Policy};
use xdp_common::reason::{Action, Reason};

use super::packet::{FRAME_LEN, expect, frame, policy, prefix};
use super::{CAPACITY, HOUR, Subject, is_full};
use crate::datapath::keys::{decode_source, source_to_abi};
use crate::domain::Prefix;

/// Nanoseconds that a packet costs under the limits here: none comes free meanwhile.
const SLOW: u64 = 100 * 1_000_000_000;

pub(super) fn keeps_limits(subject: &mut dyn Subject) -> Result<()> {
    subject.datapath().set_policy(&Policy {
        flags: FLAG_OVERRIDES,
        ..policy()
    })?;
    let at_once = |packets: u64| Limits {
        packets: Limit {
            cost_fp: SLOW << Limit::FP_BITS,
            tolerance_ns: SLOW * packets,
        },
        ..Limits::ZERO
    };
    let wide = prefix("198.51.100.0/24")?;
    let narrow = prefix("198.51.100.128/25")?;
    subject.datapath().put_limits(&wide, &at_once(100))?;
    subject.datapath().put_limits(&narrow, &at_once(200))?;
    ensure!(passing(subject, "198.51.100.1")? == 100, "the wide one");
    ensure!(passing(subject, "198.51.100.129")? == 200, "the narrow one");
    subject.datapath().put_limits(&narrow, &at_once(150))?;
    ensure!(passing(subject, "198.51.100.130")? == 150, "changed");
    subject.datapath().remove_limits(&narrow)?;
    subject
        .datapath()
        .remove_limits(&narrow)
        .context("removing twice")?;
    ensure!(
        passing(subject, "198.51.100.131")? == 100,
        "the wide one again"
    );
    subject.datapath().remove_limits(&wide)?;
    for _ in 0..300 {
        expect(subject, "198.51.100.132", Reason::Accepted, Action::Pass)?;
    }

    let flooder = prefix("198.51.100.1")?;
    let datapath = subject.datapath();
    let known = datapath
        .source(&source_to_abi(&flooder))?
        .context("not known")?;
    ensure!(
        known.packets == 101 && known.dropped_packets == 1,
        "{known:?}"
    );
    ensure!(known.bytes == 101 * FRAME_LEN as u64, "{known:?}");
    let listed = datapath.sources()?;
    let found = listed
        .iter()
        .find(|(key, _)| decode_source(key) == Some(flooder));
    ensure!(
        found.map(|(_, source)| *source) == Some(known),
        "{listed:?}"
    );
    Ok(subject.datapath().set_policy(&policy())?)
}

pub(super) fn keeps_bans(subject: &mut dyn Subject) -> Result<()> {
    let now = subject.now_ns();
    let ban = Ban {
        until_ns: now + HOUR,
        since_ns: now,
        packets: 5,
        bytes: 500,
        level: 3,
        reason: 37,
    };
    let source = |n: u32| Prefix::from(std::net::Ipv4Addr::from(0x0a00_0000 + n));
    let datapath = subject.datapath();
    for n in 0..CAPACITY.bans {
        datapath.put_ban(&source_to_abi(&source(n)), &ban)?;
    }
    is_full(
        datapath.put_ban(&source_to_abi(&source(CAPACITY.bans)), &ban),
        "bans",
    )?;
    let listed: BTreeSet<Prefix> = datapath
        .bans()?
        .iter()
        .filter_map(|(key, _)| decode_source(key))
        .collect();
    let expected: BTreeSet<Prefix> = (0..CAPACITY.bans).map(source).collect();
    ensure!(
        listed == expected,
        "{} of {} bans listed",
        listed.len(),
        expected.len()
    );
    let over = Ban { until_ns: 1, ..ban };
    datapath
        .put_ban(&source_to_abi(&source(1)), &over)
        .context("a change needs no room")?;
    ensure!(datapath.ban(&source_to_abi(&source(1)))? == Some(over));

    expect(subject, "10.0.0.0", Reason::Banned, Action::Drop)?;
    expect(subject, "10.0.0.1", Reason::Accepted, Action::Pass)?;
    let datapath = subject.datapath();
    let hit = datapath.ban(&source_to_abi(&source(0)))?.context("gone")?;
    ensure!(
        (hit.packets, hit.bytes) == (6, 500 + FRAME_LEN as u64),
        "{hit:?}"
    );
    ensure!(hit.level == 3 && hit.reason == 37, "{hit:?}");
    for n in 0..CAPACITY.bans {
        ensure!(
            datapath.remove_ban(&source_to_abi(&source(n)))?,
            "{n} was there"
        );
    }
    ensure!(
        !datapath.remove_ban(&source_to_abi(&source(0)))?,
        "removed twice"
    );
    ensure!(datapath.bans()?.is_empty());
    expect(subject, "10.0.0.0", Reason::Accepted, Action::Pass)
}

/// Packets of a source that pass at once.
fn passing(subject: &mut dyn Subject, source: &str) -> Result<u64> {
    let frame = frame(source)?;
    let mut passed = 0;
    while subject.run(&frame)? == Action::Pass {
        passed += 1;
        ensure!(passed < 1000, "{source} is under no limit");
    }
    Ok(passed)
}
