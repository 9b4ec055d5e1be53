//! What the daemon may do while it runs: each capability that it keeps is needed, no other is there,
//! in no thread, and everything works with what is left.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use xdp_tests::daemon::scene::{HOST, PEER, Scene, from_v4, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::netns::link::{Attachment, End, veth_pair};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;
use xdp_user::api::types::Status;
use xdp_user::config::Config;
use xdp_user::datapath::kernel::KernelDatapath;
use xdp_user::datapath::{Capacity, Datapath};
use xdp_user::domain::{AttachMode, IfName};
use xdp_user::privileges::KEPT;

const TIMEOUT: Duration = Duration::from_secs(20);
/// A user that every Debian has, and that owns nothing.
const NOBODY: &str = "nobody";
/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF by their bits in linux/capability.h.
const PROMISED: u64 = 1 << 12 | 1 << 38 | 1 << 39;
/// Small limits, so that a few packets make a ban.
const STRICT: &str = "[limits]\npackets = \"5pps\"\npackets_burst = 5\n[ban]\nstrikes = 1\n";

fn start_as(scene: &Scene, user: Option<&str>) -> Result<Daemon> {
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(STRICT))?;
    let path = daemon.config_path();
    let mut arguments = vec![
        "run".to_owned(),
        "--config".into(),
        path.display().to_string(),
    ];
    if let Some(user) = user {
        // The harness has the socket beside everything else of the daemon's.
        let owner = User::from_name(user)?.context("no such user")?;
        chown(daemon.directory(), Some(owner.uid.as_raw()), None)?;
        arguments.extend(["--user".to_owned(), user.to_owned()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    daemon.run(&arguments)?;
    Ok(daemon)
}

/// The status of each thread, as the kernel has it.
fn threads(pid: u32) -> Result<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    let statuses = tasks.map(|task| fs::read_to_string(task?.path().join("status")));
    Ok(statuses.collect::<std::io::Result<_>>()?)
}

fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    Ok(line
        .with_context(|| format!("no {name} in {status}"))?
        .trim())
}

fn assert_reduced(daemon: &Daemon, uid: u32) -> Result<()> {
    assert_holds(daemon.pid().context("not running")?, uid, 0)
}

fn assert_holds(pid: u32, uid: u32, bounding: u64) -> Result<()> {
    let threads = threads(pid)?;
    // The first, the control task and the runtime's.
    ensure!(threads.len() >= 4, "only {} threads", threads.len());
    for status in &threads {
        let set = |name| -> Result<u64> { Ok(u64::from_str_radix(field(status, name)?, 16)?) };
        assert_eq!(set("CapPrm:")?, PROMISED, "{status}");
        assert_eq!(set("CapEff:")?, PROMISED, "{status}");
        assert_eq!(set("CapBnd:")?, bounding, "{status}");
        for name in ["CapInh:", "CapAmb:"] {
            assert_eq!(set(name)?, 0, "{name} of {status}");
        }
        assert_eq!(field(status, "NoNewPrivs:")?, "1", "{status}");
        let ids: BTreeSet<&str> = field(status, "Uid:")?.split_whitespace().collect();
        assert_eq!(ids, BTreeSet::from([uid.to_string().as_str()]), "{status}");
    }
    Ok(())
}

/// A reload that adds an interface, one that comes back, entries, a list, a ban.
fn assert_works(scene: &Scene, daemon: &Daemon, pid: u32) -> Result<()> {
    let blocked = from_v4("203.0.113.7").udp(1, 2);
    daemon.cli_text(&["block", "add", "203.0.113.7"])?;
    assert!(!scene.passes(&blocked)?);
    let list = daemon.directory().join("list.txt");
    fs::write(&list, "198.51.100.0/24\n")?;
    daemon.cli_text(&["block", "import", "--list", "few", &list.to_string_lossy()])?;
    assert!(!scene.passes(&from_v4("198.51.100.9").udp(1, 2))?);

    let flood = from_v4("192.0.2.66").udp(1, 2).build();
    scene.send(vec![flood; 40])?;
    wait_until("a ban", TIMEOUT, || {
        daemon.status().is_ok_and(|status| status.bans > 0)
    })?;

    let ends = (
        End::new(&scene.host, "host1"),
        End::new(&scene.peer, "peer1"),
    );
    veth_pair(ends.0, ends.1, 1500)?;
    daemon.write_config(&protecting(&format!(
        "[[interface]]\nname = \"host1\"\n{STRICT}"
    )))?;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGHUP)?;
    wait_until("the new interface to be attached", TIMEOUT, || {
        scene
            .host
            .xdp_attachment("host1")
            .is_ok_and(|found| found == Attachment::Native)
    })?;

    scene.host.ip(&["link", "del", HOST])?;
    let ends = (End::new(&scene.host, HOST), End::new(&scene.peer, PEER));
    veth_pair(ends.0, ends.1, 1500)?;
    wait_until("the interface that is back to be attached", TIMEOUT, || {
        scene
            .host
            .xdp_attachment(HOST)
            .is_ok_and(|found| found == Attachment::Native)
    })?;
    wait_until("the egress program to be beside it", TIMEOUT, || {
        daemon.status().is_ok_and(|status| {
            let mut interfaces = status.interfaces.iter();
            interfaces.all(|interface| interface.egress.is_some())
        })
    })
}

fn entries(status: &Status) -> u64 {
    status.lists.iter().map(|list| list.entries).sum()
}

#[test]
fn every_thread_holds_three_capabilities_and_everything_works() -> Result<()> {
    require_kernel!("every_thread_holds_three_capabilities_and_everything_works");
    for user in [None, Some(NOBODY)] {
        let scene = Scene::new()?;
        let uid = match user {
            Some(user) => User::from_name(user)?.context("no such user")?.uid.as_raw(),
            None => 0,
        };
        let mut daemon = start_as(&scene, user)?;
        assert_reduced(&daemon, uid)?;
        assert_works(&scene, &daemon, daemon.pid().context("not running")?)?;
        assert_reduced(&daemon, uid)?;

        let status = daemon.status()?;
        let names = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];
        assert_eq!(status.privileges.capabilities, names);
        assert_eq!(status.privileges.user, user.unwrap_or("root"));
        assert!(status.privileges.no_new_privs);
        let kept = (entries(&status), status.bans);
        assert!(kept.0 >= 2 && kept.1 >= 1, "{kept:?}");
        // What was written is found again.
        daemon.terminate()?;
        assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
        let path = daemon.config_path().display().to_string();
        let mut arguments = vec!["run", "--config", &path];
        arguments.extend(user.map(|user| ["--user", user]).iter().flatten());
        daemon.run(&arguments)?;
        assert_eq!(entries(&daemon.status()?), kept.0);
    }
    Ok(())
}

/// A process that is ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// As systemd starts it with `User=` and `AmbientCapabilities=`: the user has no way to empty the
/// bounding set, and what is in it is what is kept.
#[test]
fn a_user_with_ambient_capabilities_needs_no_root() -> Result<()> {
    require_kernel!("a_user_with_ambient_capabilities_needs_no_root");
    let scene = Scene::new()?;
    let daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(STRICT))?;
    let owner = User::from_name(NOBODY)?.context("no such user")?;
    let uid = owner.uid.as_raw();
    // The one that was built may be where others have no way.
    let program = daemon.directory().join("xdp-throttle");
    fs::copy(binary()?, &program)?;
    chown(daemon.directory(), Some(uid), None)?;
    let sets = KEPT.map(|capability| format!("+cap_{}", capability.index()));
    let set = |name: &str| format!("--{name}=-all,{}", sets.join(","));
    let child = scene
        .host
        .command("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={}", owner.gid)])
        .args(["--clear-groups".to_owned(), set("bounding-set")])
        .args([set("inh-caps"), set("ambient-caps")])
        .arg(&program)
        .args(["run", "--config"])
        .arg(daemon.config_path())
        .stdin(Stdio::null())
        .spawn()?;
    let mut running = Running(child);
    wait_until("the daemon to answer", TIMEOUT, || {
        daemon
            .cli(&["status"])
            .is_ok_and(|output| output.status.success())
    })?;
    assert_holds(running.0.id(), uid, PROMISED)?;
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::Native);
    assert_works(&scene, &daemon, running.0.id())?;
    kill(Pid::from_raw(running.0.id().cast_signed()), Signal::SIGTERM)?;
    assert!(running.0.wait()?.success());
    Ok(())
}

#[test]
fn a_state_directory_that_is_missing_is_made_wherever_it_is() -> Result<()> {
    require_kernel!("a_state_directory_that_is_missing_is_made_wherever_it_is");
    let scene = Scene::new()?;
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(""))?;
    let elsewhere = tempfile::tempdir()?;
    let state = elsewhere.path().join("deep/state");
    let path = daemon.config_path();
    let config = fs::read_to_string(&path)?;
    let usual = daemon.directory().join("state").display().to_string();
    ensure!(config.contains(&usual), "no {usual} in {config}");
    fs::write(&path, config.replace(&usual, &state.display().to_string()))?;
    daemon.restart()?;
    daemon.cli_text(&["block", "add", "203.0.113.7"])?;
    daemon.kill9()?;
    daemon.restart()?;
    assert_eq!(entries(&daemon.status()?), 1);
    assert_eq!(fs::metadata(&state)?.permissions().mode() & 0o777, 0o700);
    Ok(())
}

/// The control task reads the file: the restriction holds in threads that were started after it.
#[test]
fn a_reload_reads_what_the_configuration_opened_and_nothing_else() -> Result<()> {
    require_kernel!("a_reload_reads_what_the_configuration_opened_and_nothing_else");
    let scene = Scene::new()?;
    let elsewhere = tempfile::tempdir()?;
    let open = format!("[daemon]\nreadable = [{:?}]\n", elsewhere.path());
    for (rest, readable) in [
        ("", false),
        (&*open, true),
        ("[daemon]\nrestrict_files = false\n", true),
    ] {
        let config = protecting(rest);
        let daemon = Daemon::start(&scene.host, &config)?;
        let privileges = daemon.status()?.privileges;
        let why = privileges.files_why.unwrap_or_default();
        if rest.contains("restrict_files") {
            assert_eq!(privileges.files, "open");
            assert!(why.contains("daemon.restrict_files"), "{why}");
        } else if privileges.files == "open" {
            eprintln!("skipped: {why}");
            return Ok(());
        }
        let moved = elsewhere.path().join("config.toml");
        fs::write(&moved, daemon.whole_config(&config))?;
        fs::remove_file(daemon.config_path())?;
        symlink(&moved, daemon.config_path())?;
        let reload = daemon.cli(&["apply"])?;
        let said = String::from_utf8_lossy(&reload.stderr).into_owned();
        assert_eq!(reload.status.success(), readable, "{rest}: {said}");
        assert_eq!(
            said.contains("ermission denied"),
            !readable,
            "{rest}: {said}"
        );
    }
    Ok(())
}

#[test]
fn nothing_that_the_daemon_makes_is_open_to_others() -> Result<()> {
    require_kernel!("nothing_that_the_daemon_makes_is_open_to_others");
    let scene = Scene::new()?;
    let daemon = start_as(&scene, None)?;
    daemon.cli_text(&["block", "add", "203.0.113.7"])?;
    let mut seen = Vec::new();
    assert_closed(daemon.directory(), &daemon, &mut seen)?;
    for made in [
        "control.sock",
        "state",
        "state/state.sqlite",
        "state/state.sqlite-wal",
    ] {
        assert!(seen.iter().any(|path| path == made), "{made} of {seen:?}");
    }
    Ok(())
}

fn assert_closed(directory: &Path, daemon: &Daemon, seen: &mut Vec<String>) -> Result<()> {
    // What the harness made itself.
    let harness = ["config.toml", "log"];
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let shown = path.strip_prefix(daemon.directory())?.display().to_string();
        if harness.contains(&shown.as_str()) {
            continue;
        }
        let there = fs::symlink_metadata(&path)?;
        let mode = there.permissions().mode() & 0o7777;
        if there.is_dir() {
            assert_eq!(mode, 0o700, "{shown}");
            assert_closed(&path, daemon, seen)?;
        } else {
            assert!(there.is_file() || there.file_type().is_socket(), "{shown}");
            assert_eq!(mode, 0o600, "{shown}");
        }
        seen.push(shown);
    }
    Ok(())
}

/// Loads and attaches with these capabilities, on a thread that holds no others.
fn load_with(scene: &Scene, held: &CapsHashSet) -> Result<Result<(), String>> {
    let small = Capacity {
        sources: 1024,
        bans: 16,
        flows: 4096,
        ..xdp_user::daemon::capacity(&Config::default())
    };
    let interface: IfName = HOST.parse()?;
    scene.host.run(|| -> Result<Result<(), String>> {
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, held)?;
        }
        let work = || -> xdp_user::datapath::Result<()> {
            let mut datapath = KernelDatapath::load(small, 0)?;
            datapath.attach(&interface, AttachMode::Native)?;
            datapath.counters()?;
            datapath.detach(&interface)
        };
        Ok(work().map_err(|error| format!("{:#}", anyhow::Error::new(error))))
    })?
}

#[test]
fn each_capability_that_is_kept_is_needed_and_no_other() -> Result<()> {
    require_kernel!("each_capability_that_is_kept_is_needed_and_no_other");
    let scene = Scene::new()?;
    let all = CapsHashSet::from(KEPT);
    load_with(&scene, &all)?.map_err(anyhow::Error::msg)?;
    for (left_out, words) in [
        (Capability::CAP_BPF, "create the program's maps"),
        (Capability::CAP_NET_ADMIN, "load the program"),
        (Capability::CAP_PERFMON, "load the program"),
    ] {
        let mut held = all.clone();
        held.remove(&left_out);
        let refused = load_with(&scene, &held)?.err();
        let refused = refused.with_context(|| format!("{left_out} isn't needed"))?;
        println!("without {left_out}: {refused}");
        assert!(refused.contains(words), "without {left_out}: {refused}");
        assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
    }
    Ok(())
}

#[test]
fn a_user_that_the_daemon_cannot_become_is_told_with_the_way_out() -> Result<()> {
    require_kernel!("a_user_that_the_daemon_cannot_become_is_told_with_the_way_out");
    let scene = Scene::new()?;
    let daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(""))?;
    let path = daemon.config_path().display().to_string();
    let refused = |user: &str| daemon.refusal(&[], &["run", "--config", &path, "--user", user]);

    let unknown = refused("no-such-user")?;
    assert_eq!(unknown.code, Some(2), "{}", unknown.text);
    assert!(
        unknown.text.contains("useradd --system"),
        "{}",
        unknown.text
    );

    // The directory has the harness's files in it.
    let foreign = refused(NOBODY)?;
    assert_eq!(foreign.code, Some(3), "{}", foreign.text);
    assert!(
        foreign.text.contains("chown -R nobody:"),
        "{}",
        foreign.text
    );
    assert_eq!(fs::metadata(daemon.directory())?.uid(), 0);

    let owner = User::from_name(NOBODY)?.context("no such user")?;
    chown(daemon.directory(), Some(owner.uid.as_raw()), None)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let unreadable = refused(NOBODY)?;
    assert_eq!(unreadable.code, Some(3), "{}", unreadable.text);
    assert!(
        unreadable.text.contains("can't read the configuration"),
        "{}",
        unreadable.text
    );
    assert_eq!(scene.host.xdp_attachment(HOST)?, Attachment::None);
    Ok(())
}
