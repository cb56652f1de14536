//! The live path: every message goes through rumqttd's router to the front door's delivery links.
//!
//! The only file that names rumqttd. Nothing of a device lives inside it: one ingest link publishes to one constant
//! topic, a fixed set of delivery links subscribes to it, and the payload is an encoded message. What the delivery links
//! have not seen yet stays in a bounded window here, so that a router that dies is replaced and given the window again:
//! no client notices and nothing is lost. Who gets a message is not decided here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Packet, Publish};
use rumqttd::{Notification, RouterConfig};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::crash;

/// The one topic inside the router; ASCII, because rumqttd slices the first byte of a topic.
const TOPIC: &str = "m";
/// How long the router may take to answer an attachment.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a router that could not be started is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Deliveries between two chances for other tasks of this worker thread.
const DELIVERIES_PER_TURN: u32 = 128;

/// The bounds of the live path.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Delivery links; each sees every message and serves its share of the sessions.
    pub links: usize,
    /// Messages that may be in the router at once.
    pub window_messages: usize,
    /// Bytes that may be in the router at once; at least one message of the largest size always fits.
    pub window_bytes: usize,
}

/// What the router counts.
#[derive(Clone, Debug, Default)]
pub struct RouterMetrics {
    /// Routers that died and were replaced.
    pub restarts: Counter,
    /// Messages that a router dropped; anything but 0 is a defect.
    pub lost: Counter,
    /// Publishers that waited because the window was full.
    pub window_waits: Counter,
}

impl RouterMetrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("causeway_router_restarts", "Routers that died and were replaced", metrics.restarts.clone());
        registry.register("causeway_router_lost_messages", "Messages a router dropped", metrics.lost.clone());
        let help = "Publishers that waited for room on the live path";
        registry.register("causeway_router_window_waits", help, metrics.window_waits.clone());
        metrics
    }
}

/// The live path's entrance; clones share it.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    metrics: RouterMetrics,
    ingest: Mutex<Ingest>,
    /// The sequence number of the newest message.
    last: AtomicU64,
    /// For each delivery link the sequence number of the last message that it has handled.
    delivered: Vec<AtomicU64>,
    room: Notify,
    /// A test wants the router dead with every so many messages.
    life: Option<u64>,
}

/// The publishing side. Sequence numbers start at 1 and number the messages in the order of `publish` calls.
struct Ingest {
    link: Option<LinkTx>,
    /// The sequence number of the window's first message.
    first: u64,
    /// What not every delivery link has handled yet.
    window: VecDeque<Bytes>,
    bytes: usize,
}

impl Router {
    /// A router without its thread; [`Router::run`] starts it.
    #[must_use]
    pub fn new(limits: Limits, metrics: RouterMetrics) -> Self {
        let delivered = (0..limits.links.max(1)).map(|_| AtomicU64::new(0)).collect();
        let ingest = Mutex::new(Ingest { link: None, first: 1, window: VecDeque::new(), bytes: 0 });
        let (last, room) = (AtomicU64::new(0), Notify::new());
        let life = crash::router_life();
        Self { shared: Arc::new(Shared { limits, metrics, ingest, last, delivered, room, life }) }
    }

    /// The number of delivery links.
    #[must_use]
    pub fn links(&self) -> usize {
        self.shared.delivered.len()
    }

    /// Puts an encoded message on its way to every delivery link, in the order of calls. Never blocks and never fails:
    /// while no router runs, the message waits in the window. Callers ask [`Router::has_room`] before they read more.
    pub fn publish(&self, payload: Bytes) {
        self.shared.lock().publish(payload, &self.shared);
    }

    /// The number of the newest message: what is published later has a higher one.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.shared.last.load(Ordering::Acquire)
    }

    /// Whether the window takes more messages now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let mut ingest = self.shared.lock();
        ingest.trim(&self.shared);
        ingest.window.len() < self.shared.limits.window_messages && ingest.bytes < self.shared.limits.window_bytes
    }

    /// Resolves when the window takes more messages. Cancel-safe.
    pub async fn room(&self) {
        if !self.has_room() {
            self.shared.metrics.window_waits.inc();
        }
        loop {
            let notified = self.shared.room.notified();
            if self.has_room() {
                return;
            }
            notified.await;
        }
    }

    /// Resolves when every message published before the call has been delivered. Cancel-safe.
    pub async fn drained(&self) {
        loop {
            let notified = self.shared.room.notified();
            {
                let mut ingest = self.shared.lock();
                ingest.trim(&self.shared);
                if ingest.window.is_empty() {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Keeps a router running until `shutdown`, and replaces it when it dies. `deliver` gets the link's index, the
    /// message's number and the encoded message; for each link it is called in the order of publishing, once per message.
    ///
    /// rumqttd has no stop: its thread ends when the last link to it is dropped.
    pub async fn run(
        self,
        deliver: impl Fn(usize, u64, Bytes) + Clone + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            match self.attach().await {
                Ok(links) => {
                    let mut readers = JoinSet::new();
                    for (index, (link, next)) in links.into_iter().enumerate() {
                        readers.spawn(read(self.shared.clone(), index, link, next, deliver.clone()));
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        _ = readers.join_next() => {
                            self.shared.metrics.restarts.inc();
                            error!("the router died and is replaced");
                        }
                    }
                    self.shared.lock().link = None;
                    readers.shutdown().await;
                }
                Err(error) => {
                    error!(%error, "the router does not start");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Starts a router, attaches every link and hands it the window.
    async fn attach(&self) -> Result<Vec<(LinkRx, u64)>, AttachError> {
        let limits = self.shared.limits.clone();
        // Building a link blocks until the router answers.
        let attachment = tokio::task::spawn_blocking(move || Attachment::build(&limits)).await;
        let Attachment { ingest: mut link, delivery } = attachment.map_err(|_| AttachError::Died)??;
        let mut ingest = self.shared.lock();
        ingest.trim(&self.shared);
        let first = ingest.first;
        for payload in &ingest.window {
            push(&mut link, TOPIC, payload.clone());
        }
        // What came while the first router started has met no death.
        if self.shared.metrics.restarts.get() > 0 && !ingest.window.is_empty() {
            info!(messages = ingest.window.len(), "messages in flight go through the new router");
        }
        ingest.link = Some(link);
        Ok(delivery.into_iter().map(|link| (link, first)).collect())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ingest> {
        // A panic while it was held cannot leave the window half changed in a way that matters.
        self.ingest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivered_by_all(&self) -> u64 {
        self.delivered.iter().map(|link| link.load(Ordering::Acquire)).min().unwrap_or(0)
    }
}

impl Ingest {
    fn publish(&mut self, payload: Bytes, shared: &Shared) {
        self.trim(shared);
        self.bytes += payload.len();
        self.window.push_back(payload.clone());
        let last = self.first + self.window.len() as u64 - 1;
        shared.last.store(last, Ordering::Release);
        if let Some(link) = &mut self.link {
            push(link, TOPIC, payload);
            if shared.life.is_some_and(|life| last.is_multiple_of(life)) {
                poison(link);
            }
        }
    }

    fn trim(&mut self, shared: &Shared) {
        let delivered = shared.delivered_by_all();
        while self.first <= delivered {
            let Some(payload) = self.window.pop_front() else { return };
            self.first += 1;
            self.bytes -= payload.len();
        }
    }
}

/// Hands one message to the router. A router that is gone is noticed by the delivery links; the window has the message.
fn push(link: &mut LinkTx, topic: &'static str, payload: Bytes) {
    {
        let mut buffer = link.buffer();
        if !buffer.is_empty() {
            // The router has been told of this buffer and has not emptied it yet: it will find this message too.
            let publish = Publish::new(Bytes::from_static(topic.as_bytes()), payload, false);
            buffer.push_back(Packet::Publish(publish, None));
            return;
        }
    }
    let _ = link.publish(topic, payload);
}

/// The input that panics rumqttd's thread, which slices a topic behind its first byte. It cannot come from a client,
/// because topics never go there.
fn poison(link: &mut LinkTx) {
    push(link, "\u{e9}/x", Bytes::new());
}

/// Hands a link's messages on until the router dies.
async fn read(shared: Arc<Shared>, index: usize, mut link: LinkRx, first: u64, deliver: impl Fn(usize, u64, Bytes)) {
    let Some(delivered) = shared.delivered.get(index) else { return };
    let mut sequence = first;
    let mut offset = None;
    // Publishers that wait for room are woken when half of it is free, so that they go on with more than one message.
    let half = shared.limits.window_messages as u64 / 2;
    let mut turn = 0u32;
    while let Ok(notification) = link.next().await {
        match notification {
            Some(Notification::Forward(forward)) => {
                sequence += skipped(&shared.metrics, offset, forward.cursor);
                offset = forward.cursor.map(|(_, offset)| offset);
                // After a change of routers the window's older messages may have been delivered here already.
                if sequence > delivered.load(Ordering::Relaxed) {
                    deliver(index, sequence, forward.publish.payload);
                    delivered.store(sequence, Ordering::Release);
                }
                turn = turn.wrapping_add(1);
                let left = shared.last.load(Ordering::Acquire).saturating_sub(sequence);
                if left == 0 || left == half || turn.is_multiple_of(DELIVERIES_PER_TURN) {
                    shared.room.notify_waiters();
                }
                if turn.is_multiple_of(DELIVERIES_PER_TURN) {
                    tokio::task::yield_now().await;
                }
                sequence += 1;
            }
            Some(Notification::Unschedule) if link.wake().await.is_err() => return,
            _ => {}
        }
    }
}

/// How many messages the router dropped between two forwards: the offsets of one filter are consecutive.
fn skipped(metrics: &RouterMetrics, last: Option<u64>, cursor: Option<(u64, u64)>) -> u64 {
    let (Some(last), Some((_, offset))) = (last, cursor) else { return 0 };
    let gap = offset.saturating_sub(last).saturating_sub(1);
    if gap > 0 {
        metrics.lost.inc_by(gap);
        error!(messages = gap, "the router dropped messages");
    }
    gap
}

/// A fresh router with its links.
struct Attachment {
    ingest: LinkTx,
    delivery: Vec<LinkRx>,
}

/// A router that cannot be used; the caller tries again.
#[derive(Debug, Error)]
enum AttachError {
    #[error("the router refused a link")]
    Link(#[source] Box<LinkError>),
    #[error("the router died while it was attached")]
    Died,
}

impl From<LinkError> for AttachError {
    fn from(error: LinkError) -> Self {
        // rumqttd's error carries the event that was not sent.
        Self::Link(Box::new(error))
    }
}

impl Attachment {
    /// Blocks until the router has confirmed every subscription.
    fn build(limits: &Limits) -> Result<Self, AttachError> {
        let router = rumqttd::Router::new(0, config(limits)).spawn();
        let (ingest, _, _) = LinkBuilder::new("ingest", router.clone()).build()?;
        let mut delivery = Vec::with_capacity(limits.links);
        for index in 0..limits.links.max(1) {
            let (mut tx, mut rx, _) = LinkBuilder::new(&format!("delivery-{index}"), router.clone()).build()?;
            tx.subscribe(TOPIC)?;
            let deadline = Instant::now() + ATTACH_TIMEOUT;
            while !matches!(rx.recv_deadline(deadline)?, Some(Notification::DeviceAck(_))) {}
            delivery.push(rx);
        }
        Ok(Self { ingest, delivery })
    }
}

/// The router's ring always holds the whole window: what it would drop silently never gets that far.
fn config(limits: &Limits) -> RouterConfig {
    let segments = 4;
    RouterConfig {
        max_connections: limits.links.max(1) + 1,
        max_outgoing_packet_count: 200,
        max_segment_size: (limits.window_bytes / (segments - 2)).max(64 * 1024),
        max_segment_count: segments,
        ..RouterConfig::default()
    }
}

#[cfg(test)]
mod tests;
