//! A configuration that has to be confirmed: without that, the one before comes back by itself, so
//! that nobody stays locked out by what they have just put in force.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::Control;
use crate::api::types::{ApplyReport, Happening, PendingStatus, Reloaded};
use crate::config::{Config, Loaded};
use crate::domain::Span;

/// Longer, and nobody is waiting at the other end.
const MOST: Duration = Duration::from_secs(3600);
const LEAST: Duration = Duration::from_secs(1);

/// The configuration that comes back.
pub(super) struct Pending {
    before: Config,
    path: String,
    deadline: Instant,
}

impl Control {
    /// Whether another configuration may be applied now, for so long until it is confirmed.
    pub(super) fn may_apply(&self, confirm_within: Option<Span>) -> Result<Option<Duration>> {
        if self.pending.is_some() {
            bail!(
                "a configuration waits to be confirmed: `xdp-throttle confirm` or `xdp-throttle \
                 rollback` first"
            );
        }
        let Some(span) = confirm_within else {
            return Ok(None);
        };
        let time = span.as_duration();
        if !(LEAST..=MOST).contains(&time) {
            bail!(
                "a configuration can wait to be confirmed for one second to one hour, not {span}"
            );
        }
        Ok(Some(time))
    }

    /// The configuration now in force waits; `before` comes back unless it is confirmed.
    pub(super) fn await_confirmation(&mut self, before: Config, path: String, time: Duration) {
        tracing::warn!(
            "the configuration in force goes again in {} s unless it is confirmed: `xdp-throttle \
             confirm`",
            time.as_secs()
        );
        self.pending = Some(Pending {
            before,
            path,
            deadline: Instant::now() + time,
        });
    }

    /// Keeps the configuration that waits.
    pub fn confirm(&mut self) -> Result<PendingStatus> {
        match self.pending.take() {
            Some(pending) => {
                tracing::info!("the configuration is confirmed");
                Ok(pending.status())
            }
            None => bail!("no configuration waits to be confirmed"),
        }
    }

    /// Brings the configuration before back, at once.
    pub fn roll_back(&mut self) -> Result<ApplyReport> {
        match self.pending.take() {
            Some(pending) => self.bring_back(pending, "rolled back"),
            None => bail!("no configuration waits to be confirmed, so there is none to go back to"),
        }
    }

    /// Brings it back by itself when nobody has confirmed in time.
    pub(super) fn watch_confirmation(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take_if(|it| it.deadline <= Instant::now()) else {
            return Ok(());
        };
        self.bring_back(pending, "not confirmed in time")
            .map(|_report| ())
    }

    fn bring_back(&mut self, pending: Pending, why: &str) -> Result<ApplyReport> {
        let loaded = Loaded {
            config: pending.before.clone(),
            warnings: Vec::new(),
        };
        let report = match self.put_in_force(loaded) {
            Ok(report) => report,
            Err(error) => {
                // Tried again with the next tick.
                self.pending = Some(pending);
                return Err(error.context("could not bring the configuration of before back"));
            }
        };
        self.reloads.loaded = Timestamp::now();
        tracing::warn!("the configuration of before is in force again: {why}");
        self.note(Happening::Reload(Reloaded {
            path: pending.path,
            changes: report.changes.clone(),
            error: Some(format!(
                "{why}: the configuration of before is in force again"
            )),
        }));
        Ok(report)
    }

    pub(super) fn pending_status(&self) -> Option<PendingStatus> {
        self.pending.as_ref().map(Pending::status)
    }
}

impl Pending {
    fn status(&self) -> PendingStatus {
        PendingStatus {
            path: self.path.clone(),
            seconds_left: self
                .deadline
                .saturating_duration_since(Instant::now())
                .as_secs(),
        }
    }
}
