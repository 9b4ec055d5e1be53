//! Promises about list entries.

use anyhow::{Context, Result, ensure};
use xdp_common::abi::{Limits, Plain};
use xdp_common::reason::{Action, Reason};

use super::packet::{FRAME_LEN, expect, prefix};
use super::{HOUR, Subject, is_full};
use crate::api::types::ListKind;

pub(super) fn finds_exact_entries(subject: &mut dyn Subject) -> Result<()> {
    for (kind, other) in [
        (ListKind::Allow, ListKind::Block),
        (ListKind::Block, ListKind::Allow),
    ] {
        for nested in [
            ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"],
            ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::9"],
        ] {
            let datapath = subject.datapath();
            for (list, text) in (7..).zip(nested) {
                datapath.put_entry(kind, &prefix(text)?, HOUR, list)?;
            }
            for (list, text) in (7..).zip(nested) {
                let at = prefix(text)?;
                let entry = datapath.entry(kind, &at)?.context("not found")?;
                ensure!(
                    (entry.list, entry.expires_ns) == (list, HOUR),
                    "{text}: {entry:?}"
                );
                ensure!(
                    datapath.entry(other, &at)?.is_none(),
                    "{text} is on both lists"
                );
            }
            for absent in [
                "10.1.2.0/24",
                "10.1.2.4",
                "10.0.0.0/7",
                "2001:db8:1::/64",
                "::/0",
            ] {
                ensure!(
                    datapath.entry(kind, &prefix(absent)?)?.is_none(),
                    "{absent}"
                );
            }
            let [wide, middle, host] = nested;
            datapath.remove_entry(kind, &prefix(middle)?)?;
            datapath
                .remove_entry(kind, &prefix(middle)?)
                .context("removing twice")?;
            ensure!(datapath.entry(kind, &prefix(middle)?)?.is_none());
            for text in [wide, host] {
                ensure!(
                    datapath.entry(kind, &prefix(text)?)?.is_some(),
                    "{text} went too"
                );
                datapath.remove_entry(kind, &prefix(text)?)?;
            }
        }
    }
    Ok(())
}

pub(super) fn counts_hits(subject: &mut dyn Subject) -> Result<()> {
    for (wide, host, beside) in [
        ("192.0.2.0/24", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::/32", "2001:db8::1", "2001:db8::2"),
    ] {
        subject
            .datapath()
            .put_entry(ListKind::Block, &prefix(wide)?, 0, 1)?;
        subject
            .datapath()
            .put_entry(ListKind::Block, &prefix(host)?, 0, 2)?;
        for _ in 0..3 {
            expect(subject, host, Reason::Blocklisted, Action::Drop)?;
        }
        expect(subject, beside, Reason::Blocklisted, Action::Drop)?;
        hits(subject, host, 3)?;
        hits(subject, wide, 1)?;

        let later = subject.now_ns() + HOUR;
        subject
            .datapath()
            .put_entry(ListKind::Block, &prefix(host)?, later, 9)?;
        hits(subject, host, 3).context("after a change of its end")?;
        let entry = subject.datapath().entry(ListKind::Block, &prefix(host)?)?;
        let changed = entry.map(|e| (e.expires_ns, e.list));
        ensure!(changed == Some((later, 9)), "{entry:?}");
        expect(subject, host, Reason::Blocklisted, Action::Drop)?;
        hits(subject, host, 4)?;

        subject
            .datapath()
            .put_entry(ListKind::Allow, &prefix(wide)?, 0, 3)?;
        expect(subject, host, Reason::Allowlisted, Action::Pass)?;
        hits(subject, host, 4).context("the allowlist came first")?;
        subject
            .datapath()
            .remove_entry(ListKind::Allow, &prefix(wide)?)?;

        subject
            .datapath()
            .remove_entry(ListKind::Block, &prefix(host)?)?;
        expect(subject, host, Reason::Blocklisted, Action::Drop)?;
        hits(subject, wide, 2)?;
        subject
            .datapath()
            .put_entry(ListKind::Block, &prefix(host)?, 0, 2)?;
        hits(subject, host, 0).context("a new entry starts at zero")?;
        subject
            .datapath()
            .remove_entry(ListKind::Block, &prefix(host)?)?;
        subject
            .datapath()
            .remove_entry(ListKind::Block, &prefix(wide)?)?;
        expect(subject, host, Reason::Accepted, Action::Pass)?;
    }
    Ok(())
}

pub(super) fn ends_entries(subject: &mut dyn Subject) -> Result<()> {
    let host = prefix("192.0.2.1")?;
    for kind in [ListKind::Allow, ListKind::Block] {
        subject.datapath().put_entry(kind, &host, 1, 1)?;
        expect(subject, "192.0.2.1", Reason::Accepted, Action::Pass)?;
        let later = subject.now_ns() + HOUR;
        subject.datapath().put_entry(kind, &host, later, 1)?;
        let (reason, action) = match kind {
            ListKind::Allow => (Reason::Allowlisted, Action::Pass),
            ListKind::Block => (Reason::Blocklisted, Action::Drop),
        };
        expect(subject, "192.0.2.1", reason, action)?;
        subject.datapath().remove_entry(kind, &host)?;
    }
    Ok(())
}

pub(super) fn refuses_when_full(subject: &mut dyn Subject) -> Result<()> {
    let datapath = subject.datapath();
    for (kind, table) in [(ListKind::Allow, "allow"), (ListKind::Block, "block")] {
        for family in ["192.0.2", "2001:db8:"] {
            let host = |n: u32| {
                let dot = if family.contains(':') { ":" } else { "." };
                prefix(&format!("{family}{dot}{n}"))
            };
            for n in 0..4 {
                datapath.put_entry(kind, &host(n)?, 0, 1)?;
            }
            is_full(datapath.put_entry(kind, &host(4)?, 0, 1), table)?;
            ensure!(
                datapath.entry(kind, &host(4)?)?.is_none(),
                "refused and there"
            );
            datapath
                .put_entry(kind, &host(3)?, HOUR, 2)
                .context("a change needs no room")?;
            datapath.remove_entry(kind, &host(0)?)?;
            datapath
                .put_entry(kind, &host(4)?, 0, 1)
                .context("there is room again")?;
            for n in 1..5 {
                datapath.remove_entry(kind, &host(n)?)?;
            }
        }
    }
    for n in 0..4 {
        datapath.put_limits(&prefix(&format!("192.0.2.{n}"))?, &Limits::ZERO)?;
    }
    is_full(
        datapath.put_limits(&prefix("192.0.2.4")?, &Limits::ZERO),
        "overrides",
    )?;
    for n in 0..4 {
        datapath.remove_limits(&prefix(&format!("192.0.2.{n}"))?)?;
    }
    Ok(())
}

fn hits(subject: &mut dyn Subject, at: &str, packets: u64) -> Result<()> {
    let entry = subject.datapath().entry(ListKind::Block, &prefix(at)?)?;
    let entry = entry.with_context(|| format!("{at} is not stored"))?;
    let wanted = (packets, packets * FRAME_LEN as u64);
    ensure!(
        (entry.packets, entry.bytes) == wanted,
        "{at}: {entry:?}, not {packets} hits"
    );
    Ok(())
}
