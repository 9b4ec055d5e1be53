//! A program in a pseudo-terminal, and what it has drawn.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use xdp_tests::wait::{wait_for, wait_until};

/// For what is drawn, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that draws. Dropped, it is killed if it still runs.
pub(crate) struct Terminal {
    /// Our end: keys in.
    keys: File,
    /// Its end, kept open so that the modes can be read after it ended.
    slave: OwnedFd,
    before: Termios,
    drawn: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

impl Terminal {
    /// Starts a program in a terminal of so many rows and columns.
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).context("cannot open a pseudo-terminal")?;
        // What other tests start must not hold it open.
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let before = tcgetattr(&pair.slave)?;
        let child = command
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .stdin(pair.slave.try_clone()?)
            .stdout(pair.slave.try_clone()?)
            .stderr(pair.slave.try_clone()?)
            .spawn()
            .context("cannot start the program in its terminal")?;
        // The command holds copies of the other end, too.
        drop(command);
        let parser = vt100::Parser::new(non_zero(rows)?, non_zero(columns)?, 0);
        let drawn = Arc::new(Mutex::new(parser));
        let (output, into) = (File::from(pair.master.try_clone()?), Arc::clone(&drawn));
        // Ends when the other end is closed.
        thread::spawn(move || read_all(output, &into));
        Ok(Self {
            keys: File::from(pair.master),
            slave: pair.slave,
            before,
            drawn,
            child,
        })
    }

    fn drawn(&self) -> MutexGuard<'_, vt100::Parser> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on the screen, without blanks at the ends of rows.
    pub(crate) fn rows(&self) -> Vec<String> {
        let drawn = self.drawn();
        let (_, columns) = drawn.screen().size();
        let rows = drawn.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect()
    }

    /// Waits until a row is as wanted, and returns it.
    pub(crate) fn wait_for_row(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait_for(what, PATIENCE, || {
            self.rows().into_iter().find(|row| wanted(row))
        })
        .with_context(|| format!("on the screen:\n{}", self.rows().join("\n")))
    }

    /// Types keys.
    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("cannot type")
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).context("cannot signal the program")
    }

    /// Waits until the program has ended.
    pub(crate) fn wait_until_it_ended(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait_for("the program to end", PATIENCE, || {
            child.try_wait().transpose()
        })?
        .context("cannot wait for the program")
    }

    /// Whether the modes are as before the start, the screen is the usual one, and the cursor is
    /// seen again. Only once the program has ended.
    pub(crate) fn assert_as_it_was(&self) -> Result<()> {
        assert_eq!(tcgetattr(&self.slave)?, self.before);
        // What it wrote last may still be on its way.
        wait_until("the usual screen with its cursor", PATIENCE, || {
            let drawn = self.drawn();
            !drawn.screen().alternate_screen() && !drawn.screen().hide_cursor()
        })
    }

    /// Whether it has the alternate screen now.
    pub(crate) fn is_taken(&self) -> bool {
        self.drawn().screen().alternate_screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may have ended in this moment, which is as good.
            drop(self.child.kill().and_then(|()| self.child.wait()));
        }
    }
}

fn non_zero(number: u16) -> Result<NonZeroU16> {
    NonZeroU16::new(number).context("a terminal has at least one row and column")
}

/// Until the other end is closed, which reads as EIO.
fn read_all(mut output: File, into: &Mutex<vt100::Parser>) {
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut part) {
        let mut parser = into.lock().unwrap_or_else(PoisonError::into_inner);
        parser.process(part.get(..length).unwrap_or_default());
    }
}
