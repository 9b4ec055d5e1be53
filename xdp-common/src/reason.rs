//! Why a packet passed or was dropped: one closed, numbered list.
//!
//! A number is never reused: it is a counter index in the kernel, a metric label, a key in saved
//! output. A new reason takes the next free number and bumps [`crate::abi::ABI_VERSION`].

use crate::abi::{MODE_ENFORCE, Policy};

/// What a reason asks for, before the mode is taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The packet goes on to the host.
    Pass,
    /// The packet is to be dropped.
    Drop,
    /// The packet is to be answered in the host's place.
    Answer,
}

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Handed to the host (`XDP_PASS`).
    Pass,
    /// Dropped (`XDP_DROP`).
    Drop,
    /// Answered out of the same interface (`XDP_TX`); the host doesn't see it.
    Answer,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $name:literal, $class:ident;)+) => {
        /// Why a packet passed or was dropped. Every packet leaves with exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant = $code,)+
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in metrics, output and configuration.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// What the reason asks for in enforce mode.
            #[inline(always)]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)+ }
            }
        }
    };
}

reasons! {
    /// Passed every stage.
    Accepted = 0, "accepted", Pass;
    /// The source is on the allowlist; no later stage looked at it.
    Allowlisted = 1, "allowlisted", Pass;
    /// Neither IPv4 nor IPv6 (ARP, LLDP, ...): not ours to judge.
    NotIp = 2, "not_ip", Pass;
    /// The controller has loaded no policy yet: passed.
    NoPolicy = 3, "no_policy", Pass;
    /// The loaded policy has another ABI version than the program: passed.
    PolicyMismatch = 4, "policy_mismatch", Pass;
    /// The source table could not take the source, so its limits could not be checked: passed.
    SourceUntracked = 5, "source_untracked", Pass;

    /// The frame ends inside its Ethernet, VLAN or PPPoE header, or before the length that PPPoE states.
    EthernetTruncated = 8, "ethernet_truncated", Drop;
    /// More than two VLAN tags: the IP header is out of reach, the packet cannot be judged.
    VlanTooDeep = 9, "vlan_too_deep", Drop;
    /// The frame ends before the IPv4 header or the length that the header states.
    Ipv4Truncated = 10, "ipv4_truncated", Drop;
    /// Not version 4, a header under 20 bytes, or a total length under the header's (but zero, which stands for the frame's).
    Ipv4Malformed = 11, "ipv4_malformed", Drop;
    /// The frame ends before the IPv6 header, its extension headers or the length it states.
    Ipv6Truncated = 12, "ipv6_truncated", Drop;
    /// The version field is not 6.
    Ipv6Malformed = 13, "ipv6_malformed", Drop;
    /// More extension headers, or more bytes of them, than any honest packet carries.
    Ipv6ExtensionsTooDeep = 14, "ipv6_extensions_too_deep", Drop;
    /// The packet ends inside its TCP header.
    TcpTruncated = 15, "tcp_truncated", Drop;
    /// A TCP data offset under 20 bytes.
    TcpMalformed = 16, "tcp_malformed", Drop;
    /// The packet ends inside its UDP header or before the length that the header states.
    UdpTruncated = 17, "udp_truncated", Drop;
    /// A UDP length under 8 bytes.
    UdpMalformed = 18, "udp_malformed", Drop;
    /// The packet ends inside its ICMP header.
    IcmpTruncated = 19, "icmp_truncated", Drop;
    /// The packet ends inside its ICMPv6 header.
    Icmpv6Truncated = 20, "icmpv6_truncated", Drop;
    /// A first fragment too short for its transport header (RFC 1858, RFC 7112).
    TinyFragment = 21, "tiny_fragment", Drop;
    /// A later fragment that would be written over the transport header of the first (RFC 3128).
    FragmentOverlap = 22, "fragment_overlap", Drop;

    /// The source is on a blocklist.
    Blocklisted = 32, "blocklisted", Drop;
    /// The source is banned for a time after repeated strikes.
    Banned = 33, "banned", Drop;
    /// A set of TCP flags that no stack sends: none, SYN with FIN or RST, FIN without ACK or RST.
    TcpFlags = 34, "tcp_flags", Drop;
    /// Source and destination address are the same (land attack).
    Land = 35, "land", Drop;
    /// A source address that cannot be one on the wire (loopback, multicast, unspecified).
    MartianSource = 36, "martian_source", Drop;
    /// The source sends more packets per second than its limit.
    RatePackets = 37, "rate_packets", Drop;
    /// The source sends more bytes per second than its limit.
    RateBytes = 38, "rate_bytes", Drop;
    /// The source opens more TCP connections per second than its limit.
    RateTcpNew = 39, "rate_tcp_new", Drop;
    /// No local socket waits for the packet, and the class asks for one.
    Unsolicited = 40, "unsolicited", Drop;
    /// The source isn't known yet, and the budget that its class has for all newcomers is spent.
    ClassBudget = 41, "class_budget", Drop;
    /// The source sends more packets per second in the class than the class allows one source.
    ClassPackets = 42, "class_packets", Drop;
    /// The source sends more bytes per second in the class than the class allows one source.
    ClassBytes = 43, "class_bytes", Drop;
    /// The network that the source is in sends more packets per second than its limit.
    AggregatePackets = 44, "aggregate_packets", Drop;
    /// The network that the source is in sends more bytes per second than its limit.
    AggregateBytes = 45, "aggregate_bytes", Drop;
    /// A new TCP connection while its class is over its budget: answered with a SYN cookie, and the source shows with its next packet that it is there.
    SynCookie = 46, "syn_cookie", Answer;
    /// A later fragment of a packet whose first fragment was dropped.
    FragmentDropped = 47, "fragment_dropped", Drop;
    /// A newcomer while its class is over its budget: it is remembered, and gets in when it tries again.
    FirstPacket = 48, "first_packet", Drop;
    /// A newcomer that was refused came again sooner than any protocol tries again.
    TooSoon = 49, "too_soon", Drop;
    /// The flow came again in its protocol's time, and the budget that its class has for all that return is spent.
    ReturningBudget = 50, "returning_budget", Drop;
}

impl Reason {
    /// Size of every table indexed by reason; codes stay below it.
    pub const SLOTS: u32 = 64;

    /// The number that crosses the border.
    #[inline(always)]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of a number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.code() == code)
    }

    /// The reason of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.name() == name)
    }

    /// The reason's bit in [`Policy::observe_mask`].
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1u64 << (self as u8)
    }

    /// Whether the parser gave it, or nothing was parsed at all: the packet's source isn't known.
    #[inline(always)]
    pub const fn is_of_parser(self) -> bool {
        let code = self as u8;
        code >= Self::NotIp as u8
            && code <= Self::FragmentOverlap as u8
            && code != Self::SourceUntracked as u8
    }

    /// What happens to a packet with this reason under `policy`.
    ///
    /// Anything but an explicit enforce mode drops nothing, and neither does a reason that the
    /// policy only observes.
    #[inline(always)]
    pub const fn action(self, policy: &Policy) -> Action {
        match self.class() {
            Class::Pass => Action::Pass,
            Class::Drop => self.in_force(policy, Action::Drop),
            Class::Answer => self.in_force(policy, Action::Answer),
        }
    }

    #[inline(always)]
    const fn in_force(self, policy: &Policy, action: Action) -> Action {
        let observed = policy.observe_mask & self.bit() != 0;
        if policy.mode == MODE_ENFORCE && !observed {
            action
        } else {
            Action::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{MODE_OBSERVE, Plain};

    #[test]
    fn codes_are_unique_and_fit_the_counter_table_and_the_mask() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert!(u32::from(a.code()) < Reason::SLOTS);
            assert_eq!(Reason::from_code(a.code()), Some(*a));
            assert_eq!(Reason::from_name(a.name()), Some(*a));
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.name(), b.name());
                assert!(a.code() < b.code(), "codes grow: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn observe_drops_nothing_and_enforce_drops_every_drop_reason() {
        let observe = Policy {
            mode: MODE_OBSERVE,
            ..Policy::ZERO
        };
        let enforce = Policy {
            mode: MODE_ENFORCE,
            ..Policy::ZERO
        };
        for reason in Reason::ALL {
            assert_eq!(reason.action(&observe), Action::Pass, "{reason:?}");
            assert_eq!(
                reason.action(&Policy::ZERO),
                Action::Pass,
                "{reason:?} without a mode"
            );
            let expected = match reason.class() {
                Class::Pass => Action::Pass,
                Class::Drop => Action::Drop,
                Class::Answer => Action::Answer,
            };
            assert_eq!(reason.action(&enforce), expected, "{reason:?}");
        }
    }

    #[test]
    fn reasons_of_the_parser_are_those_before_any_stage() {
        for reason in Reason::ALL {
            let name = reason.name();
            let of_parser = [
                "truncated",
                "malformed",
                "too_deep",
                "fragment",
                "not_ip",
                "policy",
            ]
            .iter()
            .any(|part| name.contains(part))
                && *reason != Reason::FragmentDropped;
            assert_eq!(reason.is_of_parser(), of_parser, "{name}");
        }
    }

    #[test]
    fn an_observed_reason_is_only_counted() {
        let policy = Policy {
            mode: MODE_ENFORCE,
            observe_mask: Reason::RatePackets.bit(),
            ..Policy::ZERO
        };
        assert_eq!(Reason::RatePackets.action(&policy), Action::Pass);
        assert_eq!(Reason::RateBytes.action(&policy), Action::Drop);
    }
}
