//! `cargo xtask mitigation`: floods whose sources never repeat.

use std::{convert::Infallible, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Attack a host with floods whose sources never repeat, without the throttler and with it.
///
/// Makes a protected host, its clients and an attacker in network namespaces, which are gone with
/// it. Clients use the host's services over IPv4 and IPv6 all the time, new ones come during each
/// attack, and the host itself talks to servers outside. Measured are the attack packets that reach
/// the host's network stack, failed and slow exchanges, latency and CPU time. Prints a table for
/// each attack and a scorecard at the end, a line for each target: `ok|short NAME MEASURED TARGET`.
///
/// With no attack chosen, these run: the captures of $XDP_THROTTLE_CORPUS/attack, then all built-in
/// floods, and then the captures of $XDP_THROTTLE_CORPUS/benign at their own pace, of which nothing
/// may be dropped. That takes about twenty minutes. Captures may be classic pcap or pcapng, of Ethernet
/// (tagged or not), raw IP, Linux cooked or BSD loopback; destinations and checksums are rewritten.
/// Needs root: uses sudo otherwise. docs/mitigation.md explains the method.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Attack with this capture; may be given several times.
    #[arg(long, value_name = "FILE")]
    pcap: Vec<PathBuf>,
    /// Attack with every capture (.pcap, .pcapng, .cap) of this folder.
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    /// Attack with built-in floods: syn, syn6, syn-ports, ack, rst, synack, udp-random-ports,
    /// udp-service, icmp, fragments, dns-amplification, carpet, mixed.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    attack: Vec<String>,
    /// Replay every capture of this folder, of which nothing may be dropped.
    #[arg(long, value_name = "DIR")]
    benign: Vec<PathBuf>,
    /// Seconds of each attack; those without the throttler end after ten [default: 30].
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Attack packets per second [default: 100000].
    #[arg(long, value_name = "PPS")]
    rate: Option<u64>,
    /// Leave the attacks without the throttler out.
    #[arg(long)]
    no_baseline: bool,
    /// Write everything that was measured to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when a line of the scorecard is short.
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Run)?;
    process::run(&mut build())?;
    let programs = workspace::target_dir()?.join("release");
    let mut command = process::as_root(programs.join("mitigation"))?;
    command.arg("--daemon").arg(programs.join("xdp-throttle"));
    if !process::is_root()? {
        println!("this needs root: {}", process::display(&command));
    }
    match start(&mut command, arguments)? {}
}

fn build() -> Command {
    let mut command = process::command(workspace::cargo());
    command.args(["build", "--release"]);
    command.args(["--package", "xdp-user", "--bin", "xdp-throttle"]);
    command.args(["--package", "xdp-tests", "--bin", "mitigation"]);
    command
}

/// Files are meant from where the verb was typed, so the program starts there.
fn start(command: &mut Command, arguments: &Arguments) -> Result<Infallible> {
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    hand_on(command, arguments);
    process::become_it(command)
}

fn hand_on(command: &mut Command, arguments: &Arguments) {
    for (flag, paths) in [
        ("--pcap", &arguments.pcap),
        ("--dir", &arguments.dir),
        ("--benign", &arguments.benign),
    ] {
        for path in paths {
            command.arg(flag).arg(path);
        }
    }
    for name in &arguments.attack {
        command.arg("--attack").arg(name);
    }
    for (flag, number) in [
        ("--duration", arguments.duration),
        ("--rate", arguments.rate),
    ] {
        if let Some(number) = number {
            command.arg(flag).arg(number.to_string());
        }
    }
    if arguments.no_baseline {
        command.arg("--no-baseline");
    }
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(file);
    }
    if arguments.strict {
        command.arg("--strict");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Verb {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn everything_that_is_typed_is_handed_on() {
        let typed = "verb --attack syn carpet --pcap a.pcap --dir b --benign c --duration 5 \
                     --rate 1000 --no-baseline --json d --strict";
        let verb = Verb::try_parse_from(typed.split_whitespace()).unwrap();
        let mut command = Command::new("mitigation");
        hand_on(&mut command, &verb.arguments);
        assert_eq!(
            process::display(&command),
            "mitigation --pcap a.pcap --dir b --benign c --attack syn --attack carpet \
             --duration 5 --rate 1000 --no-baseline --json d --strict"
        );
    }
}
