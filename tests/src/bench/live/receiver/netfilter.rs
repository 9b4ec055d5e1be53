//! Receivers in the network stack: nftables and iptables.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;

use super::super::lane::Lane;
use super::Installed;
use super::native::attach_own;
use crate::netns::Namespace;

/// veth hands live frames to the stack only with a program attached: one that lets all pass.
const PASS: &str = "bench_pass";

/// A rule at the ingress hook, the earliest that nftables has.
pub(super) struct Nft {
    _pass: Ebpf,
}

impl Nft {
    /// Drops the sources of a set.
    pub(super) fn with_set(lane: &Lane, listed: &[Ipv4Addr]) -> Result<Self> {
        let set = format!(
            "type ipv4_addr; size {}; elements = {{ {} }};",
            listed.len(),
            joined(listed, ", ")
        );
        Self::install(lane, &set, "ip saddr @sources counter drop")
    }

    /// Drops what comes from a source beyond one packet a day.
    pub(super) fn with_limit(lane: &Lane, sources: usize) -> Result<Self> {
        let set = format!("type ipv4_addr; size {}; flags dynamic;", 2 * sources);
        let limit =
            "update @sources { ip saddr limit rate over 1/day burst 1 packets } counter drop";
        Self::install(lane, &set, limit)
    }

    fn install(lane: &Lane, set: &str, rule: &str) -> Result<Self> {
        let ruleset = format!(
            "table netdev bench {{\n\
             set sources {{ {set} }}\n\
             chain ingress {{\n\
             type filter hook ingress device {} priority 0; policy accept;\n\
             {rule}\n\
             }}\n\
             }}\n",
            lane.interface
        );
        let pass = attach_own(lane, PASS)?;
        feed(&lane.host, "nft", &["-f", "-"], &ruleset)?;
        Ok(Self { _pass: pass })
    }
}

impl Installed for Nft {
    fn dropped(&self, lane: &Lane) -> Result<u64> {
        let text = lane.host.output(
            "nft",
            &["-j", "list", "chain", "netdev", "bench", "ingress"],
        )?;
        nft_count(&text).with_context(|| format!("nft tells no count: {text}"))
    }
}

/// Packets of the one rule with a counter.
fn nft_count(text: &str) -> Option<u64> {
    let parsed: serde_json::Value = serde_json::from_str(text).ok()?;
    let objects = parsed["nftables"].as_array()?.iter();
    objects
        .filter_map(|object| object["rule"]["expr"].as_array())
        .flatten()
        .find_map(|expression| expression["counter"]["packets"].as_u64())
}

/// A rule in the raw table, the earliest that iptables has.
pub(super) struct Ipset {
    _pass: Ebpf,
    iptables: &'static str,
}

/// The kernel's own iptables first, which is quicker than that on top of nftables.
const IPTABLES: [&str; 2] = ["iptables-legacy", "iptables"];

impl Ipset {
    pub(super) fn install(lane: &Lane, listed: &[Ipv4Addr]) -> Result<Self> {
        let entries = listed.len();
        let mut commands = format!("create sources hash:ip family inet maxelem {entries}\n");
        for address in listed {
            writeln!(commands, "add sources {address}")?;
        }
        feed(&lane.host, "ipset", &["restore"], &commands)?;
        let rule = [
            "-t",
            "raw",
            "-A",
            "PREROUTING",
            "-i",
            &lane.interface,
            "-m",
            "set",
            "--match-set",
            "sources",
            "src",
            "-j",
            "DROP",
        ];
        let mut added = Err(anyhow::anyhow!("there is no iptables"));
        for iptables in IPTABLES {
            added = lane.host.output(iptables, &rule).map(|_| iptables);
            if added.is_ok() {
                break;
            }
        }
        let iptables = added?;
        let pass = attach_own(lane, PASS)?;
        Ok(Self {
            _pass: pass,
            iptables,
        })
    }
}

impl Installed for Ipset {
    fn dropped(&self, lane: &Lane) -> Result<u64> {
        let list = ["-t", "raw", "-L", "PREROUTING", "-n", "-v", "-x"];
        let text = lane.host.output(self.iptables, &list)?;
        iptables_count(&text).with_context(|| format!("iptables tells no count: {text}"))
    }
}

/// Packets of the one rule that drops.
fn iptables_count(text: &str) -> Option<u64> {
    let rule = text.lines().find(|line| line.contains(" DROP "))?;
    rule.split_whitespace().next()?.parse().ok()
}

/// Runs a program with this as its standard input.
fn feed(namespace: &Namespace, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = namespace
        .command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // A child that doesn't read to the end says why itself.
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(input.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} failed, {}: {}",
        output.status,
        stderr.trim()
    );
    Ok(written?)
}

fn joined(addresses: &[Ipv4Addr], separator: &str) -> String {
    let texts: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
    texts.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_nftables_is_found() {
        let text = r#"{"nftables": [{"metainfo": {}}, {"chain": {"name": "ingress"}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 17, "bytes": 9}}]}}]}"#;
        assert_eq!(nft_count(text), Some(17));
        assert_eq!(nft_count("{}"), None);
    }

    #[test]
    fn the_count_of_iptables_is_found() {
        let text = "Chain PREROUTING (policy ACCEPT 3 packets, 9 bytes)\n    pkts      bytes target\n      \
                    42     2520 DROP       0    --  b0 *  0.0.0.0/0  0.0.0.0/0  match-set sources src\n";
        assert_eq!(iptables_count(text), Some(42));
        assert_eq!(iptables_count("Chain PREROUTING (policy DROP)"), None);
    }
}
