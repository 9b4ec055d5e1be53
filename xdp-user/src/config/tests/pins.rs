//! `[pins]`.

use super::*;
use crate::config::OnExit;

#[test]
fn a_policy_is_pinned_and_kept_unless_told_otherwise() {
    let pins = accepted("").pins;
    assert_eq!(pins.directory, Some("/sys/fs/bpf/xdp-throttle".into()));
    assert_eq!(pins.on_exit, OnExit::Keep);
    let pins = accepted("[pins]\ndirectory = \"off\"\non_exit = \"detach\"\n").pins;
    assert_eq!((pins.directory, pins.on_exit), (None, OnExit::Detach));
    let relative = only_problem("[pins]\ndirectory = \"bpf\"\n");
    assert_eq!(relative.key, "pins.directory");
    assert_eq!(
        only_problem("[pins]\non_exit = \"stay\"\n").key,
        "pins.on_exit"
    );
}
