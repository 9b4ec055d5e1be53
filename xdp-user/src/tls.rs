//! Which cryptography TLS uses.

/// Makes ring the process's provider, once; has to come before the first client is built.
pub(crate) fn choose_provider() {
    // An error says that one is chosen already.
    drop(rustls::crypto::ring::default_provider().install_default());
}
