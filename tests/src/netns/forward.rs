//! A way from this machine's loopback into a namespace: TCP connections, handed on byte by byte.

use std::net::{SocketAddr, TcpListener as Listener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Namespace;
use super::serving::Serving;

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 32;
/// A connection is cut off after this; who looks at a page opens another one.
const LONGEST: Duration = Duration::from_secs(120);
/// Behind a failed accept, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener on this machine's loopback whose connections go to an address in a namespace. Dropped,
/// it and they are gone.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    _serving: Serving,
}

impl Forward {
    /// Listens on a free port of 127.0.0.1, in the network namespace of the caller, and connects to
    /// `target` in `namespace`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(namespace: &Namespace, target: SocketAddr) -> Result<Self> {
        // The listener stays where it is made.
        let listener = Listener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            _serving: Serving::start(namespace, "forward", forward(listener, target))?,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn forward(listener: Listener, target: SocketAddr) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let Ok((from, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        tokio::spawn(async move {
            // Either end may go at any time, which is theirs to see.
            drop(timeout(LONGEST, hand_on(from, target)).await);
            drop(permit);
        });
    }
}

async fn hand_on(mut from: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut to = TcpStream::connect(target).await?;
    copy_bidirectional(&mut from, &mut to).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::require_kernel;
    use crate::traffic::server::{Server, Service};

    #[test]
    fn a_page_in_a_namespace_is_read_from_outside_until_the_way_is_closed() {
        require_kernel!("a_page_in_a_namespace_is_read_from_outside_until_the_way_is_closed");
        let namespace = Namespace::new("inside").unwrap();
        let inside = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(&namespace, inside, None, Service::Page).unwrap();
        assert!(
            TcpStream::connect(server.address()).is_err(),
            "from outside"
        );

        let forward = Forward::start(&namespace, server.address()).unwrap();
        let outside = forward.address();
        let mut stream = TcpStream::connect(outside).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

        drop(forward);
        assert!(TcpStream::connect(outside).is_err());
    }
}
