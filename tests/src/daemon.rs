//! The real daemon, started in a [`Namespace`], and its command line.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fault::Fault;
use crate::netns::Namespace;
use crate::wait::wait_for;

mod binary;
pub mod bpffs;
mod directory;
pub mod figures;
pub mod flood;
pub mod outcomes;
pub mod remote;
pub mod scene;
pub mod standing;
pub mod talk;

pub use binary::{BINARY_VARIABLE, binary, choose};

/// Loading a program and filling its tables may take this long on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// A daemon told to end must have ended after this.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running daemon with a directory of its own for config, socket, state and log. Dropped, it is
/// told to end, killed if it doesn't, and its directory removed.
///
/// It is killed when the thread that started it ends (see [`Namespace::command`]).
#[derive(Debug)]
pub struct Daemon {
    namespace: Namespace,
    binary: PathBuf,
    directory: TempDir,
    metrics: SocketAddr,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    fault: Option<Fault>,
}

impl Daemon {
    /// Starts the daemon that is under test with `config`, the text of a config file without
    /// `[control]`, `[state]` and `[metrics]`, which are added; waits until it answers.
    ///
    /// # Errors
    /// When it can't be built, or ends or doesn't answer; then with its log.
    pub fn start(namespace: &Namespace, config: &str) -> Result<Self> {
        Self::start_binary(namespace, &binary()?, config)
    }

    /// As [`Daemon::start`], with the program given.
    ///
    /// # Errors
    /// When it can't be started, or ends or doesn't answer; then with its log.
    pub fn start_binary(namespace: &Namespace, binary: &Path, config: &str) -> Result<Self> {
        let mut daemon = Self::prepare(namespace, binary, config)?;
        daemon.restart()?;
        Ok(daemon)
    }

    /// Everything but the start: for a start that is meant to fail, or with other arguments.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn prepare(namespace: &Namespace, binary: &Path, config: &str) -> Result<Self> {
        let daemon = Self {
            namespace: namespace.clone(),
            binary: binary.to_owned(),
            directory: directory::make()?,
            metrics: SocketAddr::from(([127, 0, 0, 1], 9777)),
            environment: Vec::new(),
            child: None,
            fault: None,
        };
        daemon.write_config(config)?;
        Ok(daemon)
    }

    /// Gives the next starts of the daemon a variable in their environment.
    pub fn with_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the daemon again, with the config file as it is now.
    ///
    /// # Errors
    /// When it is running, can't be started, ends or doesn't answer.
    pub fn restart(&mut self) -> Result<()> {
        let config = self.config_path();
        self.run(&["run", "--config", &config.to_string_lossy()])
    }

    /// Starts the daemon with these arguments and waits until it answers.
    ///
    /// # Errors
    /// When it is running, can't be started, ends or doesn't answer.
    pub fn run(&mut self, arguments: &[&str]) -> Result<()> {
        ensure!(self.child.is_none(), "the daemon is running already");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("cannot make the daemon's log")?;
        let mut command = self.namespace.command(&self.binary);
        if let Some(fault) = self.fault.clone() {
            // SAFETY: it makes system calls only and allocates nothing.
            unsafe { command.pre_exec(move || fault.apply()) };
        }
        let child = command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.child = Some(child);
        self.wait_until_it_answers()
            .with_context(|| format!("the daemon's log:\n{}", self.log()))
    }

    /// Has the daemon meet a fault of the host from its next start on, or none.
    pub fn meet(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }

    /// It listens before it has read its state, so that it may end after either.
    fn wait_until_it_answers(&mut self) -> Result<()> {
        let socket = self.socket_path();
        self.wait_while_it_runs("to listen on its socket", |_| {
            UnixStream::connect(&socket).is_ok()
        })?;
        self.wait_while_it_runs("to answer", |daemon| {
            daemon
                .cli(&["status"])
                .is_ok_and(|output| output.status.success())
        })
    }

    fn wait_while_it_runs(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let what = format!("the daemon {what}");
        let mut child = self.child.take().context("the daemon isn't running")?;
        let ended = wait_for(&what, START_TIMEOUT, || match child.try_wait() {
            Ok(None) => done(self).then_some(None),
            Ok(Some(status)) => Some(Some(status)),
            Err(_) => None,
        });
        match ended {
            Ok(Some(status)) => bail!("the daemon ended at its start, {status}"),
            Ok(None) => self.child = Some(child),
            Err(error) => {
                self.child = Some(child);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the config file; `config` as in [`Daemon::start`].
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_config(&self, config: &str) -> Result<PathBuf> {
        let path = self.config_path();
        fs::write(&path, self.whole_config(config)).context("cannot write the daemon's config")?;
        Ok(path)
    }

    /// A config file's text, from one without `[control]`, `[state]` and `[metrics]`.
    #[must_use]
    pub fn whole_config(&self, config: &str) -> String {
        // What is attached ends with the daemon unless a test is about that.
        let pins = match config.contains("[pins]") {
            true => "",
            false => "[pins]\ndirectory = \"off\"\n",
        };
        format!(
            "{config}\n{pins}[control]\nsocket = {:?}\n\n[state]\ndirectory = {:?}\n\n[metrics]\nlisten = \"{}\"\n",
            self.socket_path(),
            self.directory.path().join("state"),
            self.metrics,
        )
    }

    /// Runs a verb of the command line against this daemon.
    ///
    /// # Errors
    /// When it can't be started; what it answers is the caller's to judge.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)
            .output()
            .with_context(|| format!("cannot run {}", arguments.join(" ")))
    }

    /// A verb of the command line against this daemon, for the caller to run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.namespace.command(&self.binary);
        command
            .arg("--socket")
            .arg(self.socket_path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb that has to succeed, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; then with its standard error.
    pub fn cli_text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.cli(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} failed, {}: {stderr}",
            arguments.join(" "),
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Daemon::cli_text`], with `--output json`, parsed.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.cli_text(&[&["--output", "json"], arguments].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} printed no JSON: {text}", arguments.join(" ")))
    }

    /// The daemon's process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where its figures for Prometheus are, as seen from its namespace.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// The directory that everything of this daemon is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The control socket.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// The config file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it has written to standard output and standard error until now, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Sends a signal to the daemon.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the daemon isn't running")?;
        kill(Pid::from_raw(pid.cast_signed()), signal).context("cannot signal the daemon")
    }

    /// Kills the daemon where it stands (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill9(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait_until_it_ended()?;
        ensure!(
            status.signal() == Some(Signal::SIGKILL as i32),
            "the daemon ended before it was killed, {status}"
        );
        Ok(())
    }

    /// Asks the daemon to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it isn't running or doesn't end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.end_by(Signal::SIGTERM)
    }

    /// Asks the daemon to end by a signal and waits for it.
    ///
    /// # Errors
    /// When it isn't running or doesn't end in time.
    pub fn end_by(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait_until_it_ended()
    }

    fn wait_until_it_ended(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("the daemon isn't running")?;
        let status = wait_for("the daemon to end", STOP_TIMEOUT, || {
            child.try_wait().transpose()
        })??;
        self.child = None;
        Ok(status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_none() || self.terminate().is_ok() {
            return;
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended in this moment, which is as good.
            drop(child.kill().and_then(|()| child.wait()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_kernel;

    #[test]
    fn a_daemon_that_ends_at_its_start_is_told_with_its_log() {
        require_kernel!("a_daemon_that_ends_at_its_start_is_told_with_its_log");
        let namespace = Namespace::new("early").unwrap();
        // `ls run --config FILE` complains of the option.
        let error = Daemon::start_binary(&namespace, Path::new("/bin/ls"), "").unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("--config") && text.contains("ended at its start"),
            "{text}"
        );
    }

    #[test]
    fn everything_of_a_daemon_is_in_its_directory_and_goes_with_it() {
        require_kernel!("everything_of_a_daemon_is_in_its_directory_and_goes_with_it");
        let namespace = Namespace::new("tidy").unwrap();
        let daemon = Daemon::prepare(&namespace, Path::new("/bin/false"), "mode = 1").unwrap();
        let directory = daemon.directory().to_owned();
        let config = fs::read_to_string(daemon.config_path()).unwrap();
        assert!(config.starts_with("mode = 1\n"), "{config}");
        assert_eq!(config.matches(directory.to_str().unwrap()).count(), 2);
        assert!(directory.exists());
        drop(daemon);
        assert!(!directory.exists());
    }
}
