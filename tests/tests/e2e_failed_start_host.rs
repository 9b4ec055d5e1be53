//! A start that the host keeps from its end takes nothing away: a state that can't be read, a full disk, a
//! socket or a port that is taken, a bpffs that is gone or read-only, a program, a map or a link that the
//! kernel refuses. What was protected stays so, without a packet of a blocked source through and without
//! an honest one lost. Interfaces in a start's way are in `e2e_failed_start.rs`.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::mount::{MsFlags, mount};
use xdp_common::abi::ABI_VERSION;
use xdp_tests::daemon::bpffs::Bpffs;
use xdp_tests::daemon::standing::{
    Ending, NEW, Obstacle, Outcome, Standing, sections, usual, with_one_more,
};
use xdp_tests::fault::{Command, Fault};
use xdp_tests::require_kernel;
use xdp_user::state::State;

/// Entries that were added at run time: they are on disk only.
const ENTRIES: usize = 5_000;

/// The usual interfaces, and one that the start attaches anew.
fn one_new() -> String {
    format!("{}{}", sections(&[NEW], ""), usual())
}

fn fails(what: &str) -> Obstacle {
    Obstacle::new(what, one_new())
}

fn meets_all(standing: &mut Standing, obstacles: &[Obstacle]) -> Result<()> {
    for ending in Ending::ALL {
        for obstacle in obstacles {
            standing.meets(ending, obstacle)?;
        }
    }
    Ok(())
}

fn state(standing: &Standing) -> PathBuf {
    standing.daemon.directory().join("state")
}

fn database(standing: &Standing) -> PathBuf {
    state(standing).join("state.sqlite")
}

fn filler(standing: &Standing) -> PathBuf {
    state(standing).join("filler")
}

/// Fills the file system of the state to the last byte.
fn fill(standing: &mut Standing) -> Result<()> {
    let path = filler(standing);
    let host = standing.scene.host.clone();
    let error = host.run(|| -> std::io::Result<()> {
        let mut file = File::create(&path)?;
        loop {
            file.write_all(&[0; 4096])?;
        }
    })?;
    let error = error.err().context("there is no end to its room")?;
    ensure!(error.raw_os_error() == Some(libc::ENOSPC), "{error}");
    Ok(())
}

fn make_room(standing: &mut Standing) -> Result<()> {
    let path = filler(standing);
    Ok(standing.scene.host.run(|| fs::remove_file(path))??)
}

/// Writes over two pages in the middle of the database.
fn damage(standing: &mut Standing) -> Result<()> {
    let (directory, path) = (state(standing), database(standing));
    let host = standing.scene.host.clone();
    host.run(|| -> Result<()> {
        // Whatever is in the write-ahead log goes into the database.
        drop(State::open(&directory)?);
        let file = File::options().write(true).open(&path)?;
        let middle = file.metadata()?.len() / 2 / 4096 * 4096;
        Ok(file.write_all_at(&[0xa5; 8192], middle)?)
    })?
}

/// Entries that are in force, and that there is nothing wrong with the state.
fn entries(standing: &Standing) -> Result<u64> {
    let status = standing.daemon.status()?;
    let of_list = status
        .lists
        .iter()
        .filter(|one| one.name.as_str() == "kept");
    Ok(of_list.map(|one| one.entries).sum())
}

/// Somebody else's socket, which hangs up on whoever calls. Dropped, it is gone.
struct Listening {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    fn at(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let callers = listener.incoming();
            callers
                .take_while(|_| !seen.load(Ordering::Relaxed))
                .for_each(drop);
        });
        Ok(Self {
            path: path.to_owned(),
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It waits for one more caller.
        drop(UnixStream::connect(&self.path));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(fs::remove_file(&self.path));
    }
}

fn small(path: &Path) -> nix::Result<()> {
    let (kind, options) = (Some("tmpfs"), Some("size=8m,mode=0700"));
    mount(kind, path, kind, MsFlags::empty(), options)
}

#[test]
fn a_state_that_can_not_be_used_and_an_address_that_is_taken_cost_nothing() -> Result<()> {
    require_kernel!("a_state_that_can_not_be_used_and_an_address_that_is_taken_cost_nothing");
    let mut standing = Standing::start("", |scene, daemon| {
        let state = daemon.directory().join("state");
        fs::create_dir(&state)?;
        scene.host.run(|| small(&state))?.context("mounting")
    })?;
    let list: String = (0..ENTRIES)
        .map(|n| format!("100.64.{}.{}\n", n / 250, n % 250))
        .collect();
    let import = ["block", "import", "-", "--list", "kept"];
    let imported = standing.daemon.cli_with_input(&import, list.as_bytes())?;
    ensure!(imported.status.success(), "{imported:?}");
    let sound = |standing: &mut Standing| {
        let there = entries(standing)?;
        ensure!(there == ENTRIES as u64, "{there} entries are left");
        Ok(())
    };
    let mut obstacles = vec![
        fails("the state is somebody else's").with(
            |standing| {
                let path = database(standing);
                let host = standing.scene.host.clone();
                host.run(|| {
                    chown(&path, Some(12_345), None)?;
                    fs::set_permissions(&path, Permissions::from_mode(0o400))
                })??;
                Ok(())
            },
            |standing| {
                let path = database(standing);
                let host = standing.scene.host.clone();
                host.run(|| {
                    chown(&path, Some(0), None)?;
                    fs::set_permissions(&path, Permissions::from_mode(0o600))
                })??;
                Ok(())
            },
        ),
        fails("the disk doesn't read").fault(Fault::reads_from(8192)?),
        fails("the disk is full")
            .with(fill, make_room)
            .outcome(Outcome::Starts),
        fails("the socket is another's").with(
            |standing| {
                let path = standing.daemon.socket_path();
                // What a killed daemon left.
                drop(fs::remove_file(&path));
                standing.kept = Some(Box::new(Listening::at(&path)?));
                Ok(())
            },
            |standing| {
                standing.kept = None;
                Ok(())
            },
        ),
        fails("a file is where the socket belongs").with(
            |standing| {
                let path = standing.daemon.socket_path();
                drop(fs::remove_file(&path));
                Ok(fs::write(path, "precious")?)
            },
            |standing| {
                let path = standing.daemon.socket_path();
                ensure!(fs::read_to_string(&path)? == "precious", "overwritten");
                Ok(fs::remove_file(path)?)
            },
        ),
        fails("the metrics port is taken").with(
            |standing| {
                let address = standing.daemon.metrics_address();
                let taken = standing.scene.host.run(|| TcpListener::bind(address))??;
                standing.kept = Some(Box::new(taken));
                Ok(())
            },
            |standing| {
                standing.kept = None;
                Ok(())
            },
        ),
        Obstacle::new("a wrong configuration", format!("{}wrong = 1\n", one_new())),
    ];
    for obstacle in &mut obstacles {
        obstacle.settle = Box::new(sound);
    }
    // Last of each turn, as it costs what was on two pages; that is then imported again.
    obstacles.push(Obstacle {
        settle: Box::new(move |standing| {
            let there = entries(standing)?;
            ensure!(there > ENTRIES as u64 / 2, "{there} entries are left");
            let imported = standing.daemon.cli_with_input(&import, list.as_bytes())?;
            ensure!(imported.status.success(), "{imported:?}");
            sound(standing)
        }),
        ..fails("the state is damaged and the disk full").with(
            |standing| damage(standing).and_then(|()| fill(standing)),
            make_room,
        )
    });
    meets_all(&mut standing, &obstacles)?;
    standing.finish()
}

#[test]
fn what_the_kernel_refuses_costs_nothing() -> Result<()> {
    require_kernel!("what_the_kernel_refuses_costs_nothing");
    let mut standing = Standing::start("", |_, _| Ok(()))?;
    let read_only = |yes| move |standing: &mut Standing| standing.bpffs.read_only(yes);
    let hide = |yes| move |standing: &mut Standing| standing.bpffs.hide(yes);
    let refuses = |what: &str, command, error| -> Result<Obstacle> {
        Ok(fails(what).fault(Fault::bpf(command, error)?))
    };
    let [ours, others] = [ABI_VERSION, ABI_VERSION + 1].map(|version| format!("v{version}"));
    let rename = move |bpffs: &Bpffs, standing: &Standing| -> Result<()> {
        let (from, to) = (bpffs.pins().join(&ours), bpffs.pins().join(&others));
        Ok(standing.scene.host.run(|| fs::rename(from, to))??)
    };
    let obstacles = [
        fails("the bpffs is read-only")
            .with(read_only(true), read_only(false))
            .outcome(Outcome::Starts),
        fails("the bpffs is gone")
            .with(hide(true), hide(false))
            .outcome(Outcome::Starts),
        refuses("the program is refused", Command::ProgramLoad, libc::EACCES)?,
        refuses("a map can't be made", Command::MapCreate, libc::ENOMEM)?,
        refuses("a map takes nothing", Command::MapUpdate, libc::ENOMEM)?,
        refuses("a link can't be made", Command::LinkCreate, libc::EINVAL)?,
        refuses(
            "a link keeps its program",
            Command::LinkUpdate,
            libc::EINVAL,
        )?
        .outcome(Outcome::Starts),
        refuses("what is pinned can't be opened", Command::Get, libc::EIO)?,
        refuses("nothing can be pinned", Command::Pin, libc::ENOSPC)?.outcome(Outcome::Either),
        Obstacle {
            next: Some("refilled"),
            ..Obstacle::new(
                "another border, and an interface is missing",
                with_one_more(2, "absent0", "required = true\n"),
            )
            .with(
                move |standing| rename(&standing.bpffs, standing),
                |_| Ok(()),
            )
        },
    ];
    meets_all(&mut standing, &obstacles)?;
    standing.finish()
}
