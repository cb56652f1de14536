//! The composition root: builds every part in order, owns every task, and takes them down in the opposite order.
//!
//! Everything that an operator can get wrong is found before the first socket is bound. Parts get what they need as
//! arguments; nothing is global.

mod dfu;
mod health;
mod recovery;
mod reload;
mod start;
mod views;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{Config, Problem};
use crate::devices::Devices;
use crate::dispatch::Dispatch;
use crate::metrics::Readiness;
use crate::mqtt::broker::Broker;
use crate::store::Store;

/// A running gateway.
pub struct App {
    broker: Arc<Broker>,
    store: Store,
    dispatch: Dispatch,
    listeners: Vec<(String, SocketAddr)>,
    tasks: Tasks,
    readiness: watch::Sender<Readiness>,
    grace: Duration,
}

/// The tasks, by the order in which they end.
#[derive(Clone, Default)]
struct Tasks {
    /// Accept loops, admin and metrics.
    accepting: CancellationToken,
    /// Sessions' connections.
    sessions: CancellationToken,
    /// What works for the sessions.
    parts: CancellationToken,
    /// The live path, which the parts publish to.
    router: CancellationToken,
    connections: TaskTracker,
    background: TaskTracker,
    live: TaskTracker,
}

/// Why the gateway does not start; each is the operator's to act on.
#[derive(Debug, Error)]
pub enum StartError {
    /// Configuration, certificates or policies.
    #[error("{} problem(s) in the configuration", .0.len())]
    Problems(Vec<Problem>),
    /// One line that says what is wrong and what to do.
    #[error("{0}")]
    Line(String),
}

impl StartError {
    fn line(error: impl std::error::Error) -> Self {
        Self::Line(Self::text(error))
    }

    /// An error with its causes, in one line.
    fn text(error: impl std::error::Error) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

impl App {
    /// Builds all parts and binds all sockets. Must be called inside the runtime. The file is where a reload reads the
    /// configuration again.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(config: Config, file: Option<PathBuf>) -> Result<Self, StartError> {
        start::start(config, file).await
    }

    /// The listeners' names and bound addresses.
    #[must_use]
    pub fn listeners(&self) -> &[(String, SocketAddr)] {
        &self.listeners
    }

    /// The store, for whoever shows what arrives in it.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The device registry, for whoever runs the gateway as a part of itself.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.broker.devices
    }

    /// Ends in order: no new connections, sessions say goodbye, plugins finish, the outbox goes out, stores close.
    /// What the grace period does not suffice for is left for the next start.
    pub async fn drain(mut self) {
        info!("shutting down");
        self.readiness.send_replace(Readiness::Draining);
        self.tasks.accepting.cancel();
        self.tasks.sessions.cancel();
        self.tasks.connections.close();
        let deadline = tokio::time::Instant::now() + self.grace;
        if tokio::time::timeout_at(deadline, self.tasks.connections.wait()).await.is_err() {
            warn!(connections = self.tasks.connections.len(), "connections did not end in time");
        }
        self.dispatch.drain(deadline).await;
        if tokio::time::timeout_at(deadline, self.broker.router.drained()).await.is_err() {
            warn!("messages on the live path are left");
        }
        self.tasks.parts.cancel();
        self.tasks.background.close();
        if tokio::time::timeout_at(deadline + LAST_WRITES, self.tasks.background.wait()).await.is_err() {
            warn!("some parts did not end in time");
        }
        self.tasks.router.cancel();
        self.tasks.live.close();
        let _ = tokio::time::timeout(LAST_WRITES, self.tasks.live.wait()).await;
        if let Err(error) = self.broker.devices.flush().await {
            warn!(%error, "when devices were last seen is not written");
        }
        let journal = self.broker.journal.clone();
        let _ = tokio::task::spawn_blocking(move || journal.shutdown()).await;
        self.store.shutdown().await;
        info!("shut down");
    }
}

/// What the last checkpoint and the last retained messages may take beyond the grace period.
const LAST_WRITES: Duration = Duration::from_secs(2);
