//! A daemon that serves its API over TCP as well, and requests to it that may be anything.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use xdp_user::http::tls::choose_provider;

use super::Daemon;
use super::binary::binary;
use super::scene::Scene;

/// Longer than the daemon lets anybody wait.
const TIMEOUT: Duration = Duration::from_secs(60);
const PORT: u16 = 9778;

/// Where a daemon serves its API over TCP, and whom to trust for it.
pub struct Remote {
    scene: Arc<Scene>,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    authorities: PathBuf,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Everything before the body.
    pub head: String,
    /// The body.
    pub body: String,
}

/// A connection.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Remote {
    /// Starts a daemon with these lines more in its `[control]` section, and with `rest`.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(control: &str, rest: &str) -> Result<(Daemon, Self)> {
        let scene = Scene::new()?;
        let mut daemon = Daemon::prepare(&scene.host, &binary()?, "")?;
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| daemon.directory().join(name));
        fs::write(&certificate, pair.cert.pem())?;
        fs::write(&key, pair.signing_key.serialize_pem())?;
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let listening = format!(
            "[control]\nlisten = \"{address}\"\ncertificate = {certificate:?}\nkey = {key:?}\n{control}\n"
        );
        let config = daemon.whole_config(&format!("[[interface]]\nname = \"host0\"\n{rest}"));
        fs::write(
            daemon.config_path(),
            config.replace("[control]\n", &listening),
        )?;
        daemon.restart()?;
        let mut roots = RootCertStore::empty();
        roots.add(pair.cert.der().clone())?;
        choose_provider();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let remote = Self {
            scene: Arc::new(scene),
            address,
            config: Arc::new(config),
            authorities: certificate,
        };
        Ok((daemon, remote))
    }

    /// The address, as a URL begins with it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A PEM file with whom to trust.
    #[must_use]
    pub fn authorities(&self) -> &std::path::Path {
        &self.authorities
    }

    /// Another port of the same host with the same certificate.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            scene: self.scene.clone(),
            address,
            config: self.config.clone(),
            authorities: self.authorities.clone(),
        }
    }

    /// The network that the daemon is in.
    #[must_use]
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// A connection without TLS.
    ///
    /// # Errors
    /// When nobody accepts it.
    pub fn connect_plainly(&self) -> Result<TcpStream> {
        let address = self.address;
        let stream = self.scene.host.run(|| TcpStream::connect(address))??;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }

    /// A connection.
    ///
    /// # Errors
    /// When nobody accepts it.
    pub fn connect(&self) -> Result<Connection> {
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(self.config.clone(), name)?;
        let mut connection = StreamOwned::new(connection, self.connect_plainly()?);
        // Not only with the first byte that is written.
        connection.conn.complete_io(&mut connection.sock)?;
        Ok(connection)
    }

    /// Sends a request and reads the whole answer. `headers` are whole lines.
    ///
    /// # Errors
    /// When the connection fails, or what comes back is no HTTP.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Result<Reply> {
        let mut connection = self.connect()?;
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )?;
        // A server that refuses by the head alone may be gone before the body is.
        let _sent = connection.write_all(body).and_then(|()| connection.flush());
        reply(&mut connection)
    }

    /// The same with a token, and JSON in the body.
    ///
    /// # Errors
    /// As [`Remote::ask`].
    pub fn ask_as(&self, token: &str, method: &str, path: &str, body: &str) -> Result<Reply> {
        let authorization = format!("Authorization: Bearer {token}");
        let headers = [authorization.as_str(), "Content-Type: application/json"];
        self.ask(method, path, &headers, body.as_bytes())
    }
}

/// Reads an answer to the end of the connection.
///
/// # Errors
/// When it is no HTTP.
pub fn reply(connection: &mut impl Read) -> Result<Reply> {
    let mut bytes = Vec::new();
    // The end without TLS's own is what `Connection: close` may look like.
    if let Err(error) = connection.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        return Err(error).context("no answer");
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Reply {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Waits until the other side ends a connection that waits for more; what it sends before that.
///
/// # Errors
/// When it doesn't.
pub fn ended(connection: &mut (impl Read + ?Sized)) -> Result<Vec<u8>> {
    let (mut sent, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match connection.read(&mut piece) {
            Ok(0) => return Ok(sent),
            Ok(read) => sent.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(error).context("the connection is still open");
            }
            // Reset, or cut off without TLS's own end.
            Err(_) => return Ok(sent),
        }
    }
}
