//! Small files of the kernel, read whole and never without bound.

use std::io::{self, Read};
use std::path::Path;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > limit) {
        let error = format!("longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(text)
}

/// Reads a file with one number in it, as sysctls are.
pub(crate) fn read_number(path: &Path) -> io::Result<i64> {
    let text = read(path, 32)?;
    let trimmed = text.trim();
    trimmed.parse().map_err(|_not| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{trimmed:?} is no number"),
        )
    })
}

/// `None` for a file that isn't there.
pub(super) fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_their_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("forwarding");
        std::fs::write(&path, "1\n").unwrap();
        assert_eq!(read(&path, 2).unwrap(), "1\n");
        let error = read(&path, 1).unwrap_err();
        assert_eq!(error.to_string(), "longer than 1 bytes");
        assert_eq!(read_number(&path).unwrap(), 1);
        std::fs::write(&path, "yes\n").unwrap();
        let error = read_number(&path).unwrap_err();
        assert_eq!(error.to_string(), "\"yes\" is no number");
        let absent = directory.path().join("absent");
        assert!(if_there(read(&absent, 1)).unwrap().is_none());
    }
}
