//! The section of `status` about the devices that packets reach, and who must stay reachable.

use super::format;
use super::table::{Table, words};
use crate::api::types::ReachStatus;

/// Devices beyond the protected interfaces themselves are shown always, protected peers with `--all`.
pub(super) fn render(reach: &ReachStatus, all: bool) -> String {
    let mut sections = Vec::new();
    let beyond = reach
        .devices
        .iter()
        .filter(|device| all || device.name != device.interface);
    let beyond: Vec<_> = beyond.collect();
    if !beyond.is_empty() {
        let mut devices = Table::new([words("interface"), words("reaches"), words("how")]);
        for device in beyond {
            devices.row([
                device.interface.clone(),
                device.name.clone(),
                device.how.clone(),
            ]);
        }
        sections.push(devices.render());
    }
    if all && !reach.protected.is_empty() {
        let mut peers = Table::new([words("must stay reachable"), words("what it is")]);
        for peer in &reach.protected {
            peers.row([peer.prefix.to_string(), peer.what.clone()]);
        }
        for (count, what) in [
            (reach.more_protected, "more of them"),
            (reach.sessions, "peers of SSH sessions"),
        ] {
            if count > 0 {
                peers.row([format::count(count), what.to_owned()]);
            }
        }
        sections.push(peers.render());
    }
    for what in &reach.unknown {
        sections.push(format!(
            "blocks need --force: {}\n",
            format::printable(what)
        ));
    }
    sections.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{PeerStatus, ReachedStatus};

    fn reach() -> ReachStatus {
        let device = |name: &str, how: &str| ReachedStatus {
            interface: "eth0".into(),
            name: name.into(),
            kind: None,
            how: how.into(),
        };
        ReachStatus {
            devices: vec![
                device("eth0", "protected"),
                device("br0", "bridge that eth0 belongs to"),
            ],
            protected: vec![PeerStatus {
                prefix: "192.0.2.1".parse().unwrap(),
                role: "default_gateway".into(),
                what: "the default gateway of br0".into(),
            }],
            more_protected: 0,
            sessions: 2,
            unknown: vec!["the routes could not be listed".into()],
        }
    }

    #[test]
    fn a_bridge_above_the_interface_is_shown_and_peers_with_all() {
        let text = render(&reach(), false);
        assert!(
            text.contains("br0") && !text.contains("192.0.2.1"),
            "{text}"
        );
        assert!(text.contains("blocks need --force"), "{text}");
        let all = render(&reach(), true);
        for part in ["192.0.2.1", "the default gateway of br0", "peers of SSH"] {
            assert!(all.contains(part), "{all}");
        }
        assert_eq!(render(&ReachStatus::default(), false), "");
    }
}
