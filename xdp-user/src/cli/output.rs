//! What goes to standard output.

use std::io::{self, Write};

use serde::Serialize;

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: what the daemon answered.
    Json,
}

impl Output {
    /// Prints `answer` as JSON, or as the text that `render` makes of it.
    pub(crate) fn show<T: Serialize>(
        self,
        answer: &T,
        render: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = match self {
            Self::Table => render(answer),
            Self::Json => serde_json::to_string_pretty(answer)? + "\n",
        };
        print(&text)
    }
}

/// Writes to standard output. Whoever closes it early (`| head`) has seen enough: no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    Ok(write_to(&mut io::stdout().lock(), text.as_bytes())?)
}

/// As [`print`], for output that goes on: whether anybody still reads it.
pub(crate) fn print_on(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_to(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        write_to(&mut writer, b"text").unwrap();
    }

    #[test]
    fn a_full_disk_is_one() {
        let mut full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        write_to(&mut full, b"text").unwrap_err();
    }
}
