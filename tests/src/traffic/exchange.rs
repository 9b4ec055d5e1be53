//! One exchange between a client and a server: a page, a datagram there and back, a record on a
//! connection that lasts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::server::{PAGE_LENGTH, REPLY_LENGTH, REQUEST_LENGTH};

/// A client asks again when no answer has come after these, as it does with a SYN (RFC 6298 and
/// RFC 1035, section 4.2.1).
const PATIENCE: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Fetches the page over a new connection, from this address if told.
///
/// # Errors
/// When it doesn't come, or not as a whole.
pub async fn page(server: SocketAddr, from: Option<IpAddr>) -> Result<()> {
    let mut stream = connect(server, from).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: protected\r\nConnection: close\r\n\r\n")
        .await?;
    let mut reply = Vec::with_capacity(2 * PAGE_LENGTH);
    stream.read_to_end(&mut reply).await?;
    let body = reply
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("no end of the header")?
        + 4;
    let whole = reply.starts_with(b"HTTP/1.1 200 ") && reply.len() - body == PAGE_LENGTH;
    whole.then_some(()).context("not the whole page")
}

async fn connect(server: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    Ok(socket.connect(server).await?)
}

/// Sends a datagram from a new port, of this address if told, and waits for the one that is
/// wanted, asking again as a resolver does.
///
/// # Errors
/// When it doesn't come.
pub async fn datagram(
    server: SocketAddr,
    from: Option<IpAddr>,
    question: Vec<u8>,
    wanted: Vec<u8>,
) -> Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from.unwrap_or(any), 0)).await?;
    socket.connect(server).await?;
    for patience in PATIENCE {
        socket.send(&question).await?;
        if let Ok(answer) = timeout(patience, answer(&socket, &wanted)).await {
            return answer;
        }
    }
    Err(anyhow::anyhow!("no answer from {server}"))
}

async fn answer(socket: &UdpSocket, wanted: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..length) == Some(wanted) {
            return Ok(());
        }
    }
}

/// A connection for many requests, one after another. It is made when it is needed, and again when
/// an exchange on it has failed.
#[derive(Debug)]
pub struct Connection {
    server: SocketAddr,
    stream: Mutex<Option<TcpStream>>,
}

impl Connection {
    /// To this server.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            stream: Mutex::new(None),
        }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// When the reply doesn't come.
    pub async fn exchange(&self) -> Result<()> {
        let mut place = self.stream.lock().await;
        // Not put back unless all went well: what is given up in the middle is of no use any more.
        let mut stream = match place.take() {
            Some(stream) => stream,
            None => connect(self.server, None).await?,
        };
        stream.write_all(&[0x17; REQUEST_LENGTH]).await?;
        let mut reply = [0; REPLY_LENGTH];
        stream.read_exact(&mut reply).await?;
        ensure!(reply == [0x17; REPLY_LENGTH], "another reply");
        *place = Some(stream);
        Ok(())
    }
}
