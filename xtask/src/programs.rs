//! The repository's own programs: built with optimisation, and started as root.

use std::{convert::Infallible, env, ffi::OsStr, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{process, workspace};

/// A program by its package and its name.
pub(crate) struct Program {
    package: &'static str,
    name: &'static str,
}

pub(crate) const DAEMON: Program = Program {
    package: "xdp-user",
    name: "xdp-throttle",
};
pub(crate) const SANDBOX: Program = of_tests("sandbox");
pub(crate) const BENCH: Program = of_tests("bench");
pub(crate) const MITIGATION: Program = of_tests("mitigation");
pub(crate) const FUZZ_API: Program = of_tests("fuzz_api");
pub(crate) const PICTURES: Program = of_tests("pictures");

const fn of_tests(name: &'static str) -> Program {
    Program {
        package: "xdp-tests",
        name,
    }
}

impl Program {
    /// Where it lies once it is built.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(workspace::target_dir()?.join("release").join(self.name))
    }

    /// Becomes the program, with root's rights. It starts where the verb was typed: files that are
    /// handed on are meant from there.
    pub(crate) fn start(&self, hand_on: impl FnOnce(&mut Command)) -> Result<Infallible> {
        let mut command = process::as_root(self.path()?)?;
        if let Ok(here) = env::current_dir() {
            command.current_dir(here);
        }
        hand_on(&mut command);
        if !process::is_root()? {
            println!("this needs root: {}", process::display(&command));
        }
        process::become_it(&mut command)
    }
}

/// Builds programs.
pub(crate) fn build(programs: &[Program]) -> Result<()> {
    process::run(&mut building(programs))
}

fn building(programs: &[Program]) -> Command {
    let mut command = process::command(workspace::cargo());
    command.args(["build", "--release"]);
    for Program { package, name } in programs {
        command.args(["--package", package, "--bin", name]);
    }
    command
}

/// Hands a flag on with each value that was typed.
pub(crate) fn values(
    command: &mut Command,
    flag: &str,
    typed: impl IntoIterator<Item: AsRef<OsStr>>,
) {
    for value in typed {
        command.arg(flag).arg(value);
    }
}

/// Hands on the flags that were typed.
pub(crate) fn switches<const N: usize>(command: &mut Command, flags: [(&str, bool); N]) {
    let typed = flags.into_iter().filter(|(_, typed)| *typed);
    command.args(typed.map(|(flag, _)| flag));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_build_makes_all_programs() {
        let text = process::display(&building(&[DAEMON, SANDBOX]));
        let rest = "build --release --package xdp-user --bin xdp-throttle \
                    --package xdp-tests --bin sandbox";
        assert!(text.ends_with(rest), "{text}");
    }

    #[test]
    fn only_what_was_typed_is_handed_on() {
        let mut command = Command::new("program");
        values(&mut command, "--dir", ["a", "b"]);
        values(&mut command, "--json", None::<&str>);
        switches(&mut command, [("--quick", false), ("--strict", true)]);
        let text = process::display(&command);
        assert_eq!(text, "program --dir a --dir b --strict");
    }
}
