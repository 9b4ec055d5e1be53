//! Roles in `[control]`.

use super::*;

#[test]
fn nobody_but_root_may_do_anything_unless_named() {
    let control = accepted("").control;
    assert!(
        control.viewers.is_empty() && control.operators.is_empty() && control.admins.is_empty()
    );
    let control = accepted(
        "[control]\nviewers = [\"alice\", \"group:netops\"]\noperators = [\"bob\"]\nadmins = [\"eve\"]\n",
    )
    .control;
    let names = |who: &[crate::config::Who]| -> Vec<String> {
        who.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&control.viewers), ["alice", "group:netops"]);
    assert_eq!(names(&control.operators), ["bob"]);
    assert_eq!(names(&control.admins), ["eve"]);
    assert_eq!(
        only_problem("[control]\nadmins = [\"group:\"]\n").key,
        "control.admins[0]"
    );
}

#[test]
fn a_socket_for_everybody_with_nobody_who_may_is_noted() {
    let open = "[control]\nsocket_mode = \"0666\"\n";
    assert_eq!(warnings(open).len(), 1);
    assert_eq!(warnings(&format!("{open}viewers = [\"alice\"]\n")), []);
}
