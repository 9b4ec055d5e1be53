//! Servers that are just enough to be attacked.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::netns::Namespace;
use crate::netns::offload::pin_current_thread;
use crate::netns::serving::Serving;

/// A client that says nothing is let go after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Length of the page in bytes: with its header it fits into one TCP segment.
pub const PAGE_LENGTH: usize = 1000;
/// Bytes of a request on a connection that lasts.
pub const REQUEST_LENGTH: usize = 120;
/// Bytes of the reply to it.
pub const REPLY_LENGTH: usize = 900;

/// What a server does.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    /// HTTP/1.1: one page, one request per connection.
    Page,
    /// Requests and replies of a fixed length over one connection, as many as the client likes.
    Records,
    /// Answers each datagram with what becomes of it.
    Datagrams(fn(&[u8]) -> Vec<u8>),
}

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _serving: Serving,
}

impl Server {
    /// Starts to serve on `address` (port 0: any free one) in `namespace`, on `cpu` if told.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn start(
        namespace: &Namespace,
        address: SocketAddr,
        cpu: Option<usize>,
        service: Service,
    ) -> Result<Self> {
        let bound = namespace
            .run(|| Bound::new(address, service))?
            .with_context(|| format!("cannot serve on {address} in {}", namespace.name()))?;
        let address = bound.address()?;
        let serving = Serving::start(namespace, "server", async move {
            if let Some(cpu) = cpu {
                pin_current_thread(cpu)?;
            }
            bound.serve().await
        })?;
        Ok(Self {
            address,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

enum Bound {
    Pages(std::net::TcpListener),
    Records(std::net::TcpListener),
    Datagrams(std::net::UdpSocket, fn(&[u8]) -> Vec<u8>),
}

impl Bound {
    fn new(address: SocketAddr, service: Service) -> std::io::Result<Self> {
        // With the backlog of Rust's standard library, 128.
        let listener = || -> std::io::Result<_> {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        Ok(match service {
            Service::Page => Self::Pages(listener()?),
            Service::Records => Self::Records(listener()?),
            Service::Datagrams(answer) => {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Self::Datagrams(socket, answer)
            }
        })
    }

    fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Pages(listener) | Self::Records(listener) => listener.local_addr(),
            Self::Datagrams(socket, _) => socket.local_addr(),
        }
    }

    async fn serve(self) -> Result<()> {
        match self {
            Self::Pages(listener) => {
                accept(listener, |stream| timeout(PATIENCE, page(stream))).await
            }
            Self::Records(listener) => accept(listener, records).await,
            Self::Datagrams(socket, answer) => {
                datagrams(UdpSocket::from_std(socket)?, answer).await
            }
        }
    }
}

async fn accept<F>(listener: std::net::TcpListener, serve: impl Fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::from_std(listener)?;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    }
}

/// Reads a request to its empty line and sends the page. What goes wrong is the client's to see.
async fn page(mut stream: TcpStream) -> std::io::Result<()> {
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

async fn records(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; REQUEST_LENGTH];
    loop {
        stream.read_exact(&mut request).await?;
        stream.write_all(&[request[0]; REPLY_LENGTH]).await?;
    }
}

async fn datagrams(socket: UdpSocket, answer: fn(&[u8]) -> Vec<u8>) -> Result<()> {
    let mut buffer = vec![0; 2048];
    loop {
        // An error is that of an earlier answer, whose receiver was not there.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let answer = answer(buffer.get(..length).unwrap_or_default());
        // A client that doesn't get its answer sees that.
        drop(socket.send_to(&answer, from).await);
    }
}
