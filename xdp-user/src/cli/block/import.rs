//! `block import`, `allow import`: a list from a file or a pipe.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::api::types::{ImportQuery, ListKind};
use crate::cli::Session;
use crate::cli::change::{self, Tolerance};
use crate::cli::lifetime::Lifetime;
use crate::domain::{JsonPaths, ListFormat, ListName, SetNames, SkipKinds};

/// The daemon's bound for a list's text.
const MAX_BYTES: u64 = 256 << 20;

const CHUNK: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File to read; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// List to import into [default: manual, or those that an export names]
    #[arg(long, value_name = "NAME")]
    list: Option<ListName>,
    /// For how long: 30m, 1h30m, 7d, or a number of seconds; for good if left out, and with -1, 0 and
    /// permanent
    #[arg(long = "for", value_name = "SPAN", allow_negative_numbers = true)]
    ttl: Option<Lifetime>,
    /// Take very wide prefixes, too, those that would cut this host off, and a text that looks wrong
    #[arg(long)]
    force: bool,
    /// Remove what the list holds and the text doesn't; not if the text is empty, mostly no addresses,
    /// or changes more than half of the list
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    reading: Reading,
}

/// How the text is to be read.
#[derive(Debug, Default, clap::Args)]
struct Reading {
    /// Format of the text: plain, csv, range, json, aws, google, cloudflare, spamhaus-json, ipset, nft,
    /// dshield, p2p, ipfilter, hosts-deny, cscli; found out where that is safe if left out
    #[arg(long, value_name = "FORMAT")]
    format: Option<ListFormat>,
    /// Column of a csv or range text, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    column: Option<u16>,
    /// Field of a json text: prefixes[].ip_prefix; several with commas or by giving it again
    #[arg(long, value_name = "PATH")]
    path: Vec<JsonPaths>,
    /// Set of an ipset or nft text; several with commas or by giving it again
    #[arg(long, value_name = "NAME")]
    set: Vec<SetNames>,
    /// Addresses to leave out, several with commas or by giving it again: private, loopback,
    /// link_local, multicast, reserved, documentation, own
    #[arg(long, value_name = "KINDS")]
    skip: Vec<SkipKinds>,
}

impl Args {
    pub(crate) async fn run(self, kind: ListKind, session: &Session) -> anyhow::Result<()> {
        let (text, size) = open(&self.file).await?;
        let progress = progress_bar(size)?;
        let query = ImportQuery {
            list: self.list,
            ttl: self.ttl.and_then(Lifetime::span),
            force: self.force,
            replace: self.replace,
            format: self.reading.format,
            column: self.reading.column,
            path: JsonPaths::together(self.reading.path),
            set: SetNames::together(self.reading.set),
            skip: SkipKinds::together(self.reading.skip),
        };
        let chunks = chunks(text, progress.clone(), MAX_BYTES);
        let answer = session.client.import(kind, &query, chunks).await;
        progress.finish_and_clear();
        change::show(session, &answer?, Tolerance::SomeRefused)
    }
}

type Text = Box<dyn AsyncRead + Send + Unpin>;

/// The text, and its size where that is known.
async fn open(file: &Path) -> anyhow::Result<(Text, Option<u64>)> {
    if file == Path::new("-") {
        if io::stdin().is_terminal() {
            writeln!(
                io::stderr().lock(),
                "reading from the terminal, Ctrl-D ends it"
            )?;
        }
        return Ok((Box::new(tokio::io::stdin()), None));
    }
    let name = file.display();
    let open = tokio::fs::File::open(file).await;
    let open = open.with_context(|| format!("can't read the list {name}"))?;
    let metadata = open.metadata().await?;
    anyhow::ensure!(
        !metadata.is_dir(),
        "can't read the list {name}: it is a directory"
    );
    // A named pipe has no size.
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(open), size))
}

/// Hidden where standard error is no terminal.
fn progress_bar(size: Option<u64>) -> anyhow::Result<ProgressBar> {
    let (progress, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "sending {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} sending {bytes}"),
    };
    progress.set_style(ProgressStyle::with_template(template)?);
    Ok(progress)
}

/// Everything is sent: from here on only the daemon knows.
fn await_daemon(progress: &ProgressBar) -> io::Result<()> {
    let style = ProgressStyle::with_template("{spinner} the daemon applies {bytes} {elapsed}");
    progress.set_style(style.map_err(io::Error::other)?);
    progress.enable_steady_tick(Duration::from_millis(100));
    Ok(())
}

/// The text in chunks; an error once there is more than `max`.
fn chunks(
    text: Text,
    progress: ProgressBar,
    max: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((text, progress, 0u64), move |state| async move {
        let (mut text, progress, sent) = state;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = text.read_buf(&mut chunk).await?;
        if read == 0 {
            await_daemon(&progress)?;
            return Ok(None);
        }
        let sent = sent + read as u64;
        if sent > max {
            let message = format!("the list is larger than {max} bytes: split it");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        progress.set_position(sent);
        Ok(Some((chunk.freeze(), (text, progress, sent))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    async fn collected(text: &'static [u8], max: u64) -> io::Result<(Vec<Bytes>, ProgressBar)> {
        let progress = ProgressBar::hidden();
        let chunks = chunks(Box::new(text), progress.clone(), max);
        Ok((chunks.try_collect().await?, progress))
    }

    #[tokio::test]
    async fn chunks_are_the_whole_text_and_move_the_bar() {
        let text: &'static [u8] = vec![b'x'; 3 * CHUNK + 5].leak();
        let (chunks, progress) = collected(text, MAX_BYTES).await.unwrap();
        assert!(chunks.len() >= 3);
        assert_eq!(chunks.concat(), text);
        assert_eq!(progress.position(), text.len() as u64);
    }

    #[tokio::test]
    async fn a_text_over_the_bound_is_refused() {
        collected(b"12345", 5).await.unwrap();
        let refused = collected(b"123456", 5).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
    }

    #[tokio::test]
    async fn what_cant_be_read_is_named() {
        let absent = open(Path::new("/nonexistent/list")).await.err().unwrap();
        assert!(format!("{absent:#}").contains("/nonexistent/list"));
        let directory = open(Path::new("/")).await.err().unwrap();
        assert!(directory.to_string().contains("directory"), "{directory}");
    }

    #[test]
    fn every_template_is_valid() {
        progress_bar(Some(1)).unwrap();
        let spinner = progress_bar(None).unwrap();
        await_daemon(&spinner).unwrap();
    }
}
