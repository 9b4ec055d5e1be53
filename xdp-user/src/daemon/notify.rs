//! Telling a service manager how the daemon is (sd_notify(3), systemd.service(5), `Type=notify`).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent.

use std::time::Duration;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::control::Handle;

/// Every interface that can be is attached, and the socket answers.
pub(super) fn ready(protection: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(protection)]);
}

/// Says what is protected whenever that changes.
pub(super) async fn tell_protection(mut protection: watch::Receiver<String>) {
    while protection.changed().await.is_ok() {
        let line = protection.borrow_and_update().clone();
        tell(&[NotifyState::Status(&line)]);
    }
}

/// A configuration is read again; [`ready`] ends that.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("no clock for the service manager: {error}"),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells the watchdog, twice in the time that it allows, that the control task works: only what that
/// task has answered counts.
pub(super) async fn feed_watchdog(control: Handle) {
    if let Some(allowed) = sd_notify::watchdog_enabled() {
        feed(&control, allowed, || tell(&[NotifyState::Watchdog])).await;
    }
}

async fn feed(control: &Handle, allowed: Duration, mut fed: impl FnMut()) {
    let half = (allowed / 2).max(Duration::from_millis(1));
    let mut ticks = interval(half);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(half, answers(control)).await {
            Ok(Ok(())) => fed(),
            Ok(Err(error)) => tracing::warn!("the watchdog isn't fed: {error:#}"),
            Err(_elapsed) => tracing::warn!("the watchdog isn't fed: the control task is busy"),
        }
    }
}

async fn answers(control: &Handle) -> Result<()> {
    control.call(|_control| Ok(())).await
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager was not told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config::Config;
    use crate::control::{Control, Overrides, Seen};
    use crate::datapath::memory::MemoryDatapath;
    use crate::state::State;

    #[tokio::test]
    async fn a_watchdog_is_fed_by_a_control_task_that_answers_and_by_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::default();
        let datapath = MemoryDatapath::new(crate::daemon::capacity(&config));
        let control = Control::start(
            Box::new(datapath),
            State::open(directory.path()).unwrap(),
            config,
            Overrides::default(),
            String::new(),
            |_| Seen::default(),
        );
        let (handle, _ended) = control.unwrap().spawn().unwrap();
        let allowed = Duration::from_millis(200);
        let (count, mut counted) = tokio::sync::mpsc::unbounded_channel();
        let feeder = tokio::spawn({
            let handle = handle.clone();
            async move { feed(&handle, allowed, || count.send(()).unwrap()).await }
        });
        for _ in 0..3 {
            counted.recv().await.unwrap();
        }

        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let busy = tokio::spawn(async move {
            let hold = move |_: &mut Control| {
                begun.send(()).unwrap();
                Ok(held.recv()?)
            };
            handle.call(hold).await
        });
        has_begun.await.unwrap();
        while counted.try_recv().is_ok() {}
        let hungry = timeout(3 * allowed, counted.recv()).await;
        assert!(hungry.is_err(), "fed by a task that does not answer");

        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        counted.recv().await.unwrap();
        feeder.abort();
    }
}
