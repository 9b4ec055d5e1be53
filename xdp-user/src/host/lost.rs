//! What the kernel lost between the program and the sockets, from the counters in `/proc/net`.

/// A file of counters, relative to the directory of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counters {
    /// A line by CPU, numbers in hex (net/core/net-procfs.c, `softnet_seq_show`); of the whole
    /// machine.
    Softnet,
    /// Pairs of lines, names and numbers.
    Snmp,
    /// The same form.
    Netstat,
    /// A name and a number a line.
    Snmp6,
}

impl Counters {
    pub(super) const ALL: [Self; 4] = [Self::Softnet, Self::Snmp, Self::Netstat, Self::Snmp6];

    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Softnet => "softnet_stat",
            Self::Snmp => "snmp",
            Self::Netstat => "netstat",
            Self::Snmp6 => "snmp6",
        }
    }

    /// One counter out of the file's text.
    pub(super) fn get(self, text: &str, key: Key) -> Option<u64> {
        match (self, key) {
            (Self::Softnet, Key::Column(column)) => softnet(text, column),
            (Self::Snmp | Self::Netstat, Key::Named(section, name)) => table(text, section, name),
            (Self::Snmp6, Key::Named(section, name)) => snmp6(text, section, name),
            (Self::Softnet, Key::Named(..))
            | (Self::Snmp | Self::Netstat | Self::Snmp6, Key::Column(_)) => None,
        }
    }
}

/// Where in its file a counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Column of each CPU's line.
    Column(usize),
    /// Section and name: `TcpExt`, `ListenDrops`.
    Named(&'static str, &'static str),
}

pub(super) type Place = (Counters, Key);

const fn netstat(name: &'static str) -> Place {
    (Counters::Netstat, Key::Named("TcpExt", name))
}

const fn udp(name: &'static str) -> Place {
    (Counters::Snmp, Key::Named("Udp", name))
}

const fn udp6(name: &'static str) -> Place {
    (Counters::Snmp6, Key::Named("Udp6", name))
}

/// How often a CPU ended its turn with packets left: no loss, but the way to one.
pub(super) const TIME_SQUEEZES: Place = (Counters::Softnet, Key::Column(2));

/// Where the kernel lost packets behind the program. Some kinds are part of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostLoss {
    /// Backlog of a CPU.
    BacklogFull,
    /// IPv4, before any protocol.
    IpDiscarded,
    /// IPv6, before any protocol.
    Ip6Discarded,
    /// Queue of accepted connections.
    ListenOverflow,
    /// Any reason at a listener.
    ListenDropped,
    /// Queue of half-open connections.
    SynQueueFull,
    /// Buffer of a socket, IPv4.
    UdpBufferFull,
    /// No socket, IPv4.
    UdpNoPort,
    /// Any error, IPv4.
    UdpErrors,
    /// Buffer of a socket, IPv6.
    Udp6BufferFull,
    /// No socket, IPv6.
    Udp6NoPort,
    /// Any error, IPv6.
    Udp6Errors,
}

impl HostLoss {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::BacklogFull,
        Self::IpDiscarded,
        Self::Ip6Discarded,
        Self::ListenOverflow,
        Self::ListenDropped,
        Self::SynQueueFull,
        Self::UdpBufferFull,
        Self::UdpNoPort,
        Self::UdpErrors,
        Self::Udp6BufferFull,
        Self::Udp6NoPort,
        Self::Udp6Errors,
    ];

    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BacklogFull => "backlog_full",
            Self::IpDiscarded => "ip_discarded",
            Self::Ip6Discarded => "ip6_discarded",
            Self::ListenOverflow => "listen_overflow",
            Self::ListenDropped => "listen_dropped",
            Self::SynQueueFull => "syn_queue_full",
            Self::UdpBufferFull => "udp_buffer_full",
            Self::UdpNoPort => "udp_no_port",
            Self::UdpErrors => "udp_errors",
            Self::Udp6BufferFull => "udp6_buffer_full",
            Self::Udp6NoPort => "udp6_no_port",
            Self::Udp6Errors => "udp6_errors",
        }
    }

    /// One sentence about it.
    pub const fn description(self) -> &'static str {
        match self {
            Self::BacklogFull => {
                "A CPU's backlog was full (`softnet_stat`, the whole machine's): raise `net.core.netdev_max_backlog` or spread the packets over more CPUs."
            }
            Self::IpDiscarded => "Good IPv4 packets for which there was no memory.",
            Self::Ip6Discarded => "Good IPv6 packets for which there was no memory.",
            Self::ListenOverflow => {
                "Connections that found a listener's accept queue full: the service accepts too slowly, or its backlog is too short."
            }
            Self::ListenDropped => {
                "Connection requests that a listener dropped for any reason, `listen_overflow` among them."
            }
            Self::SynQueueFull => {
                "Connection requests dropped for a full queue with SYN cookies switched off."
            }
            Self::UdpBufferFull => {
                "Datagrams over IPv4 that found their socket's buffer full: the service reads too slowly."
            }
            Self::UdpNoPort => "Datagrams over IPv4 to a port without a socket.",
            Self::UdpErrors => {
                "Datagrams over IPv4 that could not be delivered, `udp_buffer_full` among them."
            }
            Self::Udp6BufferFull => {
                "Datagrams over IPv6 that found their socket's buffer full: the service reads too slowly."
            }
            Self::Udp6NoPort => "Datagrams over IPv6 to a port without a socket.",
            Self::Udp6Errors => {
                "Datagrams over IPv6 that could not be delivered, `udp6_buffer_full` among them."
            }
        }
    }

    pub(super) const fn place(self) -> Place {
        match self {
            Self::BacklogFull => (Counters::Softnet, Key::Column(1)),
            Self::IpDiscarded => (Counters::Snmp, Key::Named("Ip", "InDiscards")),
            Self::Ip6Discarded => (Counters::Snmp6, Key::Named("Ip6", "InDiscards")),
            Self::ListenOverflow => netstat("ListenOverflows"),
            Self::ListenDropped => netstat("ListenDrops"),
            Self::SynQueueFull => netstat("TCPReqQFullDrop"),
            Self::UdpBufferFull => udp("RcvbufErrors"),
            Self::UdpNoPort => udp("NoPorts"),
            Self::UdpErrors => udp("InErrors"),
            Self::Udp6BufferFull => udp6("RcvbufErrors"),
            Self::Udp6NoPort => udp6("NoPorts"),
            Self::Udp6Errors => udp6("InErrors"),
        }
    }
}

/// What the kernel did with SYN cookies of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynCookieEvent {
    /// Listener's queue full.
    QueueFull,
    /// Cookie sent.
    Sent,
    /// Good cookie.
    Received,
    /// Bad cookie.
    Failed,
}

impl SynCookieEvent {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::Sent, Self::Received, Self::Failed];

    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Failed => "failed",
        }
    }

    /// One sentence about it.
    pub const fn description(self) -> &'static str {
        match self {
            Self::QueueFull => "A listener's queue was full, so that cookies were to be sent.",
            Self::Sent => "A connection request was answered with a cookie.",
            Self::Received => "A cookie came back, and with it a connection.",
            Self::Failed => "An acknowledgement carried no valid cookie.",
        }
    }

    pub(super) const fn place(self) -> Place {
        netstat(match self {
            Self::QueueFull => "TCPReqQFullDoCookies",
            Self::Sent => "SyncookiesSent",
            Self::Received => "SyncookiesRecv",
            Self::Failed => "SyncookiesFailed",
        })
    }
}

/// The sum of a column over all CPUs.
fn softnet(text: &str, column: usize) -> Option<u64> {
    let mut sum = None;
    for line in text.lines() {
        let number = line.split_whitespace().nth(column)?;
        let number = u64::from_str_radix(number, 16).ok()?;
        sum = Some(sum.unwrap_or(0_u64).saturating_add(number));
    }
    sum
}

fn table(text: &str, section: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(of, _)| *of == section)
        .map(|(_, rest)| rest.split_whitespace());
    let (mut names, mut numbers) = (lines.next()?, lines.next()?);
    let place = names.position(|other| other == name)?;
    numbers.nth(place)?.parse().ok()
}

fn snmp6(text: &str, section: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, number) = line.split_once(char::is_whitespace)?;
        let own = key.strip_prefix(section).is_some_and(|rest| rest == name);
        own.then(|| number.trim().parse().ok())?
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two CPUs, as Linux 6.x writes them.
    pub(in crate::host) const SOFTNET: &str = "\
000023b4 00000003 00000010 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
00001000 000000ff 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000 00000000
";
    pub(in crate::host) const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers
Ip: 2 64 9150 0 0 0 0 5 9150
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn
Tcp: 1 200 120000 -1
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 56 6 8 57 7 0 0 0 0
UdpLite: InDatagrams NoPorts InErrors
UdpLite: 0 99 99
";
    pub(in crate::host) const NETSTAT: &str = "\
TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts ListenOverflows ListenDrops TCPReqQFullDoCookies TCPReqQFullDrop
TcpExt: 11 12 13 1 14 15 16 17
IpExt: InNoRoutes InTruncatedPkts
IpExt: 98 99
";
    pub(in crate::host) const SNMP6: &str = "\
Ip6InReceives                   \t1
Ip6InDiscards                   \t21
Icmp6InMsgs                     \t1
Udp6InDatagrams                 \t1
Udp6NoPorts                     \t22
Udp6InErrors                    \t23
Udp6RcvbufErrors                \t24
UdpLite6NoPorts                 \t99
";

    fn read((file, key): Place) -> Option<u64> {
        let text = match file {
            Counters::Softnet => SOFTNET,
            Counters::Snmp => SNMP,
            Counters::Netstat => NETSTAT,
            Counters::Snmp6 => SNMP6,
        };
        file.get(text, key)
    }

    #[test]
    fn every_counter_is_found_in_its_file() {
        let lost = HostLoss::ALL.map(|loss| (loss.name(), read(loss.place()).unwrap()));
        let expected = [
            ("backlog_full", 0x102),
            ("ip_discarded", 5),
            ("ip6_discarded", 21),
            ("listen_overflow", 14),
            ("listen_dropped", 15),
            ("syn_queue_full", 17),
            ("udp_buffer_full", 7),
            ("udp_no_port", 6),
            ("udp_errors", 8),
            ("udp6_buffer_full", 24),
            ("udp6_no_port", 22),
            ("udp6_errors", 23),
        ];
        assert_eq!(lost, expected);
        let cookies = SynCookieEvent::ALL.map(|event| read(event.place()).unwrap());
        assert_eq!(cookies, [16, 11, 12, 13]);
        assert_eq!(read(TIME_SQUEEZES), Some(0x11));
    }

    #[test]
    fn what_a_kernel_does_not_count_is_absent_and_not_zero() {
        assert_eq!(table(NETSTAT, "TcpExt", "Newer"), None);
        assert_eq!(table("TcpExt: A B\nTcpExt: 1\n", "TcpExt", "B"), None);
        assert_eq!(table("TcpExt: A\n", "TcpExt", "A"), None);
        assert_eq!(table(SNMP, "Tcp", "MaxConn"), None);
        assert_eq!(snmp6(SNMP6, "Ip6", "Newer"), None);
        assert_eq!(softnet("", 1), None);
        assert_eq!(softnet("1 2\n3\n", 1), None);
    }
}
