//! Child processes.

use std::{
    convert::Infallible,
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A command that starts at the top of the repository and reads nothing.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// The command, with root's rights: as it is for root, else through sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(command(program));
    }
    if find("sudo").is_none() {
        bail!(
            "{} needs root and there is no sudo here: run this as root",
            program.as_ref().display()
        );
    }
    let mut sudo = command("sudo");
    sudo.arg("-E").arg(program);
    Ok(sudo)
}

/// Runs to the end, its output on ours.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {}", display(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", display(command));
    }
    Ok(())
}

/// Runs to the end and returns the standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {}", display(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}",
            display(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes the command, so that signals reach it and nothing else, and its exit status is ours.
pub(crate) fn become_it(command: &mut Command) -> Result<Infallible> {
    let error = command.stdin(Stdio::inherit()).exec();
    Err(error).with_context(|| format!("starting {}", display(command)))
}

/// The command as one would type it.
pub(crate) fn display(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            // Writing to a String does not fail.
            write!(text, "{}={} ", name.display(), quoted(value)).ok();
        }
    }
    text.push_str(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        write!(text, " {}", quoted(argument)).ok();
    }
    text
}

fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    if text.is_empty() || text.contains([' ', '"', '$']) {
        return format!("'{text}'");
    }
    text.into_owned()
}

/// The program's place in `PATH` or where root's programs are, which a user's `PATH` leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> Result<bool> {
    // The kernel gives the directory to the effective user.
    let of_this_process = fs::metadata("/proc/self").context("reading /proc/self")?;
    Ok(of_this_process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "two words"]).env("CI", "true");
        assert_eq!(display(&command), "CI=true cargo test 'two words'");
    }

    #[test]
    fn a_failing_command_is_named_with_its_message() {
        let error = output(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.ends_with("no"), "{text}");
    }

    #[test]
    fn programs_are_found_where_path_says() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-at-all"), None);
    }
}
