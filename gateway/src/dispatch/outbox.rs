//! Sends the publications of committed effects: each stays in the outbox until the front door has it for certain.
//!
//! Whoever dies between the two sends it again.

use std::sync::Arc;
use std::time::Duration;

use causeway_core::message::Message;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Parts, Publish};
use crate::journal::{Durable, Position};
use crate::store::outbox::{self, Pending};

/// Publications that are read at once.
const BATCH: usize = 256;

/// The user property that says which publication it is.
const ID: &str = "causeway-id";

/// Time after which publications that were not taken are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The task that sends.
pub(super) struct Sender {
    pub(super) parts: Parts,
    pub(super) publish: Publish,
    pub(super) wake: Arc<Notify>,
    pub(super) stopping: CancellationToken,
}

impl Sender {
    /// Sends what the last run left, then what comes, until it is stopped; then what is there one last time.
    pub(super) async fn run(self) {
        loop {
            let all = self.send().await;
            tokio::select! {
                () = self.stopping.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(RETRY), if !all => {}
            }
        }
        self.send().await;
    }

    /// Sends everything; `false` when something is left for later.
    async fn send(&self) -> bool {
        let (mut after, mut all) = (0, true);
        loop {
            let read = move |connection: &rusqlite::Connection| outbox::pending(connection, after, BATCH);
            let pending = match self.parts.store.read(read).await {
                Ok(pending) => pending,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    return false;
                }
            };
            let Some(last) = pending.last().map(|last| last.id) else { return all };
            after = last;
            all &= self.send_batch(pending).await;
        }
    }

    async fn send_batch(&self, pending: Vec<Pending>) -> bool {
        let (count, mut sent, mut upto) = (pending.len(), Vec::with_capacity(pending.len()), None);
        for Pending { id, message } in pending {
            let Ok(mut message) = Message::decode(&message.into()) else {
                tracing::error!(id, "a publication in the outbox is not readable and is given up");
                sent.push(id);
                continue;
            };
            // It stays the same when the publication has to be sent again, so that its receivers can tell.
            message.properties.user.push((ID.into(), format!("{}/{id}", self.parts.gateway).into()));
            match (self.publish)(&message) {
                Ok(position) => {
                    upto = upto.max(position);
                    sent.push(id);
                }
                Err(error) => tracing::debug!(topic = %message.topic, %error, "a publication stays in the outbox"),
            }
        }
        if !self.on_disk(upto).await {
            return false;
        }
        crate::crash::point("sent", "");
        let all = sent.len() == count;
        self.parts.metrics.published.inc_by(sent.len() as u64);
        match self.parts.store.write(move |tx| outbox::delete(tx, &sent)).await {
            Ok(()) => all,
            Err(error) => {
                tracing::error!(%error, "sent publications stay in the outbox and will be sent again");
                false
            }
        }
    }

    /// Waits until the journal has everything up to the position on disk.
    async fn on_disk(&self, upto: Option<Position>) -> bool {
        let Some(upto) = upto else { return true };
        let mut durable = self.parts.journal.durable();
        let reached = durable.wait_for(|durable| match durable {
            Durable::Position(position) => *position >= upto,
            Durable::Failed => true,
        });
        reached.await.is_ok_and(|durable| *durable != Durable::Failed)
    }
}
