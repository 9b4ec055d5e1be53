//! Something that is served from a namespace.

use std::future::Future;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::Namespace;

/// A thread in a namespace, with a runtime of its own, that serves until this is dropped.
#[derive(Debug)]
pub struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Serving {
    /// Begins to serve. Every socket that `serve` opens is in the namespace.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(
        namespace: &Namespace,
        name: &str,
        serve: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = namespace.spawn(name, move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start a runtime")?;
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => Ok(()),
                    served = serve => served,
                }
            })
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Nobody is left to tell: the owner is gone, often in a panic already.
            drop(thread.join());
        }
    }
}
