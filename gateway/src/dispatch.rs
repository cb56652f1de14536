//! From messages to committed effects: each binding's plugin is called on threads of its own, and what it returns is
//! committed together with the binding's place in the journal.
//!
//! A durable binding reads the journal and gets each QoS 1 or 2 message exactly once; QoS 0 messages and live bindings go
//! through a bounded queue in memory. The front door asks which topics have to be journalled; it is never waited for.

mod batch;
mod binding;
mod calls;
mod canary;
mod commit;
mod effects;
mod guest;
mod health;
mod inbox;
mod intake;
mod metrics;
mod open;
mod orders;
mod outbox;
mod permissions;
mod places;
mod reads;
mod statuses;
mod versions;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use causeway_core::message::Message;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::devices::Devices;
use crate::dfu;
use crate::journal::{Journal, Position};
use crate::policy::Policies;
use crate::recording::Recordings;
use crate::store::Store;

pub use binding::{Binding, BindingStatus, State};
pub use canary::{Canaries, CanaryCounts, CanaryState, CanaryStatus, ChosenCanary, Difference};
pub use metrics::DispatchMetrics;
pub use open::{OpenError, Problem, check, check_canaries};
pub use permissions::{Denial, Permissions};
pub use versions::{Chosen, Configured, TookOver};

use worker::Worker;

/// How long the threads may take to commit what they have when the grace period is over.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// What dispatch stands on.
#[derive(Clone)]
pub struct Parts {
    /// The gateway's id, told to plugins.
    pub gateway: String,
    /// Where durable bindings read.
    pub journal: Journal,
    /// Where effects are committed.
    pub store: Store,
    /// Whether a plugin may publish, and the variables of topics.
    pub policies: Policies,
    /// The attributes of senders.
    pub devices: Devices,
    /// The time of dead letters and publications.
    pub clock: Clock,
    /// Who may want to see what plugins are asked.
    pub recordings: Recordings,
    /// What updates of devices stand on.
    pub updates: dfu::Ground,
    /// Bytes that all plugins together may remember.
    pub max_state: u64,
    /// How often a plugin that is not to be had is asked for again.
    pub retry: Duration,
    /// What is counted.
    pub metrics: DispatchMetrics,
}

/// Why a publication was not taken; it stays in the outbox and is tried again.
pub type NotTaken = Box<dyn std::error::Error + Send + Sync>;

/// The front door's way in for a plugin's publications: journal, retained store and router as for a device's.
/// It answers with the position that has to be durable, if any.
pub type Publish = Arc<dyn Fn(&Message) -> Result<Option<Position>, NotTaken> + Send + Sync>;

/// The bindings of a gateway.
pub struct Dispatch {
    parts: Parts,
    bindings: Vec<Arc<Binding>>,
    waiting: Vec<Worker>,
    canaries: Canaries,
    running: Option<Running>,
}

/// What runs after the start.
struct Running {
    /// Workers finish what is there and end.
    draining: CancellationToken,
    /// Workers commit what they have and end.
    stopping: CancellationToken,
    /// Yields nothing until every worker has ended.
    ended: mpsc::Receiver<()>,
    outbox: tokio::task::JoinHandle<()>,
}

impl Dispatch {
    /// The bindings, for the front door and for whoever shows them.
    #[must_use]
    pub fn bindings(&self) -> &[Arc<Binding>] {
        &self.bindings
    }

    /// The second versions that bindings are compared with.
    #[must_use]
    pub const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// How all bindings are.
    #[must_use]
    pub fn status(&self) -> Vec<BindingStatus> {
        self.bindings.iter().map(|binding| binding.status()).collect()
    }

    /// Starts the threads and the sender of publications. Must be called inside the runtime, and once.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(&mut self, publish: Publish) -> std::io::Result<()> {
        let (draining, stopping) = (CancellationToken::new(), CancellationToken::new());
        let (alive, ended) = mpsc::channel(1);
        let wake = Arc::new(Notify::new());
        for worker in self.waiting.drain(..) {
            let signals = worker::Signals {
                draining: draining.clone(),
                stopping: stopping.clone(),
                outbox: Arc::clone(&wake),
                publish: Arc::clone(&publish),
                alive: alive.clone(),
            };
            worker.spawn(signals)?;
        }
        self.canaries.begin();
        let (bindings, canaries, retry) = (self.bindings.clone(), self.canaries.clone(), self.parts.retry);
        tokio::spawn(ask_again(bindings, canaries, retry, stopping.clone()));
        let outbox = outbox::Sender { parts: self.parts.clone(), publish, wake, stopping: stopping.clone() };
        let outbox = tokio::spawn(outbox.run());
        self.running = Some(Running { draining, stopping, ended, outbox });
        Ok(())
    }

    /// Lets the bindings finish what has been accepted until `deadline`, then commits and ends. What is left in the
    /// journal and in the outbox is for the next start; what is left in memory was QoS 0.
    pub async fn drain(&mut self, deadline: Instant) {
        let Some(mut running) = self.running.take() else { return };
        running.draining.cancel();
        if tokio::time::timeout_at(deadline, running.ended.recv()).await.is_err() {
            tracing::warn!("plugins did not finish in time; the journal keeps what is left");
        }
        running.stopping.cancel();
        self.canaries.close();
        let last = deadline.max(Instant::now()) + LAST_COMMIT;
        if tokio::time::timeout_at(last, running.ended.recv()).await.is_err() {
            tracing::error!("a plugin's thread does not end");
        }
        if tokio::time::timeout_at(last, running.outbox).await.is_err() {
            tracing::warn!("publications of plugins are left in the outbox");
        }
        let recordings = self.parts.recordings.clone();
        let closed = tokio::task::spawn_blocking(move || recordings.close());
        if tokio::time::timeout_at(last, closed).await.is_err() {
            tracing::warn!("a recording was not finished");
        }
    }
}

/// Asks again for the plugins that were not to be had, each on a thread of its own, because it may take minutes.
async fn ask_again(bindings: Vec<Arc<Binding>>, canaries: Canaries, retry: Duration, stopping: CancellationToken) {
    while tokio::time::timeout(retry, stopping.cancelled()).await.is_err() {
        canaries.ask_again();
        for binding in bindings.iter().filter(|binding| binding.waits()) {
            let binding = Arc::clone(binding);
            let name = format!("prepare-{}", binding.name());
            if let Err(error) = std::thread::Builder::new().name(name).spawn(move || binding.ask_again()) {
                tracing::error!(%error, "no thread to prepare a plugin on");
            }
        }
    }
}
