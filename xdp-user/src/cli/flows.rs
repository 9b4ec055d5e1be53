//! For `status`: whether what leaves is remembered.

use super::format;
use crate::api::types::{FlowMemoryState, FlowMemoryStatus, InterfaceStatus};

/// Whether the flow memory is complete, and why it isn't.
pub(super) fn standing(memory: &FlowMemoryStatus) -> String {
    let seen = format!(
        "{} left, {} noted",
        format::plural(memory.packets, "packet", "packets"),
        format::count(memory.noted)
    );
    match memory.state {
        FlowMemoryState::Complete => format!("all that leaves is remembered, {seen}"),
        FlowMemoryState::WarmingUp => format!(
            "warming up, complete in {} s, {seen}",
            memory.seconds_left.unwrap_or_default()
        ),
        FlowMemoryState::NotAttached => format!(
            "incomplete: what leaves isn't seen {}",
            format::printable(memory.why.as_deref().unwrap_or_default())
        ),
        FlowMemoryState::Off => "not looked at: mitigation is off".to_owned(),
    }
}

/// The hook at which what leaves by an interface is noted.
pub(super) fn egress(interface: &InterfaceStatus) -> String {
    match (&interface.egress, interface.attached) {
        (Some(hook), _) => hook.clone(),
        (None, true) => "NO".to_owned(),
        (None, false) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn each_standing_is_told_with_what_it_waits_for() {
        let memory = samples::status().flow_memory;
        assert_eq!(
            standing(&memory),
            "all that leaves is remembered, 700,000 packets left, 1,300 noted"
        );
        let other = |state| FlowMemoryStatus {
            state,
            why: Some("on eth0: refused".to_owned()),
            seconds_left: Some(17),
            ..memory.clone()
        };
        for (state, words) in [
            (FlowMemoryState::WarmingUp, "complete in 17 s"),
            (FlowMemoryState::NotAttached, "on eth0: refused"),
            (FlowMemoryState::Off, "mitigation is off"),
        ] {
            let text = standing(&other(state));
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn an_interface_has_its_hook_or_none() {
        let interfaces = samples::status().interfaces;
        let [first, .., waiting] = &interfaces[..] else {
            panic!("{interfaces:?}");
        };
        assert_eq!((egress(first), egress(waiting)), ("tcx".into(), "-".into()));
        let without = InterfaceStatus {
            egress: None,
            ..first.clone()
        };
        assert_eq!(egress(&without), "NO");
    }
}
