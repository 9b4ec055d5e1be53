//! A state directory that is full, can't be written to, or holds a damaged database: each is said,
//! nothing is half done, filtering goes on, and all is well again when the cause has gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::scene::{Scene, from_v4, protecting};
use xdp_tests::daemon::{Daemon, binary};
use xdp_tests::require_kernel;
use xdp_tests::wait::wait_until;

const TIMEOUT: Duration = Duration::from_secs(20);
const LISTED: &str = "203.0.113.7";
const TROUBLE: &str = "takes no changes";

/// Mounts a small file system on a directory, or makes it another size.
fn small(scene: &Scene, directory: &Path, size: &str, flags: MsFlags) -> Result<()> {
    let options = format!("size={size},mode=0700");
    let kind = Some("tmpfs");
    scene
        .host
        .run(|| mount(kind, directory, kind, flags, Some(options.as_str())))?
        .context("mounting a small file system")
}

fn passes(scene: &Scene, source: &str) -> Result<bool> {
    scene.passes(&from_v4(source).udp(1, 2))
}

fn warns(daemon: &Daemon, of: &str) -> bool {
    let warnings = daemon.status().map(|status| status.warnings);
    warnings.is_ok_and(|all| all.iter().any(|one| one.contains(of)))
}

#[test]
fn a_full_disk_refuses_whole_changes_and_takes_them_again_once_there_is_room() -> Result<()> {
    require_kernel!("a_full_disk_refuses_whole_changes_and_takes_them_again_once_there_is_room");
    let scene = Scene::new()?;
    let mut daemon = Daemon::prepare(&scene.host, &binary()?, &protecting(""))?;
    let state = daemon.directory().join("state");
    fs::create_dir(&state)?;
    small(&scene, &state, "256k", MsFlags::empty())?;
    daemon.restart()?;
    daemon.cli_text(&["block", "add", LISTED])?;
    // Not a byte is left, so that the smallest change fails too, until there is room.
    let filler = state.join("filler");
    scene
        .host
        .run(|| fs::write(&filler, vec![0; 1 << 20]))?
        .err()
        .context("it has room for all")?;
    let list: String = (0..20_000)
        .map(|n| format!("100.64.{}.{}\n", n / 250, n % 250))
        .collect();
    let import = ["block", "import", "-", "--list", "large"];
    let refused = daemon.cli_with_input(&import, list.as_bytes())?;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(1),
        "{:?}: {stderr}",
        refused.status
    );
    ensure!(
        stderr.contains("disk is full") && stderr.contains("nothing was changed"),
        "{stderr}"
    );
    wait_until("the warning", TIMEOUT, || warns(&daemon, TROUBLE))?;
    // Neither in memory nor in the kernel, and what was there still is.
    let status = daemon.status()?;
    let entries: u64 = status
        .lists
        .iter()
        .filter(|list| list.name.as_str() == "large")
        .map(|l| l.entries)
        .sum();
    ensure!(entries == 0, "{entries} entries of the refused import");
    ensure!(passes(&scene, "100.64.0.7")?, "the kernel has a part of it");
    ensure!(!passes(&scene, LISTED)?, "no longer filtered");
    small(&scene, &state, "64m", MsFlags::MS_REMOUNT)?;
    wait_until("the end of the warning", TIMEOUT, || {
        !warns(&daemon, TROUBLE)
    })?;
    ensure!(
        daemon
            .cli_with_input(&import, list.as_bytes())?
            .status
            .success(),
        "{}",
        daemon.log()
    );
    ensure!(!passes(&scene, "100.64.0.7")?, "not imported");
    daemon.kill9()?;
    daemon.restart()?;
    ensure!(
        !passes(&scene, "100.64.0.7")? && !passes(&scene, LISTED)?,
        "not on disk"
    );
    Ok(())
}

#[test]
fn a_state_that_can_not_be_written_to_is_said_while_the_last_policy_goes_on() -> Result<()> {
    require_kernel!("a_state_that_can_not_be_written_to_is_said_while_the_last_policy_goes_on");
    let scene = Scene::new()?;
    let bpffs = Bpffs::mount(&scene.host)?;
    let mut daemon = scene.protect(&bpffs.section())?;
    daemon.cli_text(&["block", "add", LISTED])?;
    daemon.kill9()?;
    let database = daemon.directory().join("state/state.sqlite");
    let mode = |bits| fs::set_permissions(&database, Permissions::from_mode(bits));
    // The daemon has given up root's right to write all the same; it may change the mode of its own
    // file, so the directory is somebody else's.
    std::os::unix::fs::chown(&database, Some(12_345), None)?;
    mode(0o400)?;
    let error = daemon.restart().err().context("it started")?;
    let text = format!("{error:#}");
    ensure!(text.contains("could not open the state in"), "{text}");
    ensure!(!passes(&scene, LISTED)?, "the last policy has gone");
    std::os::unix::fs::chown(&database, Some(0), None)?;
    mode(0o600)?;
    daemon.restart()?;
    ensure!(!passes(&scene, LISTED)?, "not restored");
    Ok(())
}

#[test]
fn a_damaged_database_is_kept_and_what_can_be_read_is_in_force() -> Result<()> {
    require_kernel!("a_damaged_database_is_kept_and_what_can_be_read_is_in_force");
    let scene = Scene::new()?;
    let mut daemon = scene.protect("[block]\nprefixes = [\"203.0.113.7\"]\n")?;
    let list: String = (0..20_000)
        .map(|n| format!("100.64.{}.{}\n", n / 250, n % 250))
        .collect();
    let imported = daemon.cli_with_input(&["block", "import", "-"], list.as_bytes())?;
    ensure!(imported.status.success(), "{imported:?}");
    daemon.terminate()?;
    let directory = daemon.directory().join("state");
    let database = directory.join("state.sqlite");
    let mut bytes = fs::read(&database)?;
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(&database, bytes)?;
    daemon.restart()?;
    ensure!(
        warns(&daemon, "was damaged at the start"),
        "{}",
        daemon.log()
    );
    let status = daemon.status()?;
    let entries: u64 = status.lists.iter().map(|list| list.entries).sum();
    ensure!((10_000..20_001).contains(&entries), "{entries} entries");
    ensure!(
        !passes(&scene, "100.64.0.1")? && !passes(&scene, LISTED)?,
        "not in force"
    );
    let kept = fs::read_dir(&directory)?
        .filter_map(Result::ok)
        .any(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("state.sqlite.damaged-")
        });
    ensure!(kept, "the damaged file is gone");
    daemon.cli_text(&["block", "add", "198.51.100.9"])?;
    daemon.terminate()?;
    daemon.restart()?;
    ensure!(!warns(&daemon, "was damaged"), "damaged again");
    ensure!(!passes(&scene, "198.51.100.9")?, "not on disk");
    Ok(())
}
