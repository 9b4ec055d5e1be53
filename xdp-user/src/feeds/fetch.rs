//! Getting a text, from a file or a server that may be anything.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use reqwest::header::{
    ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::copy::{Meta, Part, on_disk};
use super::{FeedCause, FeedError, Job};
use crate::config::{Checksum, KeptList, ListSource};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 5;
/// Of a file with checksums.
const MAX_CHECKSUMS: usize = 64 << 10;
/// Of an authorities' file.
const MAX_AUTHORITIES: u64 = 4 << 20;
/// Header values are kept for the next request; longer ones are nobody's version of a text.
const MAX_HEADER: usize = 1024;

/// A text on disk, as it came.
pub(super) struct Download {
    pub(super) part: Part,
    pub(super) meta: Meta,
}

/// The source's text; `None` if it is the one of the last fetch.
pub(super) async fn fetch(job: &Job) -> Result<Option<Download>, FeedError> {
    let known = job.meta.as_ref().filter(|_| !job.dry && !job.force);
    let (download, client) = match &job.list.source {
        ListSource::File(path) => {
            let metadata = tokio::fs::metadata(path).await;
            let metadata = metadata.map_err(|error| no_file(job, &error))?;
            if !metadata.is_file() {
                let text = format!("{} is no regular file", path.display());
                return Err(FeedError::new(FeedCause::Unreachable, text));
            }
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|error| no_file(job, &error))?;
            let chunks = chunks(file).map(|chunk| chunk.map_err(|error| no_file(job, &error)));
            (store(job, chunks, None, None).await?, None)
        }
        ListSource::Url(url) => {
            let client = client(&job.list).await?;
            let Some(answer) = ask(&client, url, known, &job.list).await? else {
                return Ok(None);
            };
            let etag = header(answer.headers(), &ETAG);
            let modified = header(answer.headers(), &LAST_MODIFIED);
            let chunks = answer.bytes_stream().map(|chunk| chunk.map_err(of_reqwest));
            (store(job, chunks, etag, modified).await?, Some(client))
        }
    };
    check_sum(job, client, &download.meta.sha256).await?;
    if known.is_some_and(|known| known.sha256 == download.meta.sha256) {
        return Ok(None);
    }
    Ok(Some(download))
}

fn chunks(file: tokio::fs::File) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut chunk = BytesMut::with_capacity(64 << 10);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

fn no_file(job: &Job, error: &std::io::Error) -> FeedError {
    let hint = if error.kind() == std::io::ErrorKind::PermissionDenied {
        "; the daemon may only read what [daemon] readable names, and what its user may"
    } else {
        ""
    };
    let text = format!("can't read {}: {error}{hint}", job.list.source);
    FeedError::new(FeedCause::Unreachable, text)
}

async fn client(list: &KeptList) -> Result<Client, FeedError> {
    crate::http::tls::choose_provider();
    let mut builder = Client::builder()
        .user_agent(concat!("xdp-throttle/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::custom(redirect));
    if let Some(path) = &list.ca_file {
        let broken = |error: String| {
            let text = format!("can't use ca_file {}: {error}", path.display());
            FeedError::new(FeedCause::Unreachable, text)
        };
        let metadata = tokio::fs::metadata(path)
            .await
            .map_err(|error| broken(error.to_string()))?;
        if !metadata.is_file() || metadata.len() > MAX_AUTHORITIES {
            return Err(broken(format!(
                "no regular file of at most {MAX_AUTHORITIES} bytes"
            )));
        }
        let pem = tokio::fs::read(path)
            .await
            .map_err(|error| broken(error.to_string()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem);
        let authorities = authorities.map_err(|error| broken(error.to_string()))?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(of_reqwest)
}

/// Follows to the same scheme, and from http to https.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last().map(Url::scheme);
    let to = attempt.url().scheme();
    if to != "https" && from != Some(to) {
        return attempt.error("redirected to another scheme");
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    attempt.follow()
}

async fn ask(
    client: &Client,
    url: &Url,
    known: Option<&Meta>,
    list: &KeptList,
) -> Result<Option<Response>, FeedError> {
    let mut request = client.get(url.clone());
    if let Some(etag) = known.and_then(|known| known.etag.as_ref()) {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(modified) = known.and_then(|known| known.last_modified.as_ref()) {
        request = request.header(IF_MODIFIED_SINCE, modified);
    }
    let answer = request.send().await.map_err(of_reqwest)?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if known.is_some() => return Ok(None),
        status => {
            let text = format!("the server answered {status}");
            return Err(FeedError::new(FeedCause::HttpStatus, text));
        }
    }
    if answer
        .content_length()
        .is_some_and(|length| length > list.max_size.bytes())
    {
        return Err(too_large(list));
    }
    Ok(Some(answer))
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= MAX_HEADER).then(|| value.to_owned())
}

async fn store<C: AsRef<[u8]>>(
    job: &Job,
    chunks: impl Stream<Item = Result<C, FeedError>>,
    etag: Option<String>,
    last_modified: Option<String>,
) -> Result<Download, FeedError> {
    let (part, file) = Part::create(&job.directory, &job.list.name)?;
    let mut file = tokio::io::BufWriter::with_capacity(256 << 10, tokio::fs::File::from_std(file));
    let mut hash = Sha256::new();
    let mut size = 0u64;
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        let chunk = chunk.as_ref();
        size += chunk.len() as u64;
        if size > job.list.max_size.bytes() {
            return Err(too_large(&job.list));
        }
        hash.update(chunk);
        let written = file.write_all(chunk).await;
        written.map_err(|error| on_disk("write", &job.directory, &error))?;
    }
    let written = file.flush().await;
    written.map_err(|error| on_disk("write", &job.directory, &error))?;
    let meta = Meta {
        source: job.list.source.to_string(),
        etag,
        last_modified,
        sha256: hex::encode(hash.finalize()),
        fetched: Timestamp::now(),
    };
    Ok(Download { part, meta })
}

async fn check_sum(job: &Job, client: Option<Client>, found: &str) -> Result<(), FeedError> {
    let wanted = match &job.list.sha256 {
        None => return Ok(()),
        Some(Checksum::Fixed(wanted)) => wanted.clone(),
        Some(Checksum::Url(url)) => {
            let client = match client {
                Some(client) => client,
                None => self::client(&job.list).await?,
            };
            let name = job.list.source.to_string();
            let name = name.rsplit('/').next().unwrap_or_default();
            sum_from(&client, url, name, &job.list).await?
        }
    };
    if wanted == found {
        return Ok(());
    }
    let text = format!("the text's SHA-256 is {found}, it should be {wanted}");
    Err(FeedError::new(FeedCause::Checksum, text))
}

/// The checksum in a file as `sha256sum` writes it: the one beside the text's name, or the only one.
async fn sum_from(
    client: &Client,
    url: &Url,
    name: &str,
    list: &KeptList,
) -> Result<String, FeedError> {
    let none = || {
        let text = format!("{url} has no SHA-256 of {name}");
        FeedError::new(FeedCause::Checksum, text)
    };
    let answer = ask(client, url, None, list).await?.ok_or_else(none)?;
    let mut chunks = answer.bytes_stream();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk.map_err(of_reqwest)?);
        if text.len() > MAX_CHECKSUMS {
            return Err(none());
        }
    }
    let text = String::from_utf8_lossy(&text);
    let sums: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let (sum, rest) = line.trim().split_at_checked(64)?;
            let is_sum = sum.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_sum.then(|| (sum, rest.trim_start_matches([' ', '*'])))
        })
        .collect();
    let named = sums.iter().find(|(_, of)| *of == name);
    let only = (sums.len() == 1).then(|| sums.first()).flatten();
    let (sum, _) = named.or(only).ok_or_else(none)?;
    Ok(sum.to_ascii_lowercase())
}

fn too_large(list: &KeptList) -> FeedError {
    let text = format!("larger than max_size = {}", list.max_size);
    FeedError::new(FeedCause::TooLarge, text)
}

fn of_reqwest(error: reqwest::Error) -> FeedError {
    let cause = if error.is_timeout() {
        FeedCause::Timeout
    } else if error.is_redirect() {
        FeedCause::Redirect
    } else if error.is_body() || error.is_decode() {
        FeedCause::Truncated
    } else {
        FeedCause::Unreachable
    };
    FeedError::new(
        cause,
        format!("{:#}", anyhow::Error::new(error.without_url())),
    )
}
