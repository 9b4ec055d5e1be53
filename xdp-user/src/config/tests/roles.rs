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

#[test]
fn tcp_is_never_served_in_the_clear() {
    let both = "certificate = \"/etc/c.pem\"\nkey = \"/etc/k.pem\"\n";
    let listen = "listen = \"192.0.2.1:9778\"\n";
    let parse = |text: &str| Config::parse(&format!("[control]\n{text}"), "test");
    let config = parse(&format!("{listen}{both}")).unwrap().config;
    let tcp = config.control.tcp.unwrap();
    assert_eq!(tcp.listen.to_string(), "192.0.2.1:9778");
    assert_eq!(tcp.files.key.to_string_lossy(), "/etc/k.pem");
    for half in [
        "",
        "certificate = \"/etc/c.pem\"\n",
        "key = \"/etc/k.pem\"\n",
    ] {
        let error = parse(&format!("{listen}{half}")).unwrap_err();
        assert_eq!(error.problems[0].key, "control.listen", "{error}");
    }
    let unused = parse(both).unwrap();
    assert_eq!(unused.config.control.tcp, None);
    assert_eq!(unused.warnings.len(), 1, "{:?}", unused.warnings);
}
