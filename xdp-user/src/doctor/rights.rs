//! What the daemon would be allowed, and what it could give up.

use std::path::Path;

use nix::unistd::User;

use super::Finding;
use crate::config::Config;
use crate::host::file;
use crate::privileges;

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![rights()];
    if let Some(name) = &config.daemon.user {
        let found = User::from_name(name.as_str()).ok().flatten();
        findings.push(user(name.as_str(), found.is_some()));
    }
    let modules = file::read(Path::new("/sys/kernel/security/lsm"), 4096).ok();
    findings.push(landlock(modules.as_deref(), config.daemon.restrict_files));
    findings
}

fn rights() -> Finding {
    const CHECK: &str = "rights";
    let missing = match privileges::missing() {
        Ok(missing) => missing,
        Err(error) => {
            return Finding::warn(
                CHECK,
                format!("this process's capabilities can't be read: {error}"),
                "it isn't known whether it could load a program",
                "mount -t proc proc /proc",
            );
        }
    };
    if missing.is_empty() {
        return Finding::ok(CHECK, "all that `run` needs is held");
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Finding::warn(
        CHECK,
        format!("this check runs without {}", names.join(", ")),
        "some of it could not be looked at, and `run` started like this would refuse",
        "sudo xdp-throttle doctor",
    )
}

fn user(name: &str, there: bool) -> Finding {
    const CHECK: &str = "user";
    if there {
        return Finding::ok(CHECK, format!("there is a user {name}"));
    }
    Finding::fail(
        CHECK,
        format!("there is no user {name}"),
        "the daemon is to become that user, and refuses to start",
        format!("useradd --system --no-create-home --shell /usr/sbin/nologin {name}"),
    )
}

/// `modules` is the kernel's list of those that are in force, where it can be read.
fn landlock(modules: Option<&str>, wanted: bool) -> Finding {
    const CHECK: &str = "landlock";
    if !wanted {
        return Finding::ok(CHECK, "not wanted: daemon.restrict_files is false");
    }
    let Some(modules) = modules else {
        return Finding::ok(CHECK, "the kernel's list of security modules can't be read");
    };
    if modules.trim().split(',').any(|module| module == "landlock") {
        return Finding::ok(CHECK, "files can be restricted");
    }
    Finding::warn(
        CHECK,
        format!(
            "not among the kernel's security modules, {}",
            modules.trim()
        ),
        "the daemon can't restrict itself to its own files",
        format!(
            "lsm=landlock,{} on the kernel's command line",
            modules.trim()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_user_that_is_missing_is_told_with_the_way_to_make_it() {
        let text = "[daemon]\nuser = \"no-such-user\"\n";
        let config = Config::parse(text, "test").unwrap().config;
        let findings = look(&config);
        let missing = findings.iter().find(|one| one.check == "user").unwrap();
        assert_eq!(missing.level, Level::Fail);
        assert!(missing.fix.as_ref().unwrap().ends_with("no-such-user"));
        assert_eq!(user("root", true).level, Level::Ok);
        let without = look(&Config::default());
        assert!(without.iter().all(|one| one.check != "user"));
    }

    #[test]
    fn a_kernel_without_landlock_is_told_how_to_have_it() {
        let off = landlock(Some("lockdown,yama\n"), true);
        assert_eq!(off.level, Level::Warn);
        let fix = off.fix.unwrap();
        assert!(fix.starts_with("lsm=landlock,lockdown,yama on"), "{fix}");
        for (modules, wanted) in [
            (Some("yama,landlock"), true),
            (None, true),
            (Some(""), false),
        ] {
            assert_eq!(landlock(modules, wanted).level, Level::Ok);
        }
    }
}
