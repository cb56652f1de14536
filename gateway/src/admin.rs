//! Operators' way in: HTTP and JSON on a Unix socket and, when configured, on HTTPS.
//!
//! There is one route table (`routes.rs`). Each route names the Cedar action that its caller must be
//! permitted, and every change is in the audit log before its answer is sent. The handlers hold no logic
//! of their own: they ask the parts that the composition root hands over in [`Context`].

mod audit;
mod bindings;
mod caller;
mod campaigns;
mod canaries;
mod certificates;
mod dead_letters;
mod devices;
mod dfu;
mod firmware;
mod gate;
mod https;
mod local;
mod metrics;
mod openapi;
mod ota;
mod policies;
mod query;
mod recordings;
mod reload;
mod route;
mod routes;
mod status;
mod tokens;
mod views;

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::https::{Https, load as load_https};
pub use self::local::{SocketError, bind as bind_socket};
pub use self::metrics::AdminMetrics;
pub use self::openapi::document as openapi;
pub use self::reload::{Configuration, LastReload, Reloads, What};
pub use self::views::{
    BindingView, CanaryBrief, CanaryOrder, CanaryView, ConnectionView, CursorView, DifferenceView, JournalView,
    ListenerView, Look, Order, Orders, PluginOrder, SessionView, Shadow, Shadowing, Swap, Swapped, Swapping, View,
    Views,
};
use crate::clock::Clock;
use crate::config::Config;
use crate::devices::Devices;
use crate::dfu::{Desired, Fleet};
use crate::firmware::Firmware;
use crate::http::Limits;
use crate::mqtt::tls::Tls;
use crate::policy::Policies;
use crate::recording::Recordings;
use crate::store::Store;

/// Everything that the handlers ask; clones share it.
#[derive(Clone)]
pub struct Context(Arc<Parts>);

/// What the composition root hands over.
pub struct Parts {
    /// The name of this gateway.
    pub gateway_id: String,
    /// When it was started, Unix ms.
    pub started_ms: u64,
    /// The configuration that it was started with.
    pub config: Arc<Config>,
    /// The gateway's time.
    pub clock: Clock,
    /// Who may do what.
    pub policies: Policies,
    /// Who may connect.
    pub devices: Devices,
    /// What they are to run.
    pub desired: Desired,
    /// What they run, and what becomes of their updates.
    pub fleet: Fleet,
    /// What devices can be updated to.
    pub firmware: Firmware,
    /// What is stored.
    pub store: Store,
    /// What is recorded of plugins.
    pub recordings: Recordings,
    /// The TLS state of each listener that has one, by its name.
    pub tls: Vec<(String, Tls)>,
    /// What changes too often to be handed over.
    pub views: Views,
    /// What bindings can be told.
    pub orders: Orders,
    /// Rereads files, for this API and for SIGHUP.
    pub reloads: Reloads,
    /// What this API counts.
    pub metrics: AdminMetrics,
    /// Keeps changes going whose caller went away.
    pub tasks: TaskTracker,
}

impl Context {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    fn limits(&self) -> Limits {
        let config = &self.config.admin;
        Limits {
            max_connections: config.max_connections,
            max_body_bytes: config.max_body_bytes.in_memory(),
            request_timeout: config.request_timeout,
            waits: self.metrics.waits.clone(),
            timeouts: self.metrics.timeouts.clone(),
        }
    }
}

impl Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Serves the Unix socket and HTTPS until `stop`; returns when the last answer is sent and the last change is done.
pub async fn run(socket: tokio::net::UnixListener, https: Option<Https>, context: Context, stop: CancellationToken) {
    let local = local::run(socket, context.clone(), stop.clone());
    let remote = async {
        if let Some(https) = https {
            https.run(context.clone(), stop).await;
        }
    };
    tokio::join!(local, remote);
}

#[cfg(test)]
mod tests;
