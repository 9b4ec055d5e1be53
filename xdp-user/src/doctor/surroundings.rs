//! The host around the interfaces: whose packets they are, and how it answers floods itself.

use super::Finding;
use crate::config::{Config, Forwarding};
use crate::domain::IfName;
use crate::host::{self, Aside, HostSnapshot, ProtectedPeers, Reach, SynCookies};

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let names = config
        .interfaces
        .iter()
        .map(|interface| interface.name.clone());
    let names: Vec<IfName> = names.collect();
    let snapshot = HostSnapshot::by_names(&names);
    let mut findings = forwarding(config, &snapshot.asides());
    findings.extend(reach(&snapshot.reach(), &snapshot.protected_peers()));
    match host::tcp_settings() {
        Ok(settings) => findings.push(cookies(settings.syn_cookies)),
        Err(error) => tracing::debug!("{error}"),
    }
    findings
}

fn forwarding(config: &Config, asides: &[Aside]) -> Vec<Finding> {
    const CHECK: &str = "forwarding";
    let ignored = !config.mitigation.enabled || config.mitigation.forwarding == Forwarding::Ignore;
    if asides.is_empty() || ignored {
        return vec![Finding::ok(
            CHECK,
            "service classes decide on every interface",
        )];
    }
    let judged = |aside: &Aside| {
        let told_by_flows = aside.reason.is_told_by_flows();
        if told_by_flows && config.mitigation.forwarding == Forwarding::FlowMemory {
            return Finding::ok(
                CHECK,
                format!(
                    "service classes go by what leaves for {}, and stand aside until that is known: {}",
                    aside.family.title(),
                    aside.reason
                ),
            );
        }
        Finding::warn(
            CHECK,
            format!(
                "service classes decide nothing for {}",
                aside.family.title()
            ),
            aside.reason.to_string(),
            if told_by_flows {
                "where answers leave by the way that their questions come in: `forwarding = \
                 \"flow-memory\"` under [mitigation]; where this host's own services are what counts: \
                 `\"ignore\"`; lists, limits and bans work either way"
            } else {
                "if this host's own services are what counts: `forwarding = \"ignore\"` under \
                 [mitigation]; lists, limits and bans work either way"
            },
        )
    };
    let found = asides.iter().map(|aside| Finding {
        interface: Some(aside.interface.to_string()),
        ..judged(aside)
    });
    found.collect()
}

/// What the packets of each interface reach, and whether the lock-out guard knows who must stay
/// reachable.
fn reach(reach: &[Reach], peers: &ProtectedPeers) -> Vec<Finding> {
    const CHECK: &str = "reach";
    let mut findings = Vec::new();
    for Reach { interface, devices } in reach {
        // One that isn't there is a finding of its own.
        let Ok(devices) = devices else { continue };
        let others: Vec<String> = devices
            .iter()
            .filter(|device| device.name != interface.as_str())
            .map(|device| format!("{} ({})", device.name, device.how))
            .collect();
        if !others.is_empty() {
            let what = format!("its packets reach {}", others.join(", "));
            findings.push(Finding {
                interface: Some(interface.to_string()),
                ..Finding::ok(CHECK, what)
            });
        }
    }
    findings.push(match peers.unknown.first() {
        None => {
            let count = peers.iter().count();
            Finding::ok(
                CHECK,
                format!("{count} addresses and networks are kept from being blocked"),
            )
        }
        Some(first) => Finding::warn(
            CHECK,
            "who must stay reachable could not be found out",
            first,
            "blocks are refused until it can, unless they are forced: look at the cause",
        ),
    });
    findings
}

fn cookies(setting: SynCookies) -> Finding {
    const CHECK: &str = "syn_cookies";
    match setting {
        SynCookies::Off => Finding::warn(
            CHECK,
            "the kernel takes no SYN cookies",
            "newcomers over a budget are refused, where they could be asked for proof",
            "sysctl -w net.ipv4.tcp_syncookies=1",
        ),
        SynCookies::WhenFull | SynCookies::Always => {
            Finding::ok(CHECK, "the kernel takes SYN cookies")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::api::types::Family;
    use crate::host::AsideReason;

    #[test]
    fn a_host_that_forwards_is_told_how_to_have_classes_all_the_same() {
        let aside = Aside {
            interface: "eth0".parse().unwrap(),
            family: Family::Ipv4,
            reason: AsideReason::Ipvs,
        };
        let config = |text: &str| Config::parse(text, "test").unwrap().config;
        let found = forwarding(&config(""), std::slice::from_ref(&aside));
        assert_eq!((found.len(), found[0].level), (1, Level::Warn));
        assert_eq!(found[0].interface.as_deref(), Some("eth0"));
        assert!(found[0].what.ends_with("IPv4"), "{found:?}");
        let forwards = Aside {
            reason: AsideReason::Forwarding {
                device: "eth0".to_owned(),
            },
            ..aside.clone()
        };
        let by_default = forwarding(&config(""), std::slice::from_ref(&forwards));
        assert_eq!(by_default[0].level, Level::Warn, "{by_default:?}");
        let by_flows = config("[mitigation]\nforwarding = \"flow-memory\"\n");
        let told = forwarding(&by_flows, &[forwards]);
        assert_eq!(told[0].level, Level::Ok, "{told:?}");
        assert!(told[0].what.contains("what leaves"), "{told:?}");
        for text in ["forwarding = \"ignore\"", "enabled = false"] {
            let config = config(&format!("[mitigation]\n{text}\n"));
            assert_eq!(
                forwarding(&config, std::slice::from_ref(&aside))[0].level,
                Level::Ok
            );
        }
    }

    #[test]
    fn cookies_that_are_off_are_told() {
        assert_eq!(cookies(SynCookies::Off).level, Level::Warn);
        assert_eq!(cookies(SynCookies::WhenFull).level, Level::Ok);
    }
}
