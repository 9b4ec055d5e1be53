//! Interfaces that go and come back: a driver loaded again, a tunnel set up again.

use anyhow::Result;

use super::Control;
use crate::api::types::{DetachCause, Happening, InterfaceAttached, InterfaceDetached};
use crate::datapath::DatapathError;
use crate::domain::AttachMode;

impl Control {
    /// Notes interfaces that are gone and attaches those that are back. The kernel takes the
    /// program off with the device, and the next device of that name starts without one.
    pub(super) fn watch_interfaces(&mut self) -> Result<()> {
        let (mut changed, mut result) = (false, Ok(()));
        let mut seen: Vec<Happening> = Vec::new();
        for interface in &mut self.interfaces {
            let name = &interface.name;
            if interface.attached.is_some() {
                if self.datapath.is_attached(name) {
                    continue;
                }
                tracing::warn!(interface = %name, "gone: attached again as soon as it is back");
                seen.push(Happening::Detach(InterfaceDetached {
                    interface: name.to_string(),
                    cause: DetachCause::Gone,
                }));
                interface.attached = None;
                changed = true;
                if let Err(error) = self.datapath.detach(name) {
                    tracing::debug!(interface = %name, "nothing to detach: {error}");
                }
            }
            let wanted = self.config.interfaces.iter().find(|one| one.name == *name);
            let mode = wanted.map_or(AttachMode::Auto, |one| one.attach);
            match self.datapath.attach(name, mode) {
                Ok(attached) => {
                    tracing::info!(interface = %name, native = attached.native, "back: attached");
                    let mode = if attached.native { "native" } else { "generic" };
                    seen.push(Happening::Attach(InterfaceAttached {
                        interface: name.to_string(),
                        mode: mode.to_owned(),
                    }));
                    interface.attached = Some(attached);
                    changed = true;
                }
                Err(DatapathError::NoInterface { .. }) => {}
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    result = Err(error.context(format!("could not attach to {name} again")));
                }
            }
        }
        seen.into_iter().for_each(|what| self.note(what));
        if changed {
            self.publish_policy()?;
        }
        result
    }
}
