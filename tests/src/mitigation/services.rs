//! What the host and the clients' network offer to each other.

use anyhow::Result;

use super::HOST_CPU;
use super::behind::places;
use super::topology::{
    DNS_PORT, Family, GAME_PORT, HTTP_PORT, TLS_PORT, Topology, UDP_PORT, on_clients,
};
use crate::traffic::server::{Server, Service};

/// The bit of a DNS header's third byte that tells an answer from a question (RFC 1035, 4.1.1).
const ANSWER: u8 = 0x80;

/// All of them, running until it is dropped.
pub(super) struct Services(#[allow(dead_code, reason = "only held")] Vec<Server>);

impl Services {
    pub(super) fn start(topology: &Topology) -> Result<Self> {
        let (udp, dns) = (Service::Datagrams(echo), Service::Datagrams(resolve));
        let mut servers = Vec::new();
        let mut start = |namespace, address, service| {
            let server = Server::start(namespace, address, Some(HOST_CPU), service)?;
            servers.push(server);
            anyhow::Ok(())
        };
        for (port, service) in [
            (HTTP_PORT, Service::Page),
            (UDP_PORT, udp),
            (GAME_PORT, udp),
            (DNS_PORT, dns),
        ] {
            for family in [Family::V4, Family::V6] {
                for (is_inside, address) in places(topology.behind.as_ref(), family, port) {
                    let namespace = match is_inside {
                        true => topology.asking(),
                        false => &topology.host,
                    };
                    start(namespace, address, service)?;
                }
            }
        }
        start(&topology.clients, on_clients(DNS_PORT), dns)?;
        start(&topology.clients, on_clients(TLS_PORT), Service::Records)?;
        Ok(Self(servers))
    }
}

fn echo(question: &[u8]) -> Vec<u8> {
    question.to_vec()
}

/// The question with the bit that makes it an answer.
pub(super) fn resolve(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    if let Some(flags) = answer.get_mut(2) {
        *flags |= ANSWER;
    }
    answer
}

/// A question for an address of a name (RFC 1035, section 4), `number` being its identifier.
pub(super) fn question(number: u64) -> Vec<u8> {
    let [.., a, b] = number.to_be_bytes();
    let header = [a, b, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    let name = b"\x03www\x07example\x03com\x00";
    [&header[..], name, &[0, 1, 0, 1]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_question_with_one_bit() {
        let (asked, answer) = (question(0x1234), resolve(&question(0x1234)));
        assert_eq!((asked[0], asked[1], asked[2]), (0x12, 0x34, 0x01));
        assert_eq!(answer[2], 0x81);
        assert_eq!((&asked[3..], asked.len()), (&answer[3..], 12 + 17 + 4));
    }
}
