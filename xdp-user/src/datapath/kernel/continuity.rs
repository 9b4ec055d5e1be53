//! Interfaces that stay attached without this process, and what an earlier one left.

use aya::programs::xdp::XdpLinkId;

use super::super::{Attached, Continuity, Result};
use super::link::Link;
use super::{KernelDatapath, attach, failed, variant};
use crate::domain::{AttachMode, IfName};
use crate::host::framing::Framing;

/// What keeps an interface attached.
pub(super) enum Held {
    /// A link of the loader's, which ends with this process.
    Own(XdpLinkId),
    /// A link that is pinned as well.
    Pinned(Link),
}

impl KernelDatapath {
    pub(super) fn attach_and_pin(
        &mut self,
        interface: &IfName,
        mode: AttachMode,
    ) -> Result<(Held, Attached)> {
        let framing = variant::framing_of(interface)?;
        let program = variant::program(&mut self.ebpf, framing)?;
        let held = match &self.pins {
            None => {
                let (link, attached) = attach::attach(program, interface, mode)?;
                (Held::Own(link), attached)
            }
            Some(pins) => {
                let (link, attached) = attach::pinned(program, interface, mode, pins)?;
                (Held::Pinned(link), attached)
            }
        };
        self.note_framing(interface, framing);
        if framing == Framing::Bare {
            tracing::info!(
                %interface,
                "no Ethernet header here: packets are judged from the IP header on; no SYN cookies are \
                 sent, new connections over a class's budget are refused"
            );
        }
        Ok(held)
    }

    pub(super) fn detach_and_unpin(&mut self, interface: &IfName) -> Result<()> {
        let refused = format!("detach {interface}");
        let framing = self.noted_framing(interface);
        self.note_framing(interface, Framing::Ethernet);
        match (self.links.remove(interface), &self.pins) {
            (Some((Held::Own(link), _)), _) => variant::program(&mut self.ebpf, framing)?
                .detach(link)
                .map_err(|e| failed(&refused, e)),
            (Some((Held::Pinned(link), _)), Some(pins)) => {
                pins.forget_link(interface)
                    .map_err(|e| failed(&refused, e))?;
                drop(link);
                Ok(())
            }
            (Some((Held::Pinned(_), _)) | None, _) => Ok(()),
        }
    }

    /// The counter slot that an interface had in the maps that were taken over.
    pub(super) fn counted_slot(&self, interface: &IfName) -> Option<usize> {
        let index = nix::net::if_::if_nametoindex(interface.as_str()).ok()?;
        let held = self.pins.as_ref()?.between(interface).ok()??;
        let mut slots = self.was.iter();
        let slot = slots.position(|was| *was == index && held.0 == index);
        slot.filter(|_| self.continuity == Continuity::TookOver)
    }

    /// Detaches pinned interfaces that are not among these.
    pub(super) fn forget_other_pins(&mut self, kept: &[IfName]) -> Result<Vec<IfName>> {
        let Some(pins) = &self.pins else {
            return Ok(Vec::new());
        };
        let refused = |error| failed("take old pins away", error);
        pins.forget_other_versions().map_err(refused)?;
        let mut others = pins.interfaces().map_err(refused)?;
        others.retain(|name| !kept.contains(name));
        for name in &others {
            pins.forget_link(name).map_err(refused)?;
        }
        Ok(others)
    }

    /// A bpffs that was unmounted takes the pins with it; the links are pinned again once there is one.
    /// Maps are not: the next start fills new ones.
    pub(super) fn watch_pins(&mut self) {
        let Some(pins) = &self.pins else { return };
        let mut trouble = None;
        for (interface, (held, _)) in &self.links {
            let path = pins.link(interface);
            if let Held::Pinned(link) = held
                && !path.exists()
                && let Err(error) = pins.make().and_then(|()| link.pin(&path))
            {
                trouble.get_or_insert(format!(
                    "the pin of {interface} is gone, and no new one can be made ({error}): when the \
                     daemon ends, traffic passes unfiltered"
                ));
            }
        }
        self.pin_trouble = trouble;
    }
}
