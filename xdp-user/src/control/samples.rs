//! Sampled packets: which ones the program is told to show, and what is told of them.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use anyhow::{Result, bail};
use xdp_common::abi::Limit;
use xdp_common::packet;
use xdp_common::reason::{Action, Class, Reason};
use xdp_common::verdict::places;

use super::Control;
use crate::api::types::{FrameBytes, Happening, ListKind, Sample};
use crate::config;
use crate::datapath::memory::read;
use crate::datapath::samples::Sampled;
use crate::domain::{Prefix, SampleRate};
use crate::host::framing::Framing;

/// What samples somebody wants for a while, beside the configuration's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Reasons, by [`Reason::bit`].
    pub reasons: u64,
    /// For each CPU.
    pub rate: SampleRate,
    /// Of a packet; at most [`xdp_common::abi::SAMPLE_BYTES`].
    pub bytes: u16,
}

/// A capture that goes on as long as somebody holds its token.
#[derive(Debug)]
pub(super) struct Running {
    wanted: Capture,
    token: Weak<()>,
}

/// What IP's length fields can say is less.
const MAX_FRAME: u32 = 1 << 16;

/// Captures at a time.
const MAX_CAPTURES: usize = 8;

/// What the program is told about samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) reasons: u64,
    pub(super) every: u32,
    pub(super) bytes: u16,
    pub(super) limit: Limit,
}

/// The configuration's samples and those of every capture together: the most of each.
pub(super) fn told(sampling: &config::Sampling, captures: &[Capture]) -> Told {
    let drops = Reason::ALL
        .iter()
        .filter(|reason| reason.class() != Class::Pass)
        .fold(0, |mask, reason| mask | reason.bit());
    let rate = |rate: SampleRate| rate.samples_per_second();
    let mut told = Told {
        reasons: if sampling.rate.is_some() { drops } else { 0 },
        every: sampling.one_in,
        bytes: sampling.bytes,
        limit: Limit::OFF,
    };
    let mut most = sampling.rate.map_or(0, rate);
    for capture in captures {
        told.reasons |= capture.reasons;
        told.every = 1;
        told.bytes = told.bytes.max(capture.bytes);
        most = most.max(rate(capture.rate));
    }
    if most > 0 {
        told.limit = Limit::counts(most, most);
    }
    told
}

impl Control {
    /// Has the program show more packets, until the token is dropped: within a second of that it
    /// shows what the configuration says again.
    pub fn start_capture(&mut self, wanted: Capture) -> Result<Arc<()>> {
        self.forget_captures();
        if self.captures.len() >= MAX_CAPTURES {
            bail!("{MAX_CAPTURES} captures are running already: end one of them first");
        }
        let token = Arc::new(());
        self.captures.push(Running {
            wanted,
            token: Arc::downgrade(&token),
        });
        self.publish_policy()?;
        Ok(token)
    }

    /// Captures whose client has gone, however it went, end.
    pub(super) fn sweep_captures(&mut self) -> Result<()> {
        if self.forget_captures() {
            self.publish_policy()?;
        }
        Ok(())
    }

    fn forget_captures(&mut self) -> bool {
        let before = self.captures.len();
        self.captures
            .retain(|capture| capture.token.strong_count() > 0);
        self.captures.len() != before
    }

    pub(super) fn wanted_captures(&self) -> Vec<Capture> {
        self.captures.iter().map(|running| running.wanted).collect()
    }

    /// Tells of packets that the program showed.
    pub fn note_samples(&mut self, samples: Vec<Sampled>) -> Result<()> {
        let now = Self::now();
        for sampled in samples {
            let at = now.to_wall(sampled.time_ns);
            let sample = self.described(sampled)?;
            self.journal
                .publish(at, Happening::Sample(Box::new(sample)));
        }
        Ok(())
    }

    fn described(&mut self, sampled: Sampled) -> Result<Sample> {
        let decides = [
            (Reason::Allowlisted, ListKind::Allow),
            (Reason::Blocklisted, ListKind::Block),
        ];
        let mut decides = decides.into_iter();
        let decided = decides.find_map(|(by, kind)| (by == sampled.reason).then_some(kind));
        let list = match (decided, sampled.source) {
            (Some(kind), Some(source)) => self.deciding_list(kind, &Prefix::host(source))?,
            _ => None,
        };
        let mut interfaces = self.interfaces.iter();
        let interface = interfaces.find(|interface| interface.slot == sampled.slot);
        let framing = interface.map_or(Framing::Ethernet, |interface| {
            self.datapath.framing(&interface.name)
        });
        Ok(Sample {
            interface: interface.map(|interface| interface.name.to_string()),
            reason: sampled.reason.name().to_owned(),
            action: match sampled.action {
                Action::Pass => "passed",
                Action::Drop => "dropped",
                Action::Answer => "answered",
            }
            .to_owned(),
            source: sampled.source,
            list,
            class: self.class_name_of(framing, &sampled.frame, sampled.length),
            stands_for: sampled.stands_for.into(),
            length: sampled.length,
            frame: FrameBytes(sampled.frame.to_vec()),
            bare_ip: framing == Framing::Bare,
        })
    }

    /// The list of the entry that the kernel matches now.
    fn deciding_list(&mut self, kind: ListKind, host: &Prefix) -> Result<Option<String>> {
        let Some(prefix) = self.matching_entry(kind, host) else {
            return Ok(None);
        };
        let members = self.entries(kind).members(&prefix);
        let last = members
            .iter()
            .max_by_key(|member| member.expires.unwrap_or(jiff::Timestamp::MAX));
        let Some(list) = last.map(|member| member.list) else {
            return Ok(None);
        };
        self.list_name(list).map(|name| Some(name.to_string()))
    }

    /// The class that a frame of a length is in now, by its first bytes.
    fn class_name_of(&self, framing: Framing, frame: &[u8], length: u32) -> Option<String> {
        // The parser holds headers against the frame's length; no class looks at what is behind them.
        let mut whole = frame.to_vec();
        whole.resize(frame.len().max(length.min(MAX_FRAME) as usize), 0);
        let ControlFlow::Continue(packet) = read(framing, &whole) else {
            return None;
        };
        let class = self.class_of(&packet)?;
        Some(class.name.to_string())
    }

    /// The configuration's class of a packet, where classes decide anything.
    pub(super) fn class_of(&self, packet: &packet::Packet) -> Option<&config::Class> {
        self.class_by_number(self.class_number_of(packet)?.into())
    }

    /// Its number in the program.
    pub(super) fn class_number_of(&self, packet: &packet::Packet) -> Option<u8> {
        let set = self.classes.stored()?;
        let (first, second) = places(packet);
        Some(match (set.class_at(first), second) {
            (0, Some(second)) => set.class_at(second),
            (number, _) => number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(rate: Option<&str>) -> config::Sampling {
        config::Sampling {
            rate: rate.map(|rate| rate.parse().unwrap()),
            one_in: 100,
            bytes: 128,
        }
    }

    #[test]
    fn dropped_packets_are_sampled_as_the_configuration_says() {
        let usual = told(&sampling(Some("10/s")), &[]);
        for reason in Reason::ALL {
            let sampled = usual.reasons & reason.bit() != 0;
            assert_eq!(sampled, reason.class() != Class::Pass, "{reason:?}");
        }
        assert_eq!((usual.every, usual.bytes), (100, 128));
        assert_eq!(usual.limit, Limit::counts(10, 10));
        assert_eq!(told(&sampling(None), &[]).reasons, 0);
    }

    #[test]
    fn captures_raise_what_they_want_and_nothing_else() {
        let capture = |reason: Reason, rate: &str, bytes| Capture {
            reasons: reason.bit(),
            rate: rate.parse().unwrap(),
            bytes,
        };
        let small = capture(Reason::Accepted, "5/s", 64);
        let large = capture(Reason::Allowlisted, "1000/s", 256);
        let both = told(&sampling(None), &[small, large]);
        assert_eq!(
            both.reasons,
            Reason::Accepted.bit() | Reason::Allowlisted.bit()
        );
        assert_eq!((both.every, both.bytes), (1, 256));
        assert_eq!(both.limit, Limit::counts(1000, 1000));
        let with_usual = told(&sampling(Some("10/s")), &[small]);
        assert_eq!(
            with_usual.limit,
            Limit::counts(10, 10),
            "no less than usual"
        );
        assert_eq!(with_usual.bytes, 128);
    }
}
