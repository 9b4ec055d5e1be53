//! What changed since the last look.

use super::{Aside, TcpSettings, asides, tcp_settings};
use crate::domain::IfName;

/// Remembers the host's state between looks.
#[derive(Debug, Default)]
pub struct Watch {
    asides: Vec<Aside>,
    tcp: Option<TcpSettings>,
}

/// The difference between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Reasons that are new.
    pub began: Vec<Aside>,
    /// Reasons that are gone.
    pub ended: Vec<Aside>,
    /// Whether the TCP settings are others.
    pub tcp: bool,
}

impl Change {
    /// Whether all is as it was.
    pub const fn is_empty(&self) -> bool {
        self.began.is_empty() && self.ended.is_empty() && !self.tcp
    }

    /// Says in the log what began and ended; nothing when all is as it was.
    pub fn log(&self) {
        for aside in &self.ended {
            tracing::info!(
                interface = %aside.interface,
                family = %aside.family,
                "no longer a reason to stand aside: {}",
                aside.reason
            );
        }
        for aside in &self.began {
            tracing::warn!(
                interface = %aside.interface,
                family = %aside.family,
                "stands aside, packets without a socket pass: {}",
                aside.reason
            );
        }
    }
}

impl Watch {
    /// Looks at the host: once a second is often enough and cheap. The first look reports all there
    /// is.
    pub fn poll(&mut self, interfaces: &[IfName]) -> Change {
        let tcp = tcp_settings();
        if let Err(error) = &tcp {
            tracing::debug!("{error}: {}", error.source);
        }
        self.note(asides(interfaces), tcp.ok())
    }

    /// Where the program has to stand aside, as of the last look.
    pub fn asides(&self) -> &[Aside] {
        &self.asides
    }

    /// The TCP settings as of the last look; `None` when they can't be read.
    pub const fn tcp(&self) -> Option<TcpSettings> {
        self.tcp
    }

    fn note(&mut self, asides: Vec<Aside>, tcp: Option<TcpSettings>) -> Change {
        let without = |all: &[Aside], known: &[Aside]| {
            let new = all.iter().filter(|aside| !known.contains(aside));
            new.cloned().collect()
        };
        let change = Change {
            began: without(&asides, &self.asides),
            ended: without(&self.asides, &asides),
            tcp: tcp != self.tcp,
        };
        (self.asides, self.tcp) = (asides, tcp);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AsideReason, Family, SynCookies};
    use super::*;

    fn aside(interface: &str, reason: AsideReason) -> Aside {
        Aside {
            interface: interface.parse().unwrap(),
            family: Family::Ipv4,
            reason,
        }
    }

    #[test]
    fn a_watch_tells_what_began_and_what_ended_once() {
        let ipvs = aside("eth0", AsideReason::Ipvs);
        let forwarding = AsideReason::Forwarding {
            device: "eth0".to_owned(),
        };
        let forwarding = aside("eth0", forwarding);
        let mut watch = Watch::default();
        assert!(watch.note(Vec::new(), None).is_empty());
        let change = watch.note(vec![ipvs.clone()], None);
        assert_eq!((change.began, change.ended.len()), (vec![ipvs.clone()], 0));
        assert!(watch.note(vec![ipvs.clone()], None).is_empty());
        let change = watch.note(vec![forwarding.clone()], None);
        assert_eq!(change.began, std::slice::from_ref(&forwarding));
        assert_eq!(change.ended, [ipvs]);
        assert_eq!(watch.asides(), [forwarding]);
    }

    #[test]
    fn other_tcp_settings_are_a_change() {
        let settings = TcpSettings {
            syn_cookies: SynCookies::WhenFull,
            timestamps: true,
        };
        let mut watch = Watch::default();
        let change = watch.note(Vec::new(), Some(settings));
        assert!(change.tcp && !change.is_empty());
        assert!(watch.note(Vec::new(), Some(settings)).is_empty());
        assert_eq!(watch.tcp(), Some(settings));
        assert!(!watch.note(Vec::new(), None).is_empty());
    }
}
