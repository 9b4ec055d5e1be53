//! A server of lists that does what it is told to, however wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use xdp_tests::netns::Namespace;
use xdp_user::http::tls::choose_provider;

const GIGABYTE: usize = 1 << 30;
/// For a client that has gone away without a word.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server answers with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The text with an ETag, and 304 to who has it.
    Good(String),
    /// A body of its true length.
    Bytes(Vec<u8>),
    /// Nothing, with the connection kept.
    Hang,
    /// A byte at a time.
    Drip,
    /// Less than the length says.
    EndEarly,
    /// More than the length says.
    ShortLength(String),
    /// A gigabyte without a length.
    Endless,
    /// A length of a gigabyte.
    DeclareGigabyte,
    /// No body.
    Status(&'static str),
    /// 302.
    RedirectTo(String),
    /// Not HTTP at all.
    NoHttp,
}

/// Serves until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    secure: bool,
    answer: Arc<Mutex<Answer>>,
    not_modified: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    namespace: Namespace,
}

/// So many addresses that nothing merges.
pub(crate) fn list(entries: u8) -> String {
    let lines = (0..entries).map(|n| format!("198.18.0.{}\n", u16::from(n) * 2));
    lines.collect()
}

pub(crate) fn packed(text: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    Ok(encoder.finish()?)
}

/// A gigabyte in a few megabytes.
pub(crate) fn bomb() -> Result<Vec<u8>> {
    let piece = packed(&vec![b'\n'; 16 << 20])?;
    // Members one after the other are one gzip file (RFC 1952, section 2.2).
    Ok(piece.repeat(GIGABYTE / (16 << 20)))
}

pub(crate) fn certificate() -> Result<CertifiedKey<KeyPair>> {
    Ok(rcgen::generate_simple_self_signed(
        ["127.0.0.1".to_owned()],
    )?)
}

impl Server {
    pub(crate) fn start(
        namespace: &Namespace,
        pair: Option<&CertifiedKey<KeyPair>>,
    ) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind("127.0.0.1:0"))??;
        let address = listener.local_addr()?;
        let tls = pair.map(tls).transpose()?;
        let mut server = Self {
            address,
            secure: tls.is_some(),
            answer: Arc::new(Mutex::new(Answer::Hang)),
            not_modified: Arc::default(),
            stop: Arc::default(),
            accepting: None,
            namespace: namespace.clone(),
        };
        let (answer, not_modified) = (server.answer.clone(), server.not_modified.clone());
        let stop = server.stop.clone();
        server.accepting = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let answer = answer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let (tls, not_modified) = (tls.clone(), not_modified.clone());
                // A client that hangs up in the middle is what most of these answers end with.
                std::thread::spawn(move || serve(stream, tls, &answer, &not_modified).ok());
            }
        }));
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}/list", self.address)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// How often it said that a text is still the same.
    pub(crate) fn not_modified(&self) -> usize {
        self.not_modified.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        let address = self.address;
        let woken = self.namespace.run(|| TcpStream::connect(address).is_ok());
        if let (Ok(true), Some(accepting)) = (woken, self.accepting.take()) {
            accepting.join().ok();
        }
    }
}

fn tls(pair: &CertifiedKey<KeyPair>) -> Result<Arc<ServerConfig>> {
    let key =
        PrivateKeyDer::try_from(pair.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    choose_provider();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)?;
    Ok(Arc::new(config))
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: &Answer,
    not_modified: &AtomicUsize,
) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match tls {
        None => talk(stream, answer, not_modified),
        Some(tls) => {
            let mut stream = StreamOwned::new(ServerConnection::new(tls)?, stream);
            talk(&mut stream, answer, not_modified)?;
            stream.conn.send_close_notify();
            Ok(stream.flush()?)
        }
    }
}

fn talk(mut stream: impl Read + Write, answer: &Answer, not_modified: &AtomicUsize) -> Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).to_lowercase();
    let mut whole = |status: &str, headers: &str, length: usize, body: &[u8]| -> Result<()> {
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)?;
        Ok(stream.flush()?)
    };
    match answer {
        Answer::Good(text) => {
            let etag = format!("\"v{}\"", text.len());
            if request.contains(&format!("if-none-match: {etag}")) {
                not_modified.fetch_add(1, Ordering::SeqCst);
                return whole("304 Not Modified", "", 0, b"");
            }
            whole(
                "200 OK",
                &format!("ETag: {etag}\r\n"),
                text.len(),
                text.as_bytes(),
            )
        }
        Answer::Bytes(bytes) => whole("200 OK", "", bytes.len(), bytes),
        Answer::EndEarly => whole("200 OK", "", 100_000, list(100).as_bytes()),
        Answer::ShortLength(text) => whole("200 OK", "", 100, text.as_bytes()),
        Answer::DeclareGigabyte => whole("200 OK", "", GIGABYTE, &[b'\n'; 1000]),
        Answer::Status(status) => whole(status, "", 0, b""),
        Answer::RedirectTo(url) => whole("302 Found", &format!("Location: {url}\r\n"), 0, b""),
        Answer::NoHttp => Ok(stream.write_all(b"220 mail.example.org ESMTP\r\n")?),
        Answer::Hang => {
            // Until the client has had enough: it sends nothing more, and goes.
            while stream.read(&mut byte)? > 0 {}
            Ok(())
        }
        Answer::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(b"1")?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            let piece = list(100).into_bytes().repeat(50);
            for _ in 0..GIGABYTE / piece.len() {
                stream.write_all(&piece)?;
            }
            Ok(())
        }
    }
}
