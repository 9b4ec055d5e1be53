//! What `doctor` finds on hosts that were made to lack something, and that it changes nothing.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;
use xdp_tests::daemon::scene::{HOST, Scene, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::Namespace;
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::netns::stranger::{NAME, Stranger};
use xdp_tests::require_kernel;

/// A namespace with the interface `in0`, whose peer `out0` is there too.
fn namespace(name: &str, mtu: u32) -> Result<Namespace> {
    let namespace = Namespace::new(name)?;
    let ends = (End::new(&namespace, "in0"), End::new(&namespace, "out0"));
    veth_pair(ends.0, ends.1, mtu)?;
    Ok(namespace)
}

struct Doctor {
    code: Option<i32>,
    report: Value,
}

impl Doctor {
    fn ask(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::ask_as(namespace, &[], arguments)
    }

    /// `before` is a program with its arguments that starts the rest.
    fn ask_as(namespace: &Namespace, before: &[&str], arguments: &[&str]) -> Result<Self> {
        let binary = binary()?.display().to_string();
        let own = [&*binary, "doctor", "--output", "json"];
        let all = [before, &own, arguments].concat();
        let (program, rest) = all.split_first().context("no program")?;
        let output = namespace
            .command(program)
            .args(rest)
            .stdin(Stdio::null())
            .output()?;
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(Self {
            code: output.status.code(),
            report,
        })
    }

    fn findings(&self, check: &str) -> Vec<&Value> {
        let all = self.report["findings"].as_array();
        let all = all.map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|one| one["check"] == check).collect()
    }

    /// Level, what was found and the fix; there has to be one such finding.
    fn one(&self, check: &str) -> Result<(String, String, String)> {
        let found = self.findings(check);
        anyhow::ensure!(found.len() == 1, "{check}: {found:?} of {}", self.report);
        let text = |key| found[0][key].as_str().unwrap_or_default().to_owned();
        Ok((text("level"), text("what"), text("fix")))
    }

    fn level(&self, check: &str) -> Result<String> {
        Ok(self.one(check)?.0)
    }
}

#[test]
fn a_veth_end_has_nothing_wrong_also_with_large_frames() -> Result<()> {
    require_kernel!("a_veth_end_has_nothing_wrong_also_with_large_frames");
    for mtu in [1500, 9000] {
        let scene = Scene::with_mtu(mtu)?;
        let doctor = Doctor::ask(&scene.host, &["--interface", HOST, "--mode", "native"])?;
        for check in [
            "rights",
            "kernel",
            "bpffs",
            "link",
            "native_xdp",
            "mtu",
            "receive_offload",
            "other_program",
            "forwarding",
            "reach",
        ] {
            assert_eq!(doctor.one(check)?.0, "ok", "{:?}", doctor.one(check)?);
        }
        assert_eq!(doctor.one("mtu")?.1, mtu.to_string());
        // What it says holds.
        let _daemon = Daemon::start(&scene.host, &protecting(""))?;
        assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    }
    Ok(())
}

#[test]
fn a_driver_of_one_page_is_told_that_large_frames_are_too_large() -> Result<()> {
    require_kernel!("a_driver_of_one_page_is_told_that_large_frames_are_too_large");
    let namespace = Namespace::new("tap")?;
    if let Err(error) = namespace.ip(&["tuntap", "add", "dev", "tap0", "mode", "tap"]) {
        eprintln!("skipped: no tap devices here: {error:#}");
        return Ok(());
    }
    namespace.ip(&["link", "set", "dev", "tap0", "mtu", "9000", "up"])?;
    let doctor = Doctor::ask(&namespace, &["--interface", "tap0", "--mode", "native"])?;
    let (level, what, fix) = doctor.one("mtu")?;
    assert_eq!(level, "fail", "{what}");
    assert_eq!(doctor.code, Some(4));
    // The fix is one that can be typed.
    let words: Vec<&str> = fix.split_whitespace().collect();
    assert_eq!(words.first(), Some(&"ip"), "{fix}");
    namespace.ip(&words[1..])?;
    let doctor = Doctor::ask(&namespace, &["--interface", "tap0", "--mode", "native"])?;
    assert_eq!(doctor.level("mtu")?, "ok");
    Ok(())
}

#[test]
fn an_interface_without_native_xdp_warns_or_fails_as_the_mode_asks() -> Result<()> {
    require_kernel!("an_interface_without_native_xdp_warns_or_fails_as_the_mode_asks");
    let namespace = Namespace::new("plain")?;
    namespace.add_bridge("plain0", &[])?;
    for (mode, level) in [("auto", "warn"), ("native", "fail"), ("generic", "ok")] {
        let doctor = Doctor::ask(&namespace, &["--interface", "plain0", "--mode", mode])?;
        assert_eq!(doctor.level("native_xdp")?, level, "{mode}");
    }
    let doctor = Doctor::ask(&namespace, &["--interface", "absent0"])?;
    assert_eq!(doctor.level("interface")?, "fail");
    assert_eq!(doctor.code, Some(4));
    Ok(())
}

#[test]
fn another_program_is_named_with_its_number_and_ours_is_known() -> Result<()> {
    require_kernel!("another_program_is_named_with_its_number_and_ours_is_known");
    let scene = Scene::new()?;
    let stranger = Stranger::attach(&scene.host, HOST)?;
    let id = scene.host.xdp_program(HOST)?.context("not attached")?;
    let doctor = Doctor::ask(&scene.host, &["--interface", HOST])?;
    let (level, what, _) = doctor.one("other_program")?;
    assert_eq!(level, "fail");
    assert!(
        what.contains(NAME) && what.contains(&id.to_string()),
        "{what}"
    );
    assert_eq!(scene.host.xdp_program(HOST)?, Some(id));
    drop(stranger);

    let daemon = scene.protect("")?;
    let doctor = Doctor::ask(&scene.host, &["--interface", HOST])?;
    let (level, what, _) = doctor.one("other_program")?;
    assert_eq!(level, "ok", "{what}");
    assert!(what.starts_with("ours"), "{what}");
    assert!(daemon.pid().is_some());
    Ok(())
}

#[test]
fn fewer_queues_than_cpus_are_told_where_there_could_be_more() -> Result<()> {
    require_kernel!("fewer_queues_than_cpus_are_told_where_there_could_be_more");
    if std::thread::available_parallelism()?.get() < 2 {
        eprintln!("skipped: one CPU needs one queue");
        return Ok(());
    }
    let namespace = Namespace::new("queues")?;
    namespace.ip(&[
        "link",
        "add",
        "in0",
        "numrxqueues",
        "2",
        "numtxqueues",
        "2",
        "type",
        "veth",
        "peer",
        "name",
        "out0",
        "numrxqueues",
        "2",
        "numtxqueues",
        "2",
    ])?;
    let ask = || Doctor::ask(&namespace, &["--interface", "in0"])?.one("queues");
    namespace.use_queues("in0", 2, 2)?;
    assert_eq!(ask()?.0, "ok", "{:?}", ask()?);
    namespace.use_queues("in0", 1, 2)?;
    let (level, what, fix) = ask()?;
    assert_eq!(level, "warn", "{what}");
    assert!(what.starts_with("1 for receiving, 2 are there"), "{what}");
    assert!(fix.contains("ethtool -L in0"), "{fix}");
    Ok(())
}

#[test]
fn a_missing_bpffs_is_told_and_mounted_by_the_fix() -> Result<()> {
    require_kernel!("a_missing_bpffs_is_told_and_mounted_by_the_fix");
    let namespace = namespace("nobpffs", 1500)?;
    namespace.output("umount", &["/sys/fs/bpf"])?;
    let ask = || Doctor::ask(&namespace, &["--interface", "in0"])?.one("bpffs");
    let (level, what, fix) = ask()?;
    assert_eq!(level, "warn", "{what}");
    let words: Vec<&str> = fix.split_whitespace().collect();
    let (program, arguments) = words.split_first().context("no fix")?;
    namespace.output(program, arguments)?;
    assert_eq!(ask()?.0, "ok");
    Ok(())
}

#[test]
fn whom_packets_are_for_is_found() -> Result<()> {
    require_kernel!("whom_packets_are_for_is_found");
    let namespace = namespace("forwards", 1500)?;
    namespace.sysctl("net/ipv4/ip_forward", "1")?;
    namespace.sysctl("net/ipv4/tcp_syncookies", "0")?;
    let doctor = Doctor::ask(&namespace, &["--interface", "in0"])?;
    let (level, what, fix) = doctor.one("forwarding")?;
    assert_eq!(level, "warn");
    assert!(
        what.contains("IPv4") && fix.contains("flow-memory"),
        "{what}: {fix}"
    );
    assert_eq!(doctor.level("syn_cookies")?, "warn");
    assert_eq!(doctor.code, Some(1), "{}", doctor.report);

    // Another way out, by which answers leave unseen.
    namespace.ip(&["route", "add", "default", "dev", "out0"])?;
    let doctor = Doctor::ask(&namespace, &["--interface", "in0"])?;
    let (level, what, fix) = doctor.one("forwarding")?;
    assert_eq!(level, "warn");
    assert!(
        what.contains("IPv4") && fix.contains("ignore"),
        "{what}: {fix}"
    );

    // The kernel can make no bond here everywhere.
    let add = namespace.ip(&["link", "add", "bond0", "type", "bond"]);
    let slave = add.and_then(|_| {
        namespace.ip(&["link", "set", "in0", "down"])?;
        namespace.ip(&["link", "set", "in0", "master", "bond0"])
    });
    match slave {
        Ok(_) => {
            let doctor = Doctor::ask(&namespace, &["--interface", "in0"])?;
            assert!(doctor.one("master")?.1.contains("bond0"));
        }
        Err(error) => eprintln!("skipped the bond: {error:#}"),
    }
    Ok(())
}

#[test]
fn without_rights_it_says_what_is_missing_and_looks_on() -> Result<()> {
    require_kernel!("without_rights_it_says_what_is_missing_and_looks_on");
    let namespace = namespace("unprivileged", 1500)?;
    let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let doctor = Doctor::ask_as(&namespace, &bare, &["--interface", "in0"])?;
    let (level, what, _) = doctor.one("rights")?;
    assert_eq!(level, "warn");
    for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(what.contains(name), "{what}");
    }
    assert_eq!(doctor.level("native_xdp")?, "ok");
    Ok(())
}

#[test]
fn it_changes_nothing() -> Result<()> {
    require_kernel!("it_changes_nothing");
    let namespace = namespace("untouched", 1500)?;
    let state = || -> Result<[String; 3]> {
        Ok([
            namespace.ip(&["-details", "link", "show"])?,
            namespace.output("find", &["/sys/fs/bpf"])?,
            namespace.read("/proc/sys/net/ipv4/tcp_syncookies")?,
        ])
    };
    let before = state()?;
    Doctor::ask(&namespace, &["--interface", "in0", "--all"])?;
    assert_eq!(state()?, before);
    Ok(())
}
