//! TLS. For who listens: a certificate and its key from two PEM files, read again when they change, so
//! that a renewed certificate needs no restart.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The files are looked at no more often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const MAX_FILE: u64 = 1 << 20;

/// Makes ring the process's provider of cryptography, once: before the first client or server is built.
pub fn choose_provider() {
    // An error says that one is chosen already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Where the certificate, with its chain, and the private key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// PEM, the host's own certificate first.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Shakes hands.
pub struct Acceptor {
    files: Files,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    version: Option<[SystemTime; 2]>,
    looked: Instant,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Acceptor")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads both files. Not async: it happens at the start.
    ///
    /// # Errors
    /// When a file can't be read, or the key isn't the certificate's.
    pub fn load_blocking(files: Files) -> Result<Self> {
        let version = version(&files);
        let config = config(&files)?;
        let looked = Instant::now();
        Ok(Self {
            files,
            current: Mutex::new(Current {
                config,
                version,
                looked,
            }),
        })
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// When the client breaks it off, or doesn't want what we have.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.renewed();
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Two small files, every ten seconds at most: read where one is, not in a task of their own.
    fn renewed(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_AGAIN {
            current.looked = Instant::now();
            let version = version(&self.files);
            if version != current.version {
                current.version = version;
                match config(&self.files) {
                    Ok(config) => {
                        tracing::info!("certificate renewed: {}", self.files.certificate.display());
                        current.config = config;
                    }
                    Err(error) => tracing::warn!("the certificate stays as it was: {error:#}"),
                }
            }
        }
        current.config.clone()
    }
}

fn version(files: &Files) -> Option<[SystemTime; 2]> {
    let modified = |path| {
        std::fs::metadata(path)
            .and_then(|file| file.modified())
            .ok()
    };
    Some([modified(&files.certificate)?, modified(&files.key)?])
}

fn config(files: &Files) -> Result<Arc<ServerConfig>> {
    let certificate = read(&files.certificate)?;
    let of_certificate = || format!("no certificate in {}", files.certificate.display());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate)
        .collect::<Result<_, _>>()
        .with_context(of_certificate)?;
    ensure!(!chain.is_empty(), of_certificate());
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .with_context(|| format!("no private key in {}", files.key.display()))?;
    choose_provider();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!(
                "{} and {} don't go together",
                files.certificate.display(),
                files.key.display()
            )
        })?;
    Ok(Arc::new(config))
}

fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    let of = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(of)?.len();
    ensure!(
        size <= MAX_FILE,
        "{} has over {MAX_FILE} bytes",
        path.display()
    );
    std::fs::read(path).with_context(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &Files) -> Vec<u8> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
        pair.cert.der().to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        assert!(Acceptor::load_blocking(files.clone()).is_err());
        write(&files);
        let acceptor = Acceptor::load_blocking(files.clone()).unwrap();
        let first = acceptor.renewed();
        let long_ago = || {
            let mut current = acceptor.current.lock().unwrap();
            current.looked = Instant::now().checked_sub(LOOK_AGAIN).unwrap();
            current.version = None;
        };
        assert!(
            Arc::ptr_eq(&first, &acceptor.renewed()),
            "not looked at yet"
        );
        write(&files);
        long_ago();
        let second = acceptor.renewed();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(&files.key, "no key").unwrap();
        long_ago();
        assert!(Arc::ptr_eq(&second, &acceptor.renewed()));
        let other = directory.path().join("other.pem");
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&other, pair.signing_key.serialize_pem()).unwrap();
        let error = Acceptor::load_blocking(Files {
            key: other,
            ..files
        })
        .unwrap_err();
        assert!(error.to_string().contains("don't go together"), "{error:#}");
    }
}
