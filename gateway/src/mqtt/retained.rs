//! The retained messages: one per topic, in memory for delivery, in the store for the next start.
//!
//! Memory is what subscribers get; a task writes what changed to the store. A retained message of QoS 1 or 2 is in the
//! journal until the store has it, so that it survives a crash between the two. Who may retain is a question of policy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use causeway_core::message::Message;
use causeway_core::topic_tree::TopicTree;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::delivery::Fanout;
use crate::config::RetainedConfig;
use crate::journal::{Cursor, Durable, Journal, Position};
use crate::store::{Store, cursors, retained as table};

/// The journal cursor's name, and its row in the store.
pub const CURSOR: &str = "retained";

/// How often changes go to the store, together.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// The retained messages; one per gateway.
pub struct Retained {
    limits: RetainedConfig,
    metrics: RetainedMetrics,
    inner: Mutex<Inner>,
    /// Every journalled message up to this position has been put, if it is to be retained.
    passed: AtomicU64,
}

#[derive(Default)]
struct Inner {
    tree: TopicTree<Arc<Fanout>>,
    bytes: usize,
    /// How many of them expire.
    expiring: usize,
    /// What the store does not have yet: a message, or the end of one.
    dirty: HashMap<ByteString, Option<Arc<Fanout>>>,
}

/// What the retained store counts.
#[derive(Clone, Debug, Default)]
pub struct RetainedMetrics {
    messages: Gauge,
    bytes: Gauge,
    refused: Counter,
}

impl RetainedMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("causeway_retained_messages", "Topics with a retained message", metrics.messages.clone());
        registry.register("causeway_retained_bytes", "Bytes of the retained messages", metrics.bytes.clone());
        registry.register("causeway_retained_refused", "Retained messages without room", metrics.refused.clone());
        metrics
    }
}

/// The bounds are reached: v5 0x97.
#[derive(Debug, Error)]
#[error("no room for another retained message")]
pub struct RetainError;

impl Retained {
    /// The messages that the store has; records of the journal are added with [`Retained::put`].
    #[must_use]
    pub fn restore(limits: RetainedConfig, metrics: RetainedMetrics, stored: Vec<table::Retained>) -> Self {
        let retained = Self { limits, metrics, inner: Mutex::default(), passed: AtomicU64::new(0) };
        for row in stored {
            match Message::decode(&Bytes::from(row.message)) {
                Ok(message) => retained.lock().keep(&message),
                Err(error) => warn!(topic = row.topic, %error, "a stored retained message is damaged and skipped"),
            }
        }
        retained.count();
        retained
    }

    /// Whether [`Retained::put`] may keep the message: an empty one deletes and always may.
    ///
    /// # Errors
    /// [`RetainError`] when it does not fit the bounds.
    pub fn check_room(&self, message: &Message) -> Result<(), RetainError> {
        if message.payload.is_empty() {
            return Ok(());
        }
        let inner = self.lock();
        let known = inner.tree.get(&message.topic).map(|fanout| weight(&fanout.message));
        let messages = inner.tree.len() + usize::from(known.is_none());
        let bytes = inner.bytes - known.unwrap_or(0) + weight(message);
        drop(inner);
        if messages > self.limits.max_messages
            || bytes > usize::try_from(self.limits.max_bytes.bytes()).unwrap_or(usize::MAX)
        {
            self.metrics.refused.inc();
            return Err(RetainError);
        }
        Ok(())
    }

    /// Keeps the message for its topic, or forgets the topic's message when the payload is empty (MQTT5 3.3.1.3).
    pub fn put(&self, message: &Message) {
        let mut inner = self.lock();
        let change = if message.payload.is_empty() {
            inner.forget(&message.topic);
            None
        } else {
            inner.keep(message);
            inner.tree.get(&message.topic).cloned()
        };
        inner.dirty.insert(copy(&message.topic), change);
        drop(inner);
        self.count();
    }

    /// A journalled message has got its place here, or needs none.
    pub fn passed(&self, position: Position) {
        self.passed.store(position, Ordering::Release);
    }

    /// The messages whose topics match a filter, without the expired ones.
    #[must_use]
    pub fn matching(&self, filter: &str, now_ms: u64) -> Vec<Arc<Fanout>> {
        let mut found = Vec::new();
        self.lock().tree.matching(filter, |fanout| {
            if fanout.message.expires_ms().is_none_or(|expires| expires > now_ms) {
                found.push(fanout.clone());
            }
        });
        found
    }

    /// Forgets the expired messages.
    pub fn expire(&self, now_ms: u64) {
        let mut expired = Vec::new();
        let mut inner = self.lock();
        if inner.expiring == 0 {
            return;
        }
        inner.tree.matching("#", |fanout| {
            if fanout.message.expires_ms().is_some_and(|expires| expires <= now_ms) {
                expired.push(fanout.message.topic.clone());
            }
        });
        if expired.is_empty() {
            return;
        }
        for topic in expired {
            inner.forget(&topic);
            inner.dirty.insert(topic, None);
        }
        drop(inner);
        self.count();
    }

    /// Writes changes to the store until `shutdown`, the last ones after it, and lets go of the journal behind them.
    pub async fn run(self: Arc<Self>, store: Store, journal: Journal, cursor: Cursor, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                () = shutdown.cancelled() => true,
                _ = ticks.tick() => false,
            };
            // Later messages may be among the changes: they are put again after a restart, to the same end.
            let durable = match *journal.durable().borrow() {
                Durable::Position(position) => position,
                Durable::Failed => 0,
            };
            let position = self.passed.load(Ordering::Acquire).min(durable);
            self.flush(&store, &cursor, position).await;
            if last {
                return;
            }
        }
    }

    async fn flush(&self, store: &Store, cursor: &Cursor, position: Position) {
        let changes = std::mem::take(&mut self.lock().dirty);
        if changes.is_empty() && position <= cursor.position() {
            return;
        }
        let rows: Vec<_> = changes.iter().map(|(topic, change)| (topic.clone(), change.clone())).collect();
        let written = store.write_synced(move |tx| {
            for (topic, change) in &rows {
                match change {
                    Some(fanout) => table::put(tx, topic, &fanout.message.encode(), fanout.message.expires_ms())?,
                    None => table::delete(tx, topic)?,
                }
            }
            cursors::set(tx, CURSOR, position)
        });
        match written.await {
            Ok(()) => cursor.advance(position),
            Err(error) => {
                error!(%error, "retained messages are not stored and tried again");
                let mut inner = self.lock();
                for (topic, change) in changes {
                    inner.dirty.entry(topic).or_insert(change);
                }
            }
        }
    }

    fn count(&self) {
        let inner = self.lock();
        self.metrics.messages.set(i64::try_from(inner.tree.len()).unwrap_or(i64::MAX));
        self.metrics.bytes.set(i64::try_from(inner.bytes).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, message: &Message) {
        self.bytes += weight(message);
        self.expiring += usize::from(message.expires_ms().is_some());
        // Copies: topic and payload may be slices of a large read buffer, which a kept slice would pin.
        let message = Message {
            topic: copy(&message.topic),
            payload: Bytes::copy_from_slice(&message.payload),
            ..message.clone()
        };
        let topic = message.topic.clone();
        if let Some(old) = self.tree.insert(&topic, Fanout::new(message, None)) {
            self.removed(&old.message);
        }
    }

    fn removed(&mut self, old: &Message) {
        self.bytes -= weight(old);
        self.expiring -= usize::from(old.expires_ms().is_some());
    }

    fn forget(&mut self, topic: &str) {
        if let Some(old) = self.tree.remove(topic) {
            self.removed(&old.message);
        }
    }
}

fn weight(message: &Message) -> usize {
    message.topic.len() + message.payload.len()
}

fn copy(text: &ByteString) -> ByteString {
    ByteString::from(text.to_string())
}
