//! `explain`: what would happen to a packet, and why.

use std::net::IpAddr;

use clap::ValueEnum;
use jiff::Timestamp;

use super::table::{Table, words};
use super::{Session, events, format, limit, sources};
use crate::api::types::{BanView, ExplainQuery, Explanation, SampleView};
use crate::domain::Mode;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle explain 203.0.113.9                      a new TCP connection from there
  xdp-throttle explain 203.0.113.9 --proto udp --dport 53
  xdp-throttle explain 2001:db8::7 --flags ack --length 1500
  xdp-throttle explain 203.0.113.9 --proto 47           GRE

Asks the daemon for the verdict on one such packet now, stage by stage, with the lists, limits and
counters as they are. Sends nothing and counts nothing.";

/// Say what would happen to a packet from an address, and why
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The packet's source
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    /// tcp, udp, icmp, or a protocol's number
    #[arg(long, value_name = "PROTO", default_value = "tcp", value_parser = protocol, help_heading = "The packet")]
    proto: String,
    /// Destination port of a TCP or UDP packet
    #[arg(long, value_name = "PORT", help_heading = "The packet")]
    dport: Option<u16>,
    /// TCP flags, joined by commas: fin, syn, rst, psh, ack, urg, ece, cwr; or none [default: syn]
    #[arg(
        long,
        value_name = "FLAGS",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = true,
        help_heading = "The packet"
    )]
    flags: Vec<Flag>,
    /// Length of the whole frame in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(14..=65_535), help_heading = "The packet")]
    length: u32,
    /// The protected interface that it arrives on; the first without one
    #[arg(long, value_name = "NAME", help_heading = "The packet")]
    interface: Option<String>,
    /// In a PPPoE session
    #[arg(long, help_heading = "The packet")]
    pppoe: bool,
}

/// A TCP flag (RFC 9293, section 3.1), or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flag {
    Fin,
    Syn,
    Rst,
    Psh,
    Ack,
    Urg,
    Ece,
    Cwr,
    /// No flag at all.
    None,
}

impl Flag {
    const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Syn => "syn",
            Self::Rst => "rst",
            Self::Psh => "psh",
            Self::Ack => "ack",
            Self::Urg => "urg",
            Self::Ece => "ece",
            Self::Cwr => "cwr",
            Self::None => "none",
        }
    }
}

fn protocol(text: &str) -> Result<String, String> {
    let word = text.to_lowercase();
    let known = matches!(word.as_str(), "tcp" | "udp" | "icmp");
    if known || word.parse::<u8>().is_ok() {
        Ok(word)
    } else {
        Err("use tcp, udp, icmp or a number from 0 to 255".to_owned())
    }
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let explanation = session.client.explain(&self.query()).await?;
        let now = Timestamp::now();
        session.output.show(&explanation, |it| render(it, now))
    }

    fn query(&self) -> ExplainQuery {
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.name()).collect();
        ExplainQuery {
            address: self.address,
            protocol: Some(self.proto.clone()),
            port: self.dport,
            flags: (!flags.is_empty()).then(|| flags.join(",")),
            length: Some(self.length),
            interface: self.interface.clone(),
            pppoe: self.pppoe.then_some(true),
        }
    }
}

fn render(it: &Explanation, now: Timestamp) -> String {
    let mut text = render_why(it, now);
    if let Some(known) = &it.known {
        text += "\n";
        text += &sources::render_views(std::slice::from_ref(known), now);
    }
    text
}

/// Without the source's counters, which `top` shows beside it.
pub(super) fn render_why(it: &Explanation, now: Timestamp) -> String {
    let mut sections = vec![render_head(it), render_stages(it)];
    sections.push(limit::render_views(std::slice::from_ref(&it.limits)));
    if let Some(ban) = &it.ban {
        sections.push(render_ban(ban, now));
    }
    if !it.samples.is_empty() {
        sections.push(render_samples(&it.samples, now));
    }
    sections.join("\n")
}

fn render_samples(samples: &[SampleView], now: Timestamp) -> String {
    let mut table = Table::new([words("seen"), words("last packets of it that were sampled")]);
    for view in samples {
        table.row([
            format::ago(view.at, now),
            events::describe_sample(&view.sample),
        ]);
    }
    table.render()
}

fn render_head(it: &Explanation) -> String {
    let note = match it.mode {
        Mode::Observe => " (observe mode: nothing is dropped)",
        Mode::Enforce => "",
    };
    format!(
        "packet   {} from {}, counted as {}\n\
         verdict  {}: {}{note}\n         {}\n",
        format::printable(&it.packet),
        it.address,
        it.source,
        it.action,
        it.reason,
        it.description.trim(),
    )
}

fn render_stages(it: &Explanation) -> String {
    let mut table = Table::new([words(""), words("stage"), words("finding")]);
    for stage in &it.stages {
        let mark = if stage.decided { "=>" } else { "" };
        table.row([mark.to_owned(), stage.stage.clone(), stage.finding.clone()]);
    }
    table.render()
}

fn render_ban(ban: &BanView, now: Timestamp) -> String {
    let state = if ban.until <= now {
        format!("ended {}", format::ago(ban.until, now))
    } else {
        format!("ends {}", format::until(Some(ban.until), now))
    };
    format!(
        "ban      {} for {}, level {}, began {}, {state}, dropped {} packets ({})\n",
        ban.source,
        ban.reason,
        ban.level,
        format::ago(ban.since, now),
        format::count(ban.packets),
        format::bytes(ban.bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_verdict_comes_first_and_the_deciding_stage_is_marked() {
        let text = render(&samples::explanation(), samples::now());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "packet   TCP SYN to port 80, 64 bytes from 203.0.113.9, counted as 203.0.113.9",
                "verdict  drop: banned",
                "         The source is banned for a time after repeated strikes.",
            ]
        );
        let decided = lines.iter().find(|line| line.starts_with("=>")).unwrap();
        assert!(decided.contains("ban    level 2"), "{decided}");
        assert!(text.contains("ends in 3m"), "{text}");
        assert!(text.contains("20,000"), "{text}");
        assert!(
            text.contains("2s ago  dropped banned eth0 203.0.113.9"),
            "{text}"
        );
    }

    #[test]
    fn observe_mode_is_said() {
        let observed = Explanation {
            mode: Mode::Observe,
            ..samples::explanation()
        };
        assert!(render(&observed, samples::now()).contains("nothing is dropped"));
    }

    #[test]
    fn protocols_are_words_or_numbers() {
        assert_eq!(protocol("UDP").unwrap(), "udp");
        assert_eq!(protocol("47").unwrap(), "47");
        protocol("256").unwrap_err();
        protocol("gre").unwrap_err();
    }
}
