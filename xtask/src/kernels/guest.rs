//! One run of a virtual machine, and what it reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::process;

/// What a guest reported, complete or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The kernel's own name.
    pub(super) kernel: Option<String>,
    /// Instructions that the verifier went through.
    pub(super) instructions: Option<u64>,
    /// The check that began last.
    pub(super) running: Option<String>,
    /// What each check came to, by its name.
    pub(super) ends: BTreeMap<String, End>,
    /// Messages of checks that failed, in the order they came.
    pub(super) said: Vec<String>,
    /// Whether all was done.
    pub(super) finished: bool,
    /// Checks that nobody asked for.
    pub(super) left_out: BTreeSet<&'static str>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The program's exit status.
    pub(super) status: u32,
    /// Tests that passed, for a suite; else 0.
    pub(super) tests: u32,
    /// How many of these found nothing to do on this kernel.
    pub(super) skipped: u32,
}

/// Boots and waits for the end, or kills the machine when the time is over. What it reports stays beside
/// the console's log, for [`reported`].
pub(super) fn run(
    image: &Path,
    initramfs: &Path,
    console: &Path,
    limit: Duration,
) -> Result<Report> {
    let mut machine = Machine::start(image, initramfs, console)?;
    let lines = machine.lines()?;
    let deadline = Instant::now() + limit;
    let mut report = Report::default();
    let log = report_of(console);
    let mut record = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                println!("  {line}");
                writeln!(record, "{line}").with_context(|| format!("writing {}", log.display()))?;
                report.take(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let at = report.running.as_deref().unwrap_or("its start");
                let over = format!("not finished after {} s, at {at}", limit.as_secs());
                println!("  {over}");
                report.said.push(over);
                return Ok(report);
            }
        }
    }
    if !report.finished {
        let at = report.running.as_deref().unwrap_or("its start");
        let log = console.display();
        report
            .said
            .push(format!("the machine ended at {at}, see {log}"));
    }
    Ok(report)
}

/// What the last run with this console reported.
pub(super) fn reported(console: &Path) -> Result<Report> {
    let log = report_of(console);
    let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let mut report = Report::default();
    text.lines().for_each(|line| report.take(line));
    Ok(report)
}

fn report_of(console: &Path) -> PathBuf {
    console.with_extension("report")
}

impl Report {
    /// A line of the protocol in `init.sh`. The firmware and the kernel may write there, too.
    fn take(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "kernel" => self.kernel = Some(rest.to_owned()),
            "instructions" => self.instructions = rest.parse().ok(),
            "begin" => self.running = Some(rest.to_owned()),
            "said" => self.said.push(rest.to_owned()),
            "end" => {
                if let Some((name, end)) = end(rest) {
                    self.ends.insert(name.to_owned(), end);
                }
            }
            "finished" => self.finished = true,
            _ => {}
        }
    }
}

fn end(text: &str) -> Option<(&str, End)> {
    let mut words = text.split(' ');
    let name = words.next()?;
    let status = words.next()?.parse().ok()?;
    let tests = words.next()?.parse().ok()?;
    let skipped = words.next()?.parse().ok()?;
    let end = End {
        status,
        tests,
        skipped,
    };
    Some((name, end))
}

/// A running QEMU. Dropped, it is killed.
struct Machine(Child);

impl Machine {
    fn start(image: &Path, initramfs: &Path, console: &Path) -> Result<Self> {
        let log = console.display();
        // It ends with us, however we end.
        let mut command = process::command("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        // No hardware support: the same on every machine, and slow enough to show races.
        // Without cmpxchg16b: under QEMU 7.2 the flags were garbage behind one in the kernel's
        // allocator (6.12), which then panicked.
        command.args(["-machine", "q35,accel=tcg", "-cpu", "max,-cx16"]);
        command.args(["-smp", "2", "-m", "2048", "-nic", "none"]);
        command.args(["-display", "none", "-monitor", "none", "-no-reboot"]);
        // The console, then the reports.
        command.args(["-serial", &format!("file:{log}"), "-serial", "stdio"]);
        command
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initramfs);
        let parameters = "console=ttyS0 loglevel=1 panic=-1 mitigations=off";
        command.args(["-append", parameters]);
        let errors = File::create(console.with_extension("qemu"))
            .with_context(|| format!("creating a log beside {log}"))?;
        let child = command
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", process::display(&command)))?;
        Ok(Self(child))
    }

    /// The report's lines as they come; the channel ends with the machine.
    fn lines(&mut self) -> Result<Receiver<String>> {
        let Some(output) = self.0.stdout.take() else {
            bail!("the output of qemu is taken already");
        };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in lines_of(output) {
                // Nobody listens any more after the time is over.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn lines_of(output: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(output)
        .split(b'\n')
        .map_while(std::result::Result::ok)
        .map(|line| String::from_utf8_lossy(&line).trim().to_owned())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_from_the_protocol() {
        let serial = "noise of the firmware\r\nkernel 6.1.0\r\nbegin load\r\ninstructions 1234\r\n\
                      end load 0 0 0\r\nbegin limits\r\nsaid limits failed: a_burst\r\n\
                      end limits 101 7 1\r\nfinished\r\n";
        let mut report = Report::default();
        lines_of(serial.as_bytes()).for_each(|line| report.take(&line));
        let end = |status, tests, skipped| End {
            status,
            tests,
            skipped,
        };
        assert_eq!(
            report,
            Report {
                kernel: Some("6.1.0".into()),
                instructions: Some(1234),
                running: Some("limits".into()),
                ends: [
                    ("load".into(), end(0, 0, 0)),
                    ("limits".into(), end(101, 7, 1))
                ]
                .into(),
                said: vec!["limits failed: a_burst".into()],
                finished: true,
                left_out: BTreeSet::new(),
            }
        );
    }

    #[test]
    fn a_line_cut_short_is_no_end() {
        let mut report = Report::default();
        report.take("end limits 0 7");
        assert_eq!(report, Report::default());
    }
}
