//! When lists are fetched: away from the control task, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Fetched, Job, work};
use crate::control::Handle;

/// Fetches at a time.
const AT_ONCE: usize = 2;
const TICK: Duration = Duration::from_secs(1);

/// Looks after every list, for good.
pub async fn keep(control: Handle) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while running.try_join_next().is_some() {}
        let due = control.call(|control| Ok(control.due_feeds(Timestamp::now())));
        let jobs = match due.await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::debug!("lists wait: {error:#}");
                continue;
            }
        };
        for job in jobs {
            let (control, places) = (control.clone(), places.clone());
            running.spawn(async move {
                let Ok(_place) = places.acquire().await else {
                    return;
                };
                if let Err(error) = run(&control, job).await {
                    tracing::warn!("a list was not refreshed: {error:#}");
                }
            });
        }
    }
}

/// One refresh, from the fetch to the copy on disk.
pub async fn run(control: &Handle, job: Job) -> Result<()> {
    let (list, directory) = (job.list.clone(), job.directory.clone());
    let fetched = work(job).await;
    let to_keep = match &fetched {
        Ok(Fetched::Text(parsed)) => parsed.file.clone().map(|part| (part, parsed.meta.clone())),
        Ok(Fetched::Unchanged) | Err(_) => None,
    };
    let name = list.name.clone();
    let done = control.call(move |control| Ok(control.feed_done(&list, fetched)));
    let (true, Some((part, meta))) = (done.await?, to_keep) else {
        return Ok(());
    };
    let kept = {
        let name = name.clone();
        tokio::task::spawn_blocking(move || part.keep(&directory, &name, &meta)).await?
    };
    if let Err(error) = kept {
        let noted = control.call(move |control| {
            control.feed_not_kept(&name, error);
            Ok(())
        });
        noted.await?;
    }
    Ok(())
}
