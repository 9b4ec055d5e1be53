//! What the server answers, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::api::types::{SourceList, SourceQuery};
use crate::config::StatusPage;
use crate::exporter::server::{Bounds, serve_within};
use crate::exporter::{Guard, SnapshotSource};

pub(super) const BOUNDS: Bounds = Bounds {
    connections: 2,
    head: 8192,
    connection: Duration::from_secs(10),
    snapshot: Duration::from_secs(5),
    page_age: Duration::from_secs(60),
    sources_age: Duration::from_secs(60),
};

/// A state, and what happens when it is asked for.
pub(super) enum Source {
    Good,
    /// Counts how often its state and its sources are read.
    Counted(Arc<AtomicU32>, Arc<AtomicU32>),
    FailingOnce(AtomicBool),
    Hanging,
}

impl SnapshotSource for Source {
    async fn snapshot(&self) -> Result<Arc<Status>> {
        match self {
            Self::FailingOnce(failed) if !failed.swap(true, Ordering::Relaxed) => {
                bail!("the control task is busy")
            }
            Self::Good | Self::FailingOnce(_) => Ok(Arc::new(fresh())),
            Self::Counted(states, _) => {
                states.fetch_add(1, Ordering::Relaxed);
                Ok(Arc::new(fresh()))
            }
            Self::Hanging => std::future::pending().await,
        }
    }

    async fn sources(&self, query: SourceQuery) -> Result<SourceList> {
        if let Self::Counted(_, sources) = self {
            sources.fetch_add(1, Ordering::Relaxed);
        }
        Ok(super::page::sources(&query))
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Server {
    async fn start(bounds: Bounds, source: Source) -> Self {
        Self::with_page("127.0.0.1:0", bounds, StatusPage::Off, source).await
    }

    pub(super) async fn with_page(
        listen: &str,
        bounds: Bounds,
        page: StatusPage,
        source: Source,
    ) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve_within(
            bounds,
            listener,
            Guard::default(),
            page,
            source,
            async {
                stopped.await.ok();
            },
        ));
        Self {
            address,
            stop,
            task,
        }
    }

    /// Sends `request` as it is and returns everything that comes back.
    pub(super) async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn request(&self, method: &str, path: &str) -> String {
        self.ask(&format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await
    }
}

#[tokio::test]
async fn a_scrape_is_answered_with_the_text_format() {
    let server = Server::start(BOUNDS, Source::Good).await;
    let answer = server.request("GET", "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let read = Exposition::read(body);
    assert_eq!(read.value("xdp_throttle_scrape_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn only_get_and_head_of_two_paths_are_answered() {
    let server = Server::start(BOUNDS, Source::Good).await;
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/", 405),
        ("GET", "/metrics/", 404),
        ("GET", "/v1/status", 404),
        // There is no page.
        ("GET", "/status.json", 404),
    ] {
        let answer = server.request(method, path).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{method} {path}: {answer}");
    }
    let head = server.request("HEAD", "/metrics").await;
    assert!(head.ends_with("\r\n\r\n"), "HEAD has a body: {head}");
    assert!(server.request("GET", "/").await.contains("/metrics"));
}

#[tokio::test]
async fn a_failed_scrape_is_an_error_and_counted() {
    let server = Server::start(BOUNDS, Source::FailingOnce(AtomicBool::new(false))).await;
    let failed = server.request("GET", "/metrics").await;
    assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
    assert!(failed.contains("the control task is busy"), "{failed}");

    let answer = server.request("GET", "/metrics").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let read = Exposition::read(body);
    assert_eq!(read.value("xdp_throttle_scrape_errors_total", &[]), 1.0);
}

#[tokio::test]
async fn a_state_that_never_comes_is_given_up() {
    let bounds = Bounds {
        snapshot: Duration::from_millis(20),
        ..BOUNDS
    };
    let server = Server::start(bounds, Source::Hanging).await;
    let answer = server.request("GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
}

#[tokio::test]
async fn silent_clients_are_cut_off_and_keep_nobody_out() {
    let bounds = Bounds {
        connection: Duration::from_millis(100),
        ..BOUNDS
    };
    let server = Server::start(bounds, Source::Good).await;
    let mut silent = Vec::new();
    for _ in 0..bounds.connections {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // Answered only after one of the silent ones is gone.
    let answer = server.request("GET", "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start(BOUNDS, Source::Good).await;
    let long = "x".repeat(BOUNDS.head);
    // The server answers and closes with bytes of ours unread, which can reset the connection.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let server = Server::start(BOUNDS, Source::Good).await;
    let two = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    let answer = server.ask(&two).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn the_shutdown_ends_it_with_a_connection_open() {
    let server = Server::start(BOUNDS, Source::Hanging).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.is_empty(), "an answer after the end");
}
