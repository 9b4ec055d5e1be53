//! The loop: keys, answers and signals in, frames out.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

use super::draw::{self, Glyphs};
use super::model::{Change, Effect, Model};
use super::poll::{Poll, poll};
use super::screen::Screen;
use crate::api::client::Client;
use crate::api::types::{ChangeReport, ExplainQuery};
use crate::cli::explain;

/// What came back from the daemon.
enum Answer {
    Polled(Box<Result<Poll, String>>),
    Changed(Change, Result<ChangeReport, String>),
    Explained(IpAddr, Result<String, String>),
}

/// What the loop waits for.
enum Input {
    Terminal(Option<io::Result<Event>>),
    Tick,
    Answer(Result<Answer, JoinError>),
    /// Somebody wants us to end.
    End,
}

/// Shows the daemon until a key or a signal ends it.
pub(super) async fn run(
    client: &Client,
    mut model: Model,
    interval: Duration,
    glyphs: Glyphs,
) -> anyhow::Result<()> {
    // Before the terminal is taken: from then on no signal may end us without giving it back.
    let mut signals = Signals::new()?;
    let mut screen = Screen::take()?;
    let mut keys = EventStream::new();
    let mut work = Work::new(client, interval);
    loop {
        screen.draw(|frame| draw::draw(frame, &model, glyphs, Timestamp::now()))?;
        let input = tokio::select! {
            event = keys.next() => Input::Terminal(event),
            _ = work.tick.tick(), if !work.polling && !model.paused => Input::Tick,
            Some(answer) = work.tasks.join_next() => Input::Answer(answer),
            () = signals.any() => Input::End,
        };
        match input {
            Input::End | Input::Terminal(None) => return Ok(()),
            Input::Terminal(Some(Err(error))) => return Err(error.into()),
            Input::Terminal(Some(Ok(Event::Key(key)))) => match model.pressed(key) {
                Some(Effect::Quit) => return Ok(()),
                Some(effect) => work.begin(effect, &model),
                None => {}
            },
            // A new size: the next frame has it.
            Input::Terminal(Some(Ok(_))) => {}
            Input::Tick => work.begin(Effect::Poll, &model),
            Input::Answer(answer) => work.end(answer, &mut model),
        }
    }
}

/// Requests under way, so that a slow daemon doesn't hold up the keys.
struct Work<'c> {
    client: &'c Client,
    tick: Interval,
    tasks: JoinSet<Answer>,
    polling: bool,
    /// Another poll was wanted while one was under way.
    again: bool,
}

impl<'c> Work<'c> {
    fn new(client: &'c Client, interval: Duration) -> Self {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client,
            tick,
            tasks: JoinSet::new(),
            polling: false,
            again: false,
        }
    }

    fn begin(&mut self, effect: Effect, model: &Model) {
        let client = self.client.clone();
        match effect {
            Effect::Poll if self.polling => self.again = true,
            Effect::Poll => {
                self.polling = true;
                let (sort, matching) = model.asked();
                self.tasks.spawn(async move {
                    Answer::Polled(Box::new(poll(&client, sort, matching).await))
                });
            }
            Effect::Change(change) => {
                self.tasks.spawn(async move {
                    let answer = client.add(change.kind, &change.request()).await;
                    Answer::Changed(change, answer.map_err(|error| error.to_string()))
                });
            }
            Effect::Explain(address) => {
                self.tasks.spawn(async move {
                    let answer = client.explain(&packet_of(address)).await;
                    let text = answer.map(|it| explain::render_why(&it, Timestamp::now()));
                    Answer::Explained(address, text.map_err(|error| error.to_string()))
                });
            }
            Effect::Quit => {}
        }
    }

    fn end(&mut self, answer: Result<Answer, JoinError>, model: &mut Model) {
        match answer {
            Ok(Answer::Polled(answer)) => {
                self.polling = false;
                model.polled(*answer, Timestamp::now());
                // One at a time, and the next an interval after this.
                self.tick.reset();
                if std::mem::take(&mut self.again) {
                    self.begin(Effect::Poll, model);
                }
            }
            Ok(Answer::Changed(change, answer)) => {
                model.changed(change, answer);
                self.begin(Effect::Poll, model);
            }
            Ok(Answer::Explained(address, answer)) => model.explained(address, answer),
            Err(error) => {
                // The terminal was given back when it panicked: end as a panic here would.
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

fn packet_of(address: IpAddr) -> ExplainQuery {
    ExplainQuery {
        address,
        protocol: None,
        port: None,
        flags: None,
        length: None,
        interface: None,
        pppoe: None,
    }
}

/// Those that ask a program to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
