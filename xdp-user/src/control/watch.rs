//! Interfaces that go, come, and are renamed: a driver loaded again, a tunnel set up late, a name given
//! by a rule of udev.

use anyhow::Result;

use super::Control;
use super::interfaces::Waiting;
use crate::api::types::{DetachCause, Happening, InterfaceDetached, WaitReason};
use crate::domain::{AttachMode, IfName};

impl Control {
    /// Looks for interfaces that are waited for, several times a second; `changed` when the kernel has
    /// told of a change.
    pub(super) fn look_for_interfaces(&mut self, changed: bool) {
        if !changed && self.interfaces.iter().all(|one| one.waiting.is_none()) {
            return;
        }
        if let Err(error) = self.watch_interfaces() {
            self.complain(format!("{error:#}"));
        }
    }

    /// Notes interfaces that are gone or renamed, and attaches those that can be. The kernel takes the
    /// program off with the device, and the next device of that name starts without one.
    pub(super) fn watch_interfaces(&mut self) -> Result<()> {
        let (mut changed, mut result) = (false, Ok(()));
        let mut seen: Vec<Happening> = Vec::new();
        let mut came: Vec<IfName> = Vec::new();
        for interface in &mut self.interfaces {
            if interface.attached.is_some() {
                if let Some(now) = self.datapath.attached_name(&interface.configured) {
                    if now != interface.name {
                        tracing::warn!(
                            interface = %now,
                            "{} was renamed to {now}, and is protected under this name; the \
                             configuration calls it {}",
                            interface.name,
                            interface.configured
                        );
                        interface.name = now;
                        changed = true;
                    }
                    continue;
                }
                let name = &interface.name;
                tracing::warn!(interface = %name, "gone: attached again as soon as it is back");
                seen.push(Happening::Detach(InterfaceDetached {
                    interface: name.to_string(),
                    cause: DetachCause::Gone,
                }));
                interface.attached = None;
                changed = true;
                if let Err(error) = self.datapath.detach(&interface.configured) {
                    tracing::debug!(interface = %name, "nothing to detach: {error}");
                }
                interface.name = interface.configured.clone();
            }
            let mut wanted = self.config.interfaces.iter();
            let wanted = wanted.find(|one| one.name == interface.configured);
            let mode = wanted.map_or(AttachMode::Auto, |one| one.attach);
            match self.datapath.attach(&interface.configured, mode) {
                Ok(attached) => {
                    let now = self.datapath.attached_name(&interface.configured);
                    interface.name = now.unwrap_or_else(|| interface.configured.clone());
                    interface.attached = Some(attached);
                    interface.waiting = None;
                    came.push(interface.configured.clone());
                    changed = true;
                }
                Err(error) => {
                    let waiting = Waiting::after(&error);
                    if interface.waiting.as_ref() != Some(&waiting) {
                        tracing::info!(interface = %interface.configured, "waited for: {}", waiting.why);
                        changed = true;
                    }
                    if waiting.reason == WaitReason::Refused {
                        let error = anyhow::Error::new(error);
                        let name = &interface.configured;
                        result = Err(error.context(format!("could not attach to {name} again")));
                    }
                    interface.waiting = Some(waiting);
                }
            }
        }
        seen.into_iter().for_each(|what| self.note(what));
        came.iter().for_each(|name| self.note_attached(name));
        if changed {
            self.tell_protection();
            self.publish_policy()?;
        }
        result
    }
}
