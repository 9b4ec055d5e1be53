//! `top`: what goes on, on one screen, as it happens.
//!
//! [`model`] is what is known and shown, [`keys`] and the answers of the daemon change it,
//! [`draw`] shows it, [`live`] joins them to the terminal. [`once`] is the same without one.

mod draw;
mod filter;
mod keys;
mod live;
mod meters;
mod model;
mod once;
mod poll;
mod screen;
mod standing;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use tokio::time::Interval;

use super::Session;
use super::output::Output;
use crate::api::client::Client;
use crate::domain::{Prefix, Span};
use crate::failure::{Failure, FailureKind};
pub use draw::Glyphs;
use model::Model;
use once::Snapshot;
use standing::Sort;

const EXAMPLES: &str = "\
Examples:
  xdp-throttle top
  xdp-throttle top --sort drops --match 203.0.113.0/24
  xdp-throttle top --once --output json --interval 5s | jq '.sources[0]'

Keys:
  up down       select a source (also k and j, PgUp, PgDn, Home, End)
  b  a          ban or allow the selected source for a time; asks first, names what it will do
  e             explain what would happen to a packet of the selected source (also Enter)
  s  S          sort sources by the next column, the one before
  /  Esc        show only sources that begin with 10.1, 10.1.0.0/16 or 2001:db8; show all again
  Tab           reasons of the next interface, Shift-Tab of the one before
  1 2 3 4       overview, only reasons, only classes, only sources
  p  r  w  ?    pause, ask now, warnings, help
  q             quit (also Ctrl-C)

Rates are what was counted between two looks at the daemon. Sources and classes are of all
interfaces together. A ban by hand is an entry of the blocklist that ends by itself; `block list`
shows it, `block del` ends it. Needs a terminal of at least 60x16 characters; curves are drawn with
blocks where the locale says UTF-8.";

/// Watch what happens live, and ban, allow or explain sources
///
/// Rates by reason and class with their recent past, the state of each class, and the sources that
/// send or lose most.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How often to ask the daemon: 200ms to 1h
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = interval)]
    interval: Span,
    /// What to sort sources by, most first: rates, then totals
    #[arg(long, value_name = "COLUMN", value_enum, default_value_t)]
    sort: Sort,
    /// Only sources in this prefix
    #[arg(long = "match", value_name = "PREFIX")]
    matching: Option<Prefix>,
    /// Draw curves with plain characters
    #[arg(long)]
    ascii: bool,
    /// Look twice, an interval apart, print what there is to see, and end
    #[arg(long)]
    once: bool,
    /// Sources that --once prints, at most 400
    #[arg(long, value_name = "N", default_value_t = 20, requires = "once", value_parser = clap::value_parser!(u16).range(1..=400))]
    limit: u16,
}

fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text
        .parse()
        .map_err(|error: crate::domain::SpanError| error.to_string())?;
    let (least, most) = (Span::from_millis(200), Span::from_secs(3600));
    if (least..=most).contains(&span) {
        Ok(span)
    } else {
        Err("use a span from 200ms to 1h".to_owned())
    }
}

impl Args {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        let interval = self.interval.as_duration();
        let model = Model::new(self.sort, self.matching);
        if self.once {
            return once(session, model, interval, self.limit.into()).await;
        }
        if session.output == Output::Json {
            let message = "top draws on a terminal: say --once for a snapshot as JSON";
            return Err(Failure::new(FailureKind::Invalid, message).into());
        }
        let glyphs = match self.ascii {
            true => Glyphs::Ascii,
            false => Glyphs::of_locale(|name| std::env::var(name).ok()),
        };
        live::run(&session.client, model, interval, glyphs).await
    }
}

async fn once(
    session: &Session,
    mut model: Model,
    interval: Duration,
    limit: usize,
) -> anyhow::Result<()> {
    look(
        &session.client,
        &mut model,
        &mut tokio::time::interval(interval),
        2,
    )
    .await?;
    let snapshot = Snapshot::of(&model, limit);
    let snapshot = snapshot.ok_or_else(|| anyhow::anyhow!("the daemon answered nothing"))?;
    session.output.show(&snapshot, Snapshot::render)
}

/// Looks at the daemon so many times, at each tick.
async fn look(
    client: &Client,
    model: &mut Model,
    tick: &mut Interval,
    times: usize,
) -> anyhow::Result<()> {
    for _ in 0..times {
        tick.tick().await;
        let (sort, matching) = model.asked();
        let poll = poll::ask(client, sort, matching).await?;
        model.polled(Ok(poll), Timestamp::now());
    }
    Ok(())
}

/// The view of a running daemon without a terminal, for the pictures of the documentation.
#[derive(Debug)]
pub struct Picture {
    client: Client,
    model: Model,
    tick: Interval,
}

impl Picture {
    /// Of the daemon on `socket`, which is looked at once in each `interval`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no such socket.
    pub fn new(socket: &Path, interval: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(socket)?,
            model: Model::default(),
            tick: tokio::time::interval(interval),
        })
    }

    /// Looks so many times; curves have a value less than looks.
    ///
    /// # Errors
    /// When the daemon doesn't answer.
    pub async fn look(&mut self, times: usize) -> anyhow::Result<()> {
        look(&self.client, &mut self.model, &mut self.tick, times).await
    }

    /// Draws what the last look saw, with the first source selected.
    ///
    /// # Errors
    /// When it can't be drawn.
    pub fn draw(mut self, width: u16, height: u16) -> anyhow::Result<Buffer> {
        self.model.selected = self.model.sources.first().map(|row| row.source);
        let mut terminal = Terminal::new(TestBackend::new(width, height))?;
        let now = Timestamp::now();
        terminal.draw(|frame| draw::draw(frame, &self.model, Glyphs::Unicode, now))?;
        Ok(terminal.backend().buffer().clone())
    }
}

#[cfg(test)]
mod tests;
