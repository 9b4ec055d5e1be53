//! Everything that one look at the daemon takes.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::api::client::{Client, ClientError};
use crate::api::types::{ClassList, SourceList, SourceQuery, SourceSort, Status};
use crate::domain::Prefix;

/// Sources asked for by each order; four orders make at most four times as many.
const SOURCES: u64 = 100;
/// A daemon that takes longer than this counts as gone until it answers again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the daemon answered.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    /// When, for people.
    pub(super) at: Timestamp,
    /// When, for rates: a clock that nobody sets.
    pub(super) taken: Instant,
    pub(super) status: Status,
    pub(super) classes: ClassList,
    pub(super) sources: SourceList,
}

/// Asks the daemon; the error as a line for people.
pub(super) async fn poll(
    client: &Client,
    sort: SourceSort,
    matching: Option<Prefix>,
) -> Result<Poll, String> {
    match tokio::time::timeout(PATIENCE, ask(client, sort, matching)).await {
        Ok(Ok(poll)) => Ok(poll),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
    }
}

/// As [`poll`], with the error as the other verbs have it.
pub(super) async fn ask(
    client: &Client,
    sort: SourceSort,
    matching: Option<Prefix>,
) -> Result<Poll, ClientError> {
    let query = SourceQuery {
        sort: Some(sort),
        limit: Some(SOURCES),
        matching,
        each: true,
    };
    let status = client.status().await?;
    let (at, taken) = (Timestamp::now(), Instant::now());
    Ok(Poll {
        at,
        taken,
        status,
        classes: client.classes().await?,
        sources: client.sources(&query).await?,
    })
}
