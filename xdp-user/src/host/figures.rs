//! Everything that was lost before and behind the program, for one answer.

use std::collections::BTreeSet;
use std::path::Path;

use super::lost::{Counters, HostLoss, Place, SynCookieEvent, TIME_SQUEEZES};
use super::{file, link};
use crate::api::types::{HostStatus, InterfaceReceived, NamedCount};
use crate::domain::IfName;

/// A line of 135 bytes for each of the kernel's at most 8192 CPUs, and room.
const FILE_LIMIT: u64 = 2 << 20;

/// Reads the figures, and tells once of each that can't be had.
#[derive(Debug, Default)]
pub struct Reader {
    missing: BTreeSet<String>,
}

impl Reader {
    /// The figures as of now. What can't be read is left out.
    pub fn read<'i>(&mut self, interfaces: impl Iterator<Item = &'i IfName>) -> HostStatus {
        HostStatus {
            interfaces: interfaces.filter_map(|one| self.interface(one)).collect(),
            ..self.counters(Path::new(super::PROC))
        }
    }

    fn interface(&mut self, interface: &IfName) -> Option<InterfaceReceived> {
        let received = match link::received(interface) {
            Ok(received) => received?,
            Err(error) => {
                self.miss(format!("the statistics of {interface}: {error}"));
                return None;
            }
        };
        let lost = received.lost.iter();
        Some(InterfaceReceived {
            name: interface.as_str().to_owned(),
            packets: received.packets,
            bytes: received.bytes,
            lost: lost.map(|(loss, n)| named(loss.name(), *n)).collect(),
            link: received.link,
        })
    }

    fn counters(&mut self, proc: &Path) -> HostStatus {
        let texts = Counters::ALL.map(|file| (file, self.text(proc, file)));
        let get = |(file, key): Place| {
            let (_, text) = texts.iter().find(|(other, _)| *other == file)?;
            file.get(text.as_deref()?, key)
        };
        let lost = HostLoss::ALL.into_iter();
        let cookies = SynCookieEvent::ALL.into_iter();
        HostStatus {
            interfaces: Vec::new(),
            lost: lost
                .filter_map(|loss| Some(named(loss.name(), get(loss.place())?)))
                .collect(),
            syn_cookies: cookies
                .filter_map(|event| Some(named(event.name(), get(event.place())?)))
                .collect(),
            time_squeezes: get(TIME_SQUEEZES),
        }
    }

    fn text(&mut self, proc: &Path, counters: Counters) -> Option<String> {
        // Not /proc/net, which shows the namespace of the process's first thread.
        let path = proc.join("thread-self/net").join(counters.file());
        let read = file::read(&path, FILE_LIMIT);
        if counters == Counters::Snmp6 && !proc.join("sys/net/ipv6").exists() {
            // A kernel without IPv6, or with IPv6 switched off at boot.
            return read.ok();
        }
        read.map_err(|error| self.miss(format!("{}: {error}", path.display())))
            .ok()
    }

    fn miss(&mut self, what: String) {
        if self.missing.insert(what.clone()) {
            tracing::warn!("left out of status and metrics: could not read {what}");
        }
    }
}

fn named(name: &str, count: u64) -> NamedCount {
    NamedCount {
        name: name.to_owned(),
        count,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lost::tests::{NETSTAT, SNMP, SNMP6, SOFTNET};
    use super::*;

    #[test]
    fn a_missing_file_leaves_its_counters_out_with_one_warning() {
        let proc = tempfile::tempdir().unwrap();
        let net = proc.path().join("thread-self/net");
        std::fs::create_dir_all(&net).unwrap();
        for (name, text) in [
            ("softnet_stat", SOFTNET),
            ("snmp", SNMP),
            ("netstat", NETSTAT),
        ] {
            std::fs::write(net.join(name), text).unwrap();
        }
        let mut reader = Reader::default();
        let read = reader.counters(proc.path());
        assert_eq!(read.lost.len(), HostLoss::ALL.len() - 4);
        assert_eq!(read.syn_cookies.len(), SynCookieEvent::ALL.len());
        assert_eq!(read.time_squeezes, Some(0x11));
        assert!(reader.missing.is_empty(), "a kernel without IPv6");
        std::fs::create_dir_all(proc.path().join("sys/net/ipv6")).unwrap();
        for _ in 0..2 {
            reader.counters(proc.path());
            assert_eq!(reader.missing.len(), 1);
            assert!(reader.missing.iter().all(|what| what.contains("snmp6")));
        }
        std::fs::write(net.join("snmp6"), SNMP6).unwrap();
        std::fs::remove_file(net.join("softnet_stat")).unwrap();
        let read = reader.counters(proc.path());
        assert_eq!(read.time_squeezes, None);
        assert_eq!(read.lost.len(), HostLoss::ALL.len() - 1);
    }

    #[test]
    fn an_interface_that_is_not_there_has_no_figures_and_no_warning() {
        let interfaces = ["lo".parse().unwrap(), "absent0".parse().unwrap()];
        let mut reader = Reader::default();
        let read = reader.read(interfaces.iter());
        assert_eq!(read.interfaces.len(), 1);
        assert_eq!(read.interfaces[0].name, "lo");
        assert!(reader.missing.is_empty());
    }
}
