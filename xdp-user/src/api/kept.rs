//! Routes of the lists that keep themselves. What they fetch, they fetch away from the control task.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use anyhow::Context;
use axum::Json;
use axum::extract::State;

use super::openapi::about;
use super::outcome::{Change, Noted};
use super::refused::{Answer, Given, Refused};
use super::types::{DiffList, KeptLists, ListDiff, RefreshLists};
use crate::control::Handle;
use crate::feeds::{Fetched, difference, task, work};

/// Entries that an answer spells out.
const SHOWN: usize = 1000;

pub(super) fn routes() -> ApiRouter<Handle> {
    ApiRouter::new()
        .api_route(
            "/v1/lists",
            get_with(show, |it| {
                about(it, "listKept", "Lists that keep themselves")
            }),
        )
        .api_route(
            "/v1/lists/refresh",
            post_with(refresh, |it| {
                about(it, "refreshLists", "Fetch one of them, or all, now")
            }),
        )
        .api_route(
            "/v1/lists/diff",
            post_with(diff, |it| {
                about(
                    it,
                    "diffList",
                    "Fetch one of them and show what it would change",
                )
            }),
        )
}

async fn show(State(control): State<Handle>) -> Answer<KeptLists> {
    let lists = control.call(|c| Ok(c.kept_lists())).await?;
    Ok(Json(KeptLists { lists }))
}

async fn refresh(
    State(control): State<Handle>,
    Given(request): Given<RefreshLists>,
) -> Change<KeptLists> {
    let name = request.name.clone();
    let jobs = control.call(move |c| c.asked_feeds(request.name.as_ref(), request.force));
    for job in jobs.await? {
        let control = control.clone();
        // A caller that goes away must not leave it half done.
        let running = tokio::spawn(async move { task::run(&control, job).await });
        running.await.context("the refresh failed")??;
    }
    let mut lists = control.call(|c| Ok(c.kept_lists())).await?;
    lists.retain(|list| name.as_ref().is_none_or(|name| *name == list.name));
    Ok(Noted(KeptLists { lists }))
}

async fn diff(State(control): State<Handle>, Given(request): Given<DiffList>) -> Answer<ListDiff> {
    let name = request.name.clone();
    let job = control
        .call(move |c| c.feed_to_look_at(&request.name))
        .await?;
    let held = job.held.clone();
    let fetched = work(job)
        .await
        .map_err(|error| Refused::from(anyhow::Error::new(error)))?;
    let after = match fetched {
        Fetched::Unchanged => held.as_ref().clone(),
        Fetched::Text(parsed) => parsed.entries,
    };
    let (mut come, mut go) = difference(&held, &after);
    let (added, removed) = (come.len() as u64, go.len() as u64);
    come.truncate(SHOWN);
    go.truncate(SHOWN);
    Ok(Json(ListDiff {
        name,
        entries: held.len() as u64,
        added,
        come,
        removed,
        go,
    }))
}
