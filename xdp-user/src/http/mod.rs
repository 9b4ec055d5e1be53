//! HTTP over a Unix socket, TCP or TLS. Whoever reaches the socket is served, so everything is
//! bounded: connections at once, the time for a handshake, for a request's head and, where it may be,
//! for the whole connection, and the size of the head. What comes in the body is the routes' to bound.

pub mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// What clients can take at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; further ones wait in the listener's queue.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// For a TLS handshake, and from the moment that a connection waits for a request to the end of
    /// that request's head.
    pub patience: Duration,
    /// From the acceptance of a connection to the last byte of its answer, with one request to a
    /// connection; without it, a connection may carry on.
    pub connection: Option<Duration>,
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket, whose kernel tells who connects.
    Unix(UnixListener),
    /// A TCP port, in the clear.
    Tcp(TcpListener),
    /// A TCP port with TLS.
    Tls(TcpListener, Arc<tls::Acceptor>),
}

/// Who is at the other end of a connection; every request has it as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this host, as it was when it connected (unix(7), `SO_PEERCRED`).
    Process {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its number; 0 where the kernel doesn't tell.
        pid: i32,
    },
    /// Somebody on the network.
    Network(SocketAddr),
}

/// After a failed accept, mostly for want of file descriptors, trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves the routes until `shutdown` is done; requests under way are cut off then. Connections that
/// fail are theirs to see, not ours. `what` is for the log.
pub async fn serve(
    what: &'static str,
    listener: Listener,
    bounds: Bounds,
    routes: Router,
    shutdown: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let room = connections.len() < bounds.connections;
        tokio::select! {
            () = &mut shutdown => return,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    warn!("{what}: a connection's task failed: {error}");
                }
            }
            accepted = listener.accept(), if room => match accepted {
                Ok(accepted) => {
                    connections.spawn(talk(what, accepted, bounds, routes.clone()));
                }
                Err(error) => {
                    warn!("{what}: cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

enum Accepted {
    Unix(UnixStream),
    Tcp(tokio::net::TcpStream, SocketAddr),
    Tls(tokio::net::TcpStream, SocketAddr, Arc<tls::Acceptor>),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, from))
            }
            Self::Tls(listener, acceptor) => {
                let (stream, from) = listener.accept().await?;
                Ok(Accepted::Tls(stream, from, acceptor.clone()))
            }
        }
    }
}

async fn talk(what: &'static str, accepted: Accepted, bounds: Bounds, routes: Router) {
    let talking = async {
        match accepted {
            Accepted::Unix(stream) => {
                let peer = process(&stream);
                answer(stream, peer, bounds, routes).await
            }
            Accepted::Tcp(stream, from) => {
                answer(stream, Peer::Network(from), bounds, routes).await
            }
            Accepted::Tls(stream, from, acceptor) => {
                let secured = timeout(bounds.patience, acceptor.accept(stream)).await;
                match secured {
                    Ok(Ok(stream)) => answer(stream, Peer::Network(from), bounds, routes).await,
                    Ok(Err(error)) => debug!("{what}: a TLS handshake failed: {error}"),
                    Err(_) => debug!("{what}: a TLS handshake took too long: cut off"),
                }
            }
        }
    };
    match bounds.connection {
        None => talking.await,
        Some(longest) => {
            if timeout(longest, talking).await.is_err() {
                debug!("{what}: a connection took over {longest:?}: cut off");
            }
        }
    }
}

fn process(stream: &UnixStream) -> Peer {
    // Nobody has the highest numbers (credentials(7): they mean "no change").
    let nobody = Peer::Process {
        uid: u32::MAX,
        gid: u32::MAX,
        pid: 0,
    };
    stream.peer_cred().map_or(nobody, |peer| Peer::Process {
        uid: peer.uid(),
        gid: peer.gid(),
        pid: peer.pid().unwrap_or(0),
    })
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    bounds: Bounds,
    routes: Router,
) {
    let routes = routes.layer(Extension(peer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(bounds.connection.is_none())
        .max_buf_size(bounds.head)
        .header_read_timeout(bounds.patience)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = connection.await {
        debug!("a connection failed: {error}");
    }
}
