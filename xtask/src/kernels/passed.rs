//! Which kernels have passed already, for a run that goes on where another ended.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::write;
use crate::process;

/// A note in a kernel's directory that it passed, and with what.
pub(super) struct Note {
    path: PathBuf,
    with: String,
}

impl Note {
    /// For a run of these programs in this kernel, which does what the lines say.
    pub(super) fn new(
        dir: &Path,
        programs: &[(String, PathBuf)],
        image: &Path,
        lines: &str,
    ) -> Result<Self> {
        let mut sums = process::command("sha256sum");
        sums.args(programs.iter().map(|(_, path)| path)).arg(image);
        Ok(Self {
            path: dir.join("passed"),
            with: format!("{}{lines}", process::output(&mut sums)?),
        })
    }

    /// Whether such a run passed and none that began since was another.
    pub(super) fn is_there(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|with| with == self.with)
    }

    /// Before a run: nothing is known of it.
    pub(super) fn remove(&self) -> Result<()> {
        write(&self.path, "")
    }

    /// After a run that passed.
    pub(super) fn leave(&self) -> Result<()> {
        write(&self.path, &self.with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_has_passed_until_a_program_the_kernel_or_a_check_is_another() {
        let dir = std::env::temp_dir().join(format!("xtask-passed-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let [program, image] = ["program", "image"].map(|name| dir.join(name));
        fs::write(&program, "1").unwrap();
        fs::write(&image, "2").unwrap();
        let programs = [("program".to_owned(), program.clone())];
        let note = |lines| Note::new(&dir, &programs, &image, lines).unwrap();
        assert!(!note("load").is_there(), "no run");
        note("load").leave().unwrap();
        assert!(note("load").is_there());
        assert!(!note("load, native").is_there(), "other checks");
        fs::write(&image, "3").unwrap();
        assert!(!note("load").is_there(), "another kernel");
        note("load").leave().unwrap();
        fs::write(&program, "4").unwrap();
        assert!(!note("load").is_there(), "another program");
        note("load").leave().unwrap();
        note("load").remove().unwrap();
        assert!(!note("load").is_there(), "a run that has not ended");
        fs::remove_dir_all(&dir).unwrap();
    }
}
