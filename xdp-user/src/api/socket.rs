//! The control socket's file.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Context;

/// Opens the socket with `mode`, in place of one that a dead daemon left behind. Not async: it
/// happens while the daemon still has root's powers.
pub fn listen_blocking(path: &Path, mode: u32) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
    }
    remove_stale(path)?;
    // Nobody may connect between the making of the socket and the setting of its mode.
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(mask);
    let listener = listener
        .with_context(|| format!("could not open the control socket {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("could not set the mode of {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let Ok(there) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    // A path that was mistyped must not cost a file.
    anyhow::ensure!(
        there.file_type().is_socket(),
        "{} is there and is no socket: give control.socket another path",
        path.display()
    );
    // Anything but a refusal comes from somebody who listens, if only too busy to accept.
    let answer = std::os::unix::net::UnixStream::connect(path).err();
    if answer.map(|error| error.kind()) != Some(std::io::ErrorKind::ConnectionRefused) {
        anyhow::bail!(
            "another daemon answers on {}: stop it first, or give this one another socket",
            path.display()
        );
    }
    std::fs::remove_file(path)
        .with_context(|| format!("could not remove the stale socket {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");

        std::fs::write(&path, "precious").unwrap();
        let refused = listen_blocking(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("is no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();

        let first = listen_blocking(&path, 0o640).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let refused = listen_blocking(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("another daemon answers"), "{refused}");
        drop(first);
        listen_blocking(&path, 0o600).unwrap();
    }
}
