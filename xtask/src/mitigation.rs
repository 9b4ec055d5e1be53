//! `cargo xtask mitigation`: floods whose sources never repeat.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    programs::{self, DAEMON, MITIGATION, switches, values},
    setup::{self, Purpose},
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
/// floods, honest rushes, and then the captures of $XDP_THROTTLE_CORPUS/benign at their own pace, of
/// which nothing may be dropped. That takes about half an hour. Captures may be classic pcap or pcapng, of Ethernet
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
    /// udp-service, udp-twice, udp-persistent, dns-service, icmp, fragments,
    /// dns-amplification, dns-fragments, carpet, mixed.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    attack: Vec<String>,
    /// What is attacked: plain, forwarding (services are in a container behind the host, with
    /// addresses translated), proxying (the same, with listeners on the host too) [default: plain].
    #[arg(long, value_name = "KIND")]
    host: Option<String>,
    /// Let honest crowds come, without an attack: dns-clients, players, udp-sessions,
    /// tcp-connections.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    rush: Vec<String>,
    /// Start the daemon when the crowd is there already.
    #[arg(long)]
    late: bool,
    /// Let a fifth of each crowd come together with this built-in flood.
    #[arg(long, value_name = "NAME")]
    under: Option<String>,
    /// Replay every capture of this folder, of which nothing may be dropped.
    #[arg(long, value_name = "DIR")]
    benign: Vec<PathBuf>,
    /// Seconds of each attack and rush; attacks without the throttler end after ten [default: 30].
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
    programs::build(&[DAEMON, MITIGATION])?;
    let daemon = DAEMON.path()?;
    match MITIGATION.start(|command| {
        command.arg("--daemon").arg(daemon);
        hand_on(command, arguments);
    })? {}
}

fn hand_on(command: &mut Command, arguments: &Arguments) {
    for (flag, paths) in [
        ("--pcap", &arguments.pcap),
        ("--dir", &arguments.dir),
        ("--benign", &arguments.benign),
    ] {
        values(command, flag, paths);
    }
    values(command, "--host", &arguments.host);
    values(command, "--attack", &arguments.attack);
    values(command, "--rush", &arguments.rush);
    for (flag, number) in [
        ("--duration", arguments.duration),
        ("--rate", arguments.rate),
    ] {
        values(command, flag, number.map(|number| number.to_string()));
    }
    values(command, "--under", &arguments.under);
    let switched = [
        ("--late", arguments.late),
        ("--no-baseline", arguments.no_baseline),
    ];
    switches(command, switched);
    values(command, "--json", &arguments.json);
    switches(command, [("--strict", arguments.strict)]);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::process;

    #[derive(Parser)]
    struct Verb {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn everything_that_is_typed_is_handed_on() {
        let typed = "verb --host proxying --attack syn carpet --rush players --late --under syn --pcap a.pcap --dir b --benign c --duration 5 \
                     --rate 1000 --no-baseline --json d --strict";
        let verb = Verb::try_parse_from(typed.split_whitespace()).unwrap();
        let mut command = Command::new("mitigation");
        hand_on(&mut command, &verb.arguments);
        assert_eq!(
            process::display(&command),
            "mitigation --pcap a.pcap --dir b --benign c --host proxying --attack syn --attack carpet \
             --rush players --duration 5 --rate 1000 --under syn --late --no-baseline --json d --strict"
        );
    }
}
