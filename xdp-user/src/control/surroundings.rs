//! What of the host around the program the policy depends on. Looked at about once a second.

use anyhow::Result;

use super::classes::Aside;
use super::{Control, policy};
use crate::host::{self, HostSnapshot, ProtectedPeers, SynCookies, Watched};

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where classes stand aside.
    pub asides: Vec<Aside>,
    /// Whether the kernel takes SYN cookies.
    pub syn_cookies: bool,
    /// The largest packet that every protected interface takes.
    pub mtu: u32,
    /// Whose addresses nobody should block.
    pub lifelines: Lifelines,
}

/// Addresses that this host must hear from to stay reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifelines {
    /// None are looked for.
    Nobodys,
    /// Those of the host that this process runs on.
    ThisHosts,
}

impl Lifelines {
    pub(super) fn find(self, interfaces: &[Watched]) -> ProtectedPeers {
        match self {
            Self::Nobodys => ProtectedPeers::default(),
            Self::ThisHosts => HostSnapshot::take(interfaces).protected_peers(),
        }
    }
}

/// Ethernet's.
const USUAL_MTU: u32 = 1500;

impl Default for Seen {
    /// An ordinary host that forwards nothing.
    fn default() -> Self {
        Self {
            asides: Vec::new(),
            syn_cookies: true,
            mtu: USUAL_MTU,
            lifelines: Lifelines::Nobodys,
        }
    }
}

/// Whoever looks.
pub type Look = fn(&[Watched]) -> Seen;

/// Looks at the host that this process runs on.
pub fn look_at_host(interfaces: &[Watched]) -> Seen {
    let snapshot = HostSnapshot::take(interfaces);
    let asides = snapshot.asides().into_iter().map(|aside| Aside {
        interface: aside.interface,
        family: aside.family,
        reason: aside.reason.to_string(),
        told_by_flows: aside.reason.is_told_by_flows(),
    });
    Seen {
        asides: asides.collect(),
        // Without knowing, no cookie is sent that nobody might take.
        syn_cookies: host::tcp_settings().is_ok_and(|tcp| tcp.syn_cookies != SynCookies::Off),
        mtu: snapshot.smallest_mtu().unwrap_or(USUAL_MTU),
        lifelines: Lifelines::ThisHosts,
    }
}

impl Control {
    /// The protected interfaces, with the numbers of those that the program is attached to.
    pub(super) fn watched(&self) -> Vec<Watched> {
        self.interfaces
            .iter()
            .map(|interface| Watched {
                name: interface.name.clone(),
                index: interface.attached.map(|attached| attached.index),
            })
            .collect()
    }

    /// Looks around, and puts a policy in force that fits what is seen.
    pub(super) fn look_around(&mut self) -> Result<()> {
        let Seen {
            asides,
            syn_cookies,
            mtu,
            lifelines,
        } = (self.look)(&self.watched());
        self.lifelines = lifelines;
        if (syn_cookies, mtu) != (self.surroundings.syn_cookies, self.surroundings.mtu) {
            if !syn_cookies {
                tracing::warn!(
                    "the kernel takes no SYN cookies (net.ipv4.tcp_syncookies is 0): newcomers over \
                     a budget are refused"
                );
            }
            self.surroundings = policy::Surroundings { syn_cookies, mtu };
            self.publish_policy()?;
        }
        self.set_asides(asides)
    }
}
