//! A second opinion: judges frames from the RFCs and from the documented meaning of lists, limits
//! and bans, without a line of the program's own code.
//!
//! It is slow, plain and made of owned values, so that a reader can check it against the texts.

mod frame;
mod meter;
mod rules;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use frame::{Frame, Transport};
use ipnet::IpNet;
use meter::Unit;
pub use meter::{Banned, Meter, Strikes};
pub use rules::{Bans, Limits, Listed, Rate, Rules};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What the oracle says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Name of the one reason.
    pub reason: &'static str,
    /// Is the frame dropped?
    pub dropped: bool,
    /// The source whose limits were looked at.
    pub source: Option<IpNet>,
    /// Bytes that the frame counts as.
    pub length: u64,
}

/// What is known of a source that reached its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Packets against their limit.
    pub packets: Meter,
    /// Bytes against theirs.
    pub bytes: Meter,
    /// New connections against theirs.
    pub tcp_new: Meter,
    /// Strikes.
    pub strikes: Strikes,
    /// Packets and bytes seen.
    pub seen: (u64, u64),
    /// Packets and bytes over a limit.
    pub over: (u64, u64),
}

/// Rules, and what sources have done under them.
#[derive(Clone, Debug)]
pub struct Oracle {
    rules: Rules,
    sources: BTreeMap<IpNet, Source>,
    bans: BTreeMap<IpNet, Banned>,
    bare: bool,
}

impl Oracle {
    /// Nobody has sent anything yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            sources: BTreeMap::new(),
            bans: BTreeMap::new(),
            bare: false,
        }
    }

    /// The same of frames that begin with their IP header.
    #[must_use]
    pub fn without_ethernet(self) -> Self {
        Self { bare: true, ..self }
    }

    fn read(&self, bytes: &[u8]) -> Result<Frame, &'static str> {
        if self.bare {
            frame::read_bare(bytes)
        } else {
            frame::read(bytes)
        }
    }

    /// The rules that it judges by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Replaces both lists.
    pub fn set_lists(&mut self, allow: Vec<Listed>, block: Vec<Listed>) {
        (self.rules.allow, self.rules.block) = (allow, block);
    }

    /// Bans a source, as an earlier run or an operator would.
    pub fn ban(&mut self, source: IpNet, ban: Banned) {
        self.bans.insert(source, ban);
    }

    /// What is known of a source.
    #[must_use]
    pub fn source(&self, source: IpNet) -> Option<&Source> {
        self.sources.get(&source)
    }

    /// The ban of a source, current or past.
    #[must_use]
    pub fn ban_of(&self, source: IpNet) -> Option<&Banned> {
        self.bans.get(&source)
    }

    /// The source that a frame counts as, when it says one.
    #[must_use]
    pub fn source_in(&self, bytes: &[u8]) -> Option<IpNet> {
        let frame = self.read(bytes).ok()?;
        Some(self.source_of(frame.source))
    }

    /// Judges a frame that arrives at `now_ns` on the boot clock, and remembers it.
    pub fn judge(&mut self, bytes: &[u8], now_ns: u64) -> Judgement {
        self.judge_split(bytes, bytes.len(), now_ns)
    }

    /// The same of a frame that has so many of its bytes in its first buffer: where the packet ends
    /// there, and the buffer is no larger than a frame of 1,500 bytes wants, what follows in others isn't
    /// counted.
    pub fn judge_split(&mut self, bytes: &[u8], first_buffer: usize, now_ns: u64) -> Judgement {
        let frame = self.read(bytes);
        let length = match &frame {
            Ok(frame) if frame.end <= first_buffer && first_buffer <= 1536 => first_buffer as u64,
            Ok(_) | Err(_) => bytes.len() as u64,
        };
        let (reason, source) = match frame {
            Ok(frame) => self.judge_packet(&frame, length, now_ns),
            Err(reason) => (reason, None),
        };
        let passes = ["accepted", "allowlisted", "not_ip"].contains(&reason);
        Judgement {
            reason,
            dropped: !passes && self.rules.enforce && !self.rules.observed.contains(reason),
            source,
            length,
        }
    }

    fn judge_packet(
        &mut self,
        frame: &Frame,
        length: u64,
        now_ns: u64,
    ) -> (&'static str, Option<IpNet>) {
        let listed = |list: &[Listed]| list.iter().any(|entry| entry.covers(frame.source, now_ns));
        let source = self.source_of(frame.source);
        let banned = self.bans.get(&source);
        let reason = if listed(&self.rules.allow) {
            "allowlisted"
        } else if listed(&self.rules.block) {
            "blocklisted"
        } else if banned.is_some_and(|ban| now_ns < ban.until_ns) {
            "banned"
        } else if let Some(reason) = self.insane(frame) {
            reason
        } else {
            return (self.limit(frame, source, length, now_ns), Some(source));
        };
        (reason, None)
    }

    /// The source that an address counts as.
    #[must_use]
    pub fn source_of(&self, address: IpAddr) -> IpNet {
        let bits = match address {
            IpAddr::V4(_) => self.rules.source_bits_v4,
            // Neighbours share fe80::/10.
            IpAddr::V6(address) if address.is_unicast_link_local() => 128,
            IpAddr::V6(_) => self.rules.source_bits_v6,
        };
        IpNet::new_assert(address, bits).trunc()
    }

    fn insane(&self, frame: &Frame) -> Option<&'static str> {
        let flags = match frame.transport {
            Transport::Tcp { flags } => Some(flags),
            Transport::Udp { .. } | Transport::Other => None,
        };
        if self.rules.check_tcp_flags && flags.is_some_and(never_sent) {
            Some("tcp_flags")
        } else if frame.to_itself {
            None
        } else if self.rules.check_land && frame.source == frame.destination {
            Some("land")
        } else if self.rules.check_martians && is_martian(frame) {
            Some("martian_source")
        } else {
            None
        }
    }

    /// New connections first, then packets, then bytes; what one limit gave is spent even when the
    /// next refuses.
    fn limit(&mut self, frame: &Frame, key: IpNet, length: u64, now_ns: u64) -> &'static str {
        let limits = self.limits_of(frame.source);
        let source = self.sources.entry(key).or_default();
        source.seen = (source.seen.0 + 1, source.seen.1 + length);
        let opens =
            matches!(frame.transport, Transport::Tcp { flags } if flags & (SYN | ACK) == SYN);
        let over = |meter: &mut Meter, rate: Option<Rate>, unit, amount| {
            rate.is_some_and(|rate| !meter.take(rate, unit, amount, now_ns))
        };
        let reason = if opens && over(&mut source.tcp_new, limits.tcp_new, Unit::Whole, 1) {
            "rate_tcp_new"
        } else if over(&mut source.packets, limits.packets, Unit::Whole, 1) {
            "rate_packets"
        } else if over(&mut source.bytes, limits.bytes, Unit::Byte, length) {
            "rate_bytes"
        } else {
            return "accepted";
        };
        source.over = (source.over.0 + 1, source.over.1 + length);
        if let Some(bans) = &self.rules.bans
            && source.strikes.add(bans, now_ns)
        {
            let previous = self.bans.get(&key).copied();
            self.bans.insert(key, Banned::after(previous, bans, now_ns));
        }
        reason
    }

    fn limits_of(&self, address: IpAddr) -> Limits {
        self.rules
            .overrides
            .iter()
            .filter(|(prefix, _)| prefix.contains(&address))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
            .map_or(self.rules.limits, |(_, limits)| *limits)
    }
}

/// RFC 9293, section 3.10: without one of the four a segment means nothing; SYN begins and the
/// others end; FIN comes with ACK, and only a RST may do without.
fn never_sent(flags: u8) -> bool {
    let has = |flag: u8| flags & flag != 0;
    if has(SYN) {
        return has(FIN) || has(RST);
    }
    !has(ACK) && !has(RST)
}

/// RFC 1122, section 3.2.1.3; RFC 4291, sections 2.5.2, 2.5.3, 2.5.5.2 and 2.7.
fn is_martian(frame: &Frame) -> bool {
    match frame.source {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
            let dhcp = frame.transport == Transport::Udp { destination: 67 };
            let igmp = frame.protocol == 2;
            !dhcp && !igmp
        }
        IpAddr::V4(a) => {
            a.octets()[0] == 0 || a.is_loopback() || a.is_multicast() || a.is_broadcast()
        }
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => frame.protocol != 58,
        IpAddr::V6(a) => a.is_loopback() || a.is_multicast() || a.to_ipv4_mapped().is_some(),
    }
}
