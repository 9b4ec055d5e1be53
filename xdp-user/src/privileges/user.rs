//! A user of the daemon's own.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use caps::{CapSet, securebits};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::{Uid, User, chown, setgroups, setresgid, setresuid};

use super::PINS;
use crate::config::Config;
use crate::failure::{Failure, FailureKind};

/// Becomes the user `name` with root's capabilities, for [`super::give_up`] to reduce. Makes and
/// hands over, while it is still root, the directories that the daemon writes to.
///
/// # Errors
/// With a [`Failure`] when there is no such user, when this process is somebody else and not root, or
/// when a directory holds what belongs to others.
pub fn become_user(name: &str, config: &Config) -> Result<()> {
    let user = User::from_name(name)
        .with_context(|| format!("could not look up the user {name}"))?
        .ok_or_else(|| unknown(name))?;
    if Uid::effective() == user.uid {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        let message = format!(
            "only root can become the user {name}: start the daemon as root, or as {name} with the \
             capabilities it needs"
        );
        return Err(Failure::new(FailureKind::Privilege, message).into());
    }
    hand_over(&config.state.directory, 0o700, &user)?;
    if let Some(directory) = config.control.socket.parent() {
        // Who may connect is what the socket's own mode says.
        hand_over(directory, 0o755, &user)?;
    }
    hand_over_pins(&user)?;
    switch(&user).with_context(|| format!("could not become the user {name}"))
}

fn unknown(name: &str) -> Failure {
    let message = format!(
        "there is no user {name}: useradd --system --no-create-home --shell /usr/sbin/nologin \
         {name}, or leave daemon.user out"
    );
    Failure::new(FailureKind::Invalid, message)
}

/// Makes a directory that is missing and gives one that is empty to `user`. One that holds anything
/// must be the user's already: what belongs to others is left alone.
fn hand_over(directory: &Path, mode: u32, user: &User) -> Result<()> {
    let shown = directory.display();
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .with_context(|| format!("could not make {shown}"))?;
    let there =
        std::fs::metadata(directory).with_context(|| format!("could not look at {shown}"))?;
    if there.uid() == user.uid.as_raw() {
        return Ok(());
    }
    let mut entries = std::fs::read_dir(directory)?;
    if entries.next().is_some() {
        let message = format!(
            "{shown} is not the user {0}'s, and not empty: chown -R {0}: {shown} if it is the \
             daemon's alone, else name another directory",
            user.name
        );
        return Err(Failure::new(FailureKind::Privilege, message).into());
    }
    chown(directory, Some(user.uid), Some(user.gid))
        .with_context(|| format!("could not give {shown} to {}", user.name))
}

/// The directory of the pins, where there is a bpffs. Who may enter bpffs itself is the host's
/// choice: systemd mounts it for root alone (mode 0700), so it is opened for passing through, not for
/// listing.
fn hand_over_pins(user: &User) -> Result<()> {
    let pins = Path::new(PINS);
    let Some(bpffs) = pins.parent() else {
        return Ok(());
    };
    if !statfs(bpffs).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    hand_over(pins, 0o700, user)?;
    let mode = std::fs::metadata(bpffs)?.permissions().mode();
    if mode & 0o001 == 0 {
        std::fs::set_permissions(bpffs, Permissions::from_mode(mode & 0o7777 | 0o001))
            .with_context(|| format!("could not let others pass through {}", bpffs.display()))?;
        tracing::info!("{} can be passed through by all users now", bpffs.display());
    }
    Ok(())
}

fn switch(user: &User) -> Result<()> {
    securebits::set_keepcaps(true)?;
    setgroups(&[])?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    // The change of user has emptied the effective set.
    let held = caps::read(None, CapSet::Permitted)?;
    caps::set(None, CapSet::Effective, &held)?;
    securebits::set_keepcaps(false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_told_with_the_way_to_make_it() {
        let error = become_user("no-such-user", &Config::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("useradd --system"), "{text}");
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.kind(), FailureKind::Invalid);
    }

    #[test]
    fn a_directory_that_holds_what_belongs_to_others_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut user = User::from_uid(Uid::effective()).unwrap().unwrap();
        hand_over(directory.path(), 0o700, &user).unwrap();
        std::fs::write(directory.path().join("theirs"), "x").unwrap();
        hand_over(directory.path(), 0o700, &user).unwrap();
        user.uid = Uid::from_raw(user.uid.as_raw() + 1);
        user.name = "somebody".to_owned();
        let error = hand_over(directory.path(), 0o700, &user).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("chown -R somebody:"), "{text}");
        let still = std::fs::metadata(directory.path()).unwrap().uid();
        assert_eq!(still, Uid::effective().as_raw());
    }
}
