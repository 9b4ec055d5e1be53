//! Limits that fit what was seen, with head-room: from a capture, or from a daemon that is asked once
//! a second.
//!
//! A budget is for newcomers, so newcomers are counted: the packets of each class that took from its
//! budget, or that found it spent. Limits are for sources, so the busiest second of each source counts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use xdp_common::packet::Packet;

use super::engine::Engine;
use super::file::Packets;
use crate::config::Config;
use crate::datapath::Datapath as _;

/// What is proposed is so many times what was seen.
const HEAD_ROOM: u64 = 2;
/// No less is proposed, whatever was seen: packets, bytes and connections per second of a source,
/// newcomers of a class. A quiet hour says little of the next one.
const LEAST: [u64; 3] = [100, 125_000, 20];
/// See [`LEAST`].
const LEAST_BUDGET: u64 = 20;
/// Of a thousand seconds, how many a rate has to cover; a burst covers all of them.
const PER_MILLE: usize = 999;
/// Sources that are told apart.
const MOST_SOURCES: usize = 1 << 20;
/// The largest packet (RFC 791, section 3.1): a burst of bytes holds one.
const LARGEST: u64 = 65_535;
/// Seconds of a capture that are kept apart: a day.
const MOST_SECONDS: u64 = 86_400;

/// What was seen, second by second.
#[derive(Debug, Default)]
pub struct Seen {
    /// Newcomers' packets by class: each second's, quiet ones left out.
    classes: BTreeMap<String, Vec<u64>>,
    seconds: u64,
    sources: u64,
    /// The busiest second of each source.
    peaks: [Vec<u64>; 3],
}

/// A limit's place in [`Seen::peaks`].
const PACKETS: usize = 0;
const BYTES: usize = 1;
const CONNECTIONS: usize = 2;

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// What it is from.
    pub from: String,
    /// Seconds that were looked at.
    pub seconds: u64,
    /// Sources that were seen.
    pub sources: u64,
    /// Packets per second of a source.
    pub packets: Option<Proposed>,
    /// Bytes per second of a source.
    pub bytes: Option<Proposed>,
    /// New TCP connections per second of a source; not known of a daemon.
    pub tcp_new: Option<Proposed>,
    /// Budgets.
    pub classes: Vec<ProposedClass>,
    /// All of it as a part of a configuration.
    pub fragment: String,
}

/// What was seen of a rate, and what is proposed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// In half of the seconds, or of the sources, at most this.
    pub half: u64,
    /// In 99.9 % of them.
    pub nearly_all: u64,
    /// The most.
    pub most: u64,
    /// The rate.
    pub rate: u64,
    /// The burst.
    pub burst: u64,
}

/// The budget of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedClass {
    /// Its name.
    pub class: String,
    /// Its budget.
    #[serde(flatten)]
    pub budget: Proposed,
}

impl Proposed {
    fn of(seen: &mut [u64], least: u64) -> Option<Self> {
        seen.sort_unstable();
        let most = *seen.last()?;
        let at = |per_mille: usize| {
            let rank = (seen.len() * per_mille).div_ceil(1000).max(1);
            seen.get(rank - 1).copied().unwrap_or(most)
        };
        let nearly_all = at(PER_MILLE);
        Some(Self {
            half: at(500),
            nearly_all,
            most,
            rate: rounded_up(nearly_all.saturating_mul(HEAD_ROOM).max(least)),
            burst: rounded_up(most.saturating_mul(HEAD_ROOM).max(least)),
        })
    }
}

/// To two digits, at least 1.
fn rounded_up(number: u64) -> u64 {
    let number = number.max(1);
    let unit = 10_u64.pow(number.ilog10().saturating_sub(1));
    number.div_ceil(unit).saturating_mul(unit)
}

/// Looks at a capture under a configuration.
///
/// # Errors
/// When the file is no capture, or the configuration doesn't fit.
pub fn from_capture(path: &Path, config: &Config, mut progress: impl FnMut(u64)) -> Result<Seen> {
    let mut engine = Engine::new(config)?;
    let mut seen = Seen::default();
    let mut sources = Sources::default();
    let mut counted = Counted::default();
    let (mut second, mut packets) = (0, 0);
    for packet in Packets::open(path)? {
        // A file that is cut short is good up to there.
        let Ok(packet) = packet else { break };
        let at = packet.at;
        let Some(frame) = packet.into_frame() else {
            continue;
        };
        // Time doesn't go back, as in the engine.
        let now = at.as_secs().max(second);
        if now != second {
            counted.end_second(&mut engine, &mut seen)?;
            seen.seconds += (now - second).min(MOST_SECONDS);
            second = now;
        }
        let judged = engine.judge(&frame, at)?;
        if let Some(packet) = &judged.packet {
            sources.add(packet, frame.bytes.len() as u64, now);
        }
        packets += 1;
        if packets % 65_536 == 0 {
            progress(packets);
        }
    }
    counted.end_second(&mut engine, &mut seen)?;
    seen.seconds += 1;
    seen.take(sources);
    Ok(seen)
}

/// Newcomers' packets of each class until the last second ended.
#[derive(Default)]
struct Counted(HashMap<u8, u64>);

impl Counted {
    fn end_second(&mut self, engine: &mut Engine, seen: &mut Seen) -> Result<()> {
        let readings = engine.datapath().classes()?;
        for (number, reading) in (0..).zip(&readings) {
            let counter = &reading.counter;
            let all = counter.newcomers.saturating_add(counter.over);
            let before = self.0.insert(number, all).unwrap_or(0);
            if let Some(name) = engine.escalations().name(number) {
                seen.class_second(name, all.saturating_sub(before));
            }
        }
        Ok(())
    }
}

/// The current second of each source, and its busiest.
#[derive(Default)]
struct Sources(HashMap<IpAddr, OfSource>);

#[derive(Clone, Copy, Default)]
struct OfSource {
    second: u64,
    now: [u64; 3],
    peak: [u64; 3],
}

impl Sources {
    fn add(&mut self, packet: &Packet, bytes: u64, second: u64) {
        let address: IpAddr = packet.source.into();
        if self.0.len() >= MOST_SOURCES && !self.0.contains_key(&address) {
            return;
        }
        let source = self.0.entry(address).or_default();
        if source.second != second {
            source.second = second;
            source.now = [0; 3];
        }
        let opens = u64::from(packet.opens_tcp_connection());
        for ((now, peak), more) in source
            .now
            .iter_mut()
            .zip(&mut source.peak)
            .zip([1, bytes, opens])
        {
            *now += more;
            *peak = (*peak).max(*now);
        }
    }
}

impl Seen {
    /// Newcomers' packets of a class in one second.
    pub fn class_second(&mut self, class: &str, newcomers: u64) {
        if newcomers > 0 {
            let seconds = self.classes.entry(class.to_owned()).or_default();
            seconds.push(newcomers);
        }
    }

    /// A second has passed.
    pub fn second(&mut self) {
        self.seconds += 1;
    }

    /// The busiest second of a source, as far as it is known.
    pub fn source_peak(&mut self, packets: u64, bytes: u64) {
        self.sources += 1;
        self.peaks[PACKETS].push(packets);
        self.peaks[BYTES].push(bytes);
    }

    fn take(&mut self, sources: Sources) {
        for source in sources.0.into_values() {
            let [packets, bytes, connections] = source.peak;
            self.source_peak(packets, bytes);
            if connections > 0 {
                self.peaks[CONNECTIONS].push(connections);
            }
        }
    }

    /// What is proposed from it: budgets for those classes of the configuration that have one.
    #[must_use]
    pub fn suggest(mut self, from: &str, config: &Config) -> Suggestion {
        let [packets, bytes, tcp_new] =
            [PACKETS, BYTES, CONNECTIONS].map(|of| Proposed::of(&mut self.peaks[of], LEAST[of]));
        let bytes = bytes.map(|bytes| Proposed {
            burst: bytes.burst.max(LARGEST),
            ..bytes
        });
        let has_budget = |name: &str| {
            let mut classes = config.classes.iter();
            classes.any(|class| class.name.as_str() == name && class.budget.is_some())
        };
        let of_class = |(class, seconds): (&String, &mut Vec<u64>)| {
            Some(ProposedClass {
                class: class.clone(),
                budget: Proposed::of(seconds, LEAST_BUDGET).filter(|_| has_budget(class))?,
            })
        };
        let classes: Vec<ProposedClass> = self.classes.iter_mut().filter_map(of_class).collect();
        let mut suggestion = Suggestion {
            from: from.to_owned(),
            seconds: self.seconds,
            sources: self.sources,
            packets,
            bytes,
            tcp_new,
            classes,
            fragment: String::new(),
        };
        suggestion.fragment = fragment(&suggestion);
        suggestion
    }
}

fn fragment(it: &Suggestion) -> String {
    let mut text = String::new();
    // Writing to a string doesn't fail.
    let mut line = |line: String| writeln!(text, "{line}").unwrap_or_default();
    line(format!(
        "# From {}: {} s, {} sources. Rates are twice what 99.9 % of the seconds, or of the\n\
         # sources' busiest seconds, had; bursts twice the most. Seen: half, 99.9 %, the most.",
        it.from.replace(|c: char| c.is_control(), "?"),
        it.seconds,
        it.sources
    ));
    let seen = |of: &Proposed| format!("  # {}, {}, {}", of.half, of.nearly_all, of.most);
    line("[limits]".to_owned());
    if let Some(of) = &it.packets {
        line(format!("packets = \"{}pps\"{}", of.rate, seen(of)));
        line(format!("packets_burst = {}", of.burst));
    }
    if let Some(of) = &it.bytes {
        let bits = of.rate.saturating_mul(8);
        line(format!("bytes = \"{bits}bps\"{}", seen(of)));
        line(format!("bytes_burst = \"{}B\"", of.burst));
    }
    if let Some(of) = &it.tcp_new {
        line(format!("tcp_new = \"{}cps\"{}", of.rate, seen(of)));
        line(format!("tcp_new_burst = {}", of.burst));
    }
    for ProposedClass { class, budget } in &it.classes {
        line(format!("\n[[class]]\nname = \"{class}\""));
        line(format!("budget = \"{}pps\"{}", budget.rate, seen(budget)));
        line(format!("budget_burst = {}", budget.burst));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_up_to_two_digits() {
        let pairs = [
            (0, 1),
            (1, 1),
            (99, 99),
            (100, 100),
            (101, 110),
            (1_001, 1_100),
            (9_950, 10_000),
        ];
        for (number, rounded) in pairs {
            assert_eq!(rounded_up(number), rounded);
        }
    }

    #[test]
    fn a_rate_covers_nearly_all_and_a_burst_all() {
        let mut seen: Vec<u64> = vec![10; 2000];
        seen[7] = 500;
        let proposed = Proposed::of(&mut seen, 1).unwrap();
        assert_eq!(
            (proposed.half, proposed.nearly_all, proposed.most),
            (10, 10, 500)
        );
        assert_eq!((proposed.rate, proposed.burst), (20, 1000));
        assert_eq!(Proposed::of(&mut [], 1), None);
    }

    #[test]
    fn the_fragment_is_a_valid_configuration() {
        let mut seen = Seen::default();
        for count in [3, 5, 40] {
            seen.second();
            seen.class_second("tcp-new", count);
            seen.class_second("none-such", count);
            seen.source_peak(count, count * 100);
        }
        let suggestion = seen.suggest("a capture\n[x]", &Config::default());
        let config = Config::parse(&suggestion.fragment, "fragment")
            .unwrap()
            .config;
        let class = config
            .classes
            .iter()
            .find(|class| class.name.as_str() == "tcp-new");
        let budget = class.unwrap().budget.unwrap();
        assert_eq!(
            (budget.rate.packets_per_second(), budget.burst.get()),
            (80, 80)
        );
        assert_eq!(
            config.limits.packets.unwrap().rate.packets_per_second(),
            100
        );
        assert_eq!(suggestion.classes.len(), 1);
    }
}
