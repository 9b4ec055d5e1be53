//! Where the daemon is reached: the control socket, the same over TCP, and the metrics' port.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::rights::Rights;
use crate::api::types::{SourceList, SourceQuery, Status};
use crate::api::{serve, socket};
use crate::config::{self, Config, ControlTcp, StatusPage};
use crate::control::Handle;
use crate::exporter::{self, Guard, SnapshotSource};
use crate::http::tls::Acceptor;
use crate::http::{self, Listener};

/// Everything that listens, opened with the rights of the start.
pub(super) struct Listeners {
    socket: std::os::unix::net::UnixListener,
    file: SocketFile,
    tcp: Option<(std::net::TcpListener, Arc<Acceptor>)>,
    rights: Rights,
    requests_per_second: NonZeroU32,
    metrics: Option<(std::net::TcpListener, Guard)>,
    page: StatusPage,
}

/// The control socket's file, removed however the daemon ends, also on its way up.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!("the control socket was gone already: {error}");
        }
    }
}

impl Listeners {
    /// Opens all that the configuration names.
    ///
    /// # Errors
    /// When one can't be had, or a certificate can't be used.
    pub(super) fn open_blocking(config: &Config) -> Result<Self> {
        let control = &config.control;
        let socket = socket::listen_blocking(&control.socket, control.socket_mode.bits())?;
        Ok(Self {
            socket,
            file: SocketFile(control.socket.clone()),
            tcp: control.tcp.as_ref().map(control_port).transpose()?,
            rights: Rights::of(control),
            requests_per_second: control.requests_per_second,
            metrics: metrics_port(&config.metrics)?,
            page: config.metrics.page,
        })
    }

    /// Serves them all, each in a task, until `stopped` says so.
    pub(super) fn serve(
        self,
        control: &Handle,
        stopped: &watch::Receiver<bool>,
    ) -> Result<JoinSet<Result<()>>> {
        let mut served = JoinSet::new();
        let api = serve::guarded(control.clone(), self.rights, self.requests_per_second);
        let socket = Listener::Unix(UnixListener::from_std(self.socket)?);
        let file = self.file;
        let stop = until(stopped.clone());
        let routes = api.clone();
        served.spawn(async move {
            http::serve("the API", socket, serve::BOUNDS, routes, stop).await;
            drop(file);
            Ok(())
        });
        if let Some((listener, acceptor)) = self.tcp {
            let listener = Listener::Tls(TcpListener::from_std(listener)?, acceptor);
            let stop = until(stopped.clone());
            served.spawn(async move {
                http::serve("the API over TCP", listener, serve::BOUNDS, api, stop).await;
                Ok(())
            });
        }
        if let Some((listener, guard)) = self.metrics {
            let listener = TcpListener::from_std(listener)?;
            let (source, stop) = (Snapshots(control.clone()), until(stopped.clone()));
            served.spawn(exporter::serve(listener, guard, self.page, source, stop));
        }
        Ok(served)
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which asks to stop as well.
    drop(stopped.wait_for(|stop| *stop).await);
}

fn control_port(tcp: &ControlTcp) -> Result<(std::net::TcpListener, Arc<Acceptor>)> {
    let acceptor = Acceptor::load_blocking(tcp.files.clone()).context("control.listen")?;
    let listener = std::net::TcpListener::bind(tcp.listen).with_context(|| {
        format!(
            "could not open the API's port {}: change control.listen",
            tcp.listen
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok((listener, Arc::new(acceptor)))
}

fn metrics_port(metrics: &config::Metrics) -> Result<Option<(std::net::TcpListener, Guard)>> {
    if !metrics.enabled {
        return Ok(None);
    }
    let guard = match &metrics.web_config {
        Some(path) => Guard::load_blocking(path)?,
        None => Guard::default(),
    };
    let listener = std::net::TcpListener::bind(metrics.listen).with_context(|| {
        format!(
            "could not open the metrics port {}: change metrics.listen",
            metrics.listen
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(Some((listener, guard)))
}

struct Snapshots(Handle);

impl SnapshotSource for Snapshots {
    async fn snapshot(&self) -> Result<Arc<Status>> {
        self.0.call(|control| control.status()).await.map(Arc::new)
    }

    async fn sources(&self, query: SourceQuery) -> Result<SourceList> {
        self.0
            .call(move |control| control.list_sources(&query))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_port_in_use_is_named_before_anything_is_attached() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let metrics = config::Metrics {
            enabled: true,
            listen,
            web_config: None,
            page: StatusPage::Off,
        };
        let error = metrics_port(&metrics).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&listen.to_string()), "{text}");
        assert!(text.contains("change metrics.listen"), "{text}");
        let off = config::Metrics {
            enabled: false,
            ..metrics
        };
        assert!(metrics_port(&off).unwrap().is_none());
    }
}
