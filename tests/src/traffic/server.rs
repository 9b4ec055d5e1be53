//! A web server that is just enough to be attacked: one page, one request per connection.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::netns::Namespace;
use crate::netns::offload::pin_current_thread;

/// A client that says nothing is let go after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Length of the page in bytes: with its header it fits into one TCP segment.
pub const PAGE_LENGTH: usize = 1000;

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts to serve on `address` (port 0: any free one) in `namespace`, on `cpu` if told.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn start(namespace: &Namespace, address: SocketAddr, cpu: Option<usize>) -> Result<Self> {
        let listener = namespace
            .run(|| std::net::TcpListener::bind(address))?
            .with_context(|| format!("cannot serve on {address} in {}", namespace.name()))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn("server", move || {
            if let Some(cpu) = cpu {
                pin_current_thread(cpu)?;
            }
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(serve(listener, stopped))
        })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell: the owner is gone, often in a panic already.
            drop(thread.join());
        }
    }
}

async fn serve(listener: std::net::TcpListener, mut stopped: oneshot::Receiver<()>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(timeout(PATIENCE, answer(stream)));
                }
            }
        }
    }
}

/// Reads a request to its empty line and sends the page. What goes wrong is the client's to see.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 || request.len() > 8192 {
            return Ok(());
        }
    }
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {PAGE_LENGTH}\r\nConnection: close\r\n\r\n");
    let mut reply = head.into_bytes();
    reply.resize(reply.len() + PAGE_LENGTH, b'.');
    stream.write_all(&reply).await?;
    stream.shutdown().await
}
