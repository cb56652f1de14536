//! One MQTT session: subscriptions, queue, window and known ids, for as long as the client asked it to live.
//!
//! A session outlives its connections. The delivery links push into its queue, its connection takes from it; both hold
//! the lock only for that. A session that must survive a restart writes what it does to the journal
//! ([`super::session_log`]); who may do what is decided by its connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use causeway_core::inflight::Inflight;
use causeway_core::message::QoS;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::delivery::{Delivery, Fanout};
use super::identity::Peer;
use super::wire::{Reason, Version};
use crate::devices::Device;
use crate::journal::Position;

/// What a session is known by: a takeover across identities is impossible by construction.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionKey {
    /// The device id, or behind a plain listener `unverified/` and the principal's name.
    pub device: ByteString,
    /// The MQTT client id.
    pub client: ByteString,
}

/// The options of one subscription (MQTT5 3.8.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subscription {
    /// The highest guarantee that is delivered.
    pub qos: QoS,
    /// The session's own messages are not delivered to it.
    pub no_local: bool,
    /// The retain flag is delivered as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub identifier: Option<u32>,
    /// Messages up to this journal position were published before the subscription.
    pub since: Position,
    /// Messages up to this number of the live path were, too; numbers begin again with each process.
    pub after: u64,
}

/// A session; its table holds it, its connection serves it.
#[derive(Debug)]
pub struct Session {
    /// A number that is never used again, also not after a restart.
    pub id: u64,
    /// Whose session it is.
    pub key: SessionKey,
    /// Held by the connection that serves the session: at most one at a time.
    pub slot: Arc<tokio::sync::Mutex<()>>,
    wake: Notify,
    inner: Mutex<Inner>,
}

/// What the lock protects.
#[derive(Debug, Default)]
pub struct Inner {
    /// The filters and their options.
    pub subscriptions: HashMap<ByteString, Subscription>,
    /// Waiting for the window, oldest first.
    pub queue: VecDeque<Queued>,
    pub(super) queue_bytes: usize,
    /// Retained messages of new subscriptions; they wait here, so that their number needs no bound of the queue's.
    pub retained: VecDeque<Delivery>,
    /// Sent and not acknowledged.
    pub inflight: Inflight<Queued>,
    pub(super) inflight_bytes: usize,
    /// QoS 2 ids received and not released, with the position of their message if a restart must know it.
    pub received: HashMap<u16, Option<Position>>,
    /// How long the session lives without a connection, in seconds; 0 ends it with the connection.
    pub expiry_s: u32,
    /// Whether the journal must know what the session does.
    pub durable: bool,
    /// When its last connection ended, in Unix milliseconds.
    pub offline_since_ms: Option<u64>,
    /// The session is over: whoever still holds it must not use it.
    pub ended: bool,
    /// The connection that serves it.
    pub live: Option<Live>,
    /// What its connection must do next.
    pub order: Option<Order>,
    /// What of the journal is part of this state.
    pub as_of: AsOf,
    /// The state has changed since its last snapshot.
    pub dirty: bool,
    pub(super) progress: Progress,
    /// Messages it lost because its queue was full.
    pub dropped: u64,
}

/// The journal positions up to which a session's state is complete, one for each kind of record.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AsOf {
    /// Messages that its subscriptions match.
    pub offered: Position,
    /// Its own records.
    pub recorded: Position,
    /// Its own QoS 2 publishes.
    pub published: Position,
}

/// A message for the session: in memory, or to be read from the journal.
#[derive(Clone, Debug)]
pub enum Queued {
    /// In memory.
    Message(Delivery),
    /// In the journal; subscriptions decide how it is delivered when it is read.
    Stored(Position),
}

impl Queued {
    /// Its journal position, if it has one.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Message(delivery) => delivery.fanout.position,
            Self::Stored(position) => Some(*position),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message(delivery) => delivery.bytes(),
            Self::Stored(_) => 0,
        }
    }

    /// Without its payload, if the journal has it.
    fn stored(self) -> Self {
        self.position().map_or(self, Self::Stored)
    }
}

/// The connection that serves a session, for `causeway status` and the review of standing.
#[derive(Clone, Debug)]
pub struct Live {
    /// The device as it was admitted.
    pub device: Option<Arc<Device>>,
    /// Who it is and where it comes from.
    pub peer: Arc<Peer>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// When CONNECT was accepted, in Unix milliseconds.
    pub since_ms: u64,
    /// The protocol that it speaks.
    pub version: Version,
}

/// Whether a queue moves.
#[derive(Debug, Default)]
pub(super) struct Progress {
    taken: u64,
    /// What `taken` was when it last changed, and when that was seen.
    seen: Option<(u64, Instant)>,
}

impl Progress {
    /// Whether something was taken of late. Asked when the queue is crowded only, because it reads the clock.
    fn is_recent(&mut self, now: Instant) -> bool {
        match self.seen {
            Some((taken, at)) if taken == self.taken => now.duration_since(at) < STILL,
            _ => {
                self.seen = Some((self.taken, now));
                true
            }
        }
    }
}

/// A queue of which nothing was taken for so long does not move.
const STILL: Duration = Duration::from_millis(500);

/// What became of a message that was offered to a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offered {
    /// A message was dropped for it, or it was.
    pub dropped: bool,
    /// All queues together are full: it was left to the journal, or dropped.
    pub squeezed: bool,
    /// The queue is crowded although it moves: publishers had better be slowed.
    pub crowded: bool,
}

/// A queue is crowded when a part of it is full that leaves room for what is on its way.
const CROWDED_PART: usize = 4;

/// What somebody else wants of a session's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Say this reason, with its reason string, and close.
    Close(Reason, &'static str),
    /// Policies or attributes changed: check the subscriptions again.
    Review,
}

/// The bounds of one session's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages that wait in memory.
    pub messages: usize,
    /// Messages of a durable session that wait, most of them in the journal.
    pub stored: usize,
    /// Bytes of payload and topic that wait in memory.
    pub bytes: usize,
    /// Bytes of payload and topic that all sessions together hold in memory.
    pub total_bytes: usize,
}

/// What a session may hold in memory although all queues together are full, so that those who never read do not take the
/// room of those who do. A session that holds nothing may hold one message of any size.
const OWN_BYTES: usize = 16 * 1024;

impl Session {
    /// A new session, or one that was read from the journal.
    #[must_use]
    pub fn new(id: u64, key: SessionKey, inner: Inner) -> Arc<Self> {
        Arc::new(Self { id, key, slot: Arc::default(), wake: Notify::new(), inner: Mutex::new(inner) })
    }

    /// The session's state; held for a few instructions only, never across an await.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when there is something new in the queue or an order. Cancel-safe.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells the session's connection to do something; `false` when there is none.
    pub fn order(&self, order: Order) -> bool {
        let mut inner = self.lock();
        if inner.live.is_none() {
            return false;
        }
        // A close is never taken back by a review.
        if !matches!(inner.order, Some(Order::Close(..))) {
            inner.order = Some(order);
        }
        drop(inner);
        self.wake.notify_one();
        true
    }

    /// Takes a message that one of its subscriptions matched.
    pub fn offer(&self, fanout: &Arc<Fanout>, subscription: &Subscription, limits: QueueLimits) -> Offered {
        let message = &fanout.message;
        if subscription.no_local && message.client == self.key.client && message.sender == self.key.device {
            return Offered::default();
        }
        let qos = subscription.qos.min(message.qos);
        let retain = message.retain && subscription.retain_as_published;
        let mut inner = self.lock();
        if inner.ended || (inner.live.is_none() && qos == QoS::AtMostOnce) {
            return Offered::default();
        }
        if inner.merge(fanout, qos, retain, subscription.identifier) {
            return Offered::default();
        }
        let identifiers = subscription.identifier.map(|identifier| Box::new(vec![identifier]));
        let delivery = Delivery { fanout: fanout.clone(), qos, retain, identifiers };
        if let Some(position) = fanout.position.filter(|_| inner.durable) {
            inner.as_of.offered = inner.as_of.offered.max(position);
            inner.dirty = true;
        }
        let first = inner.queue.is_empty();
        let (dropped, squeezed) = inner.push(delivery, limits);
        let wake = first && inner.live.is_some();
        let crowded = inner.live.is_some() && inner.queue.len() > limits.messages / CROWDED_PART;
        let crowded = crowded && inner.progress.is_recent(Instant::now());
        drop(inner);
        if wake {
            self.wake.notify_one();
        }
        Offered { dropped, squeezed, crowded }
    }

    /// Puts retained messages in front of the queue and wakes the connection.
    pub fn offer_retained(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.lock().retained.extend(deliveries);
        self.wake.notify_one();
    }
}

impl Inner {
    /// Whether the session outlives its connection.
    #[must_use]
    pub const fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }

    /// A message that a second subscription matches is delivered once, with the higher guarantee and both identifiers
    /// (MQTT5 3.3.4).
    fn merge(&mut self, fanout: &Arc<Fanout>, qos: QoS, retain: bool, identifier: Option<u32>) -> bool {
        match self.queue.back_mut() {
            Some(Queued::Message(last)) if Arc::ptr_eq(&last.fanout, fanout) => {
                last.qos = last.qos.max(qos);
                last.retain |= retain;
                if let Some(identifier) = identifier {
                    last.identifiers.get_or_insert_default().push(identifier);
                }
                true
            }
            Some(Queued::Stored(position)) => fanout.position == Some(*position),
            _ => false,
        }
    }

    /// Queues a delivery within the bounds; answers whether one was dropped, and whether the bound of all queues
    /// together was hit.
    ///
    /// What the journal has waits there instead of in memory. When the queue is full a durable session loses its oldest
    /// message, any other session the new one.
    fn push(&mut self, delivery: Delivery, limits: QueueLimits) -> (bool, bool) {
        let in_journal = self.durable && delivery.qos != QoS::AtMostOnce && delivery.fanout.position.is_some();
        let full = self.queue.len() >= if self.durable { limits.stored } else { limits.messages };
        let held = self.queue_bytes + self.inflight_bytes;
        let squeezed = held > 0
            && held + delivery.bytes() > OWN_BYTES
            && delivery.fanout.in_memory() > limits.total_bytes
            && self.live.is_some();
        let heavy = squeezed || self.queue_bytes + delivery.bytes() > limits.bytes;
        let queued = Queued::Message(delivery);
        let queued = if in_journal && (heavy || self.live.is_none()) { queued.stored() } else { queued };
        if !full && (in_journal || !heavy) {
            self.queue_bytes += queued.bytes();
            self.queue.push_back(queued);
            return (false, squeezed);
        }
        self.dropped += 1;
        if in_journal && self.pop().is_some() {
            self.queue_bytes += queued.bytes();
            self.queue.push_back(queued);
        }
        (true, squeezed)
    }

    /// Takes a packet id for a delivery, or for one that waited under its id to be read from the journal.
    pub fn send(&mut self, delivery: Delivery, qos: QoS) -> Option<u16> {
        let bytes = delivery.bytes();
        let id = self.inflight.assign(qos, Queued::Message(delivery)).ok()?;
        self.inflight_bytes += bytes;
        Some(id)
    }

    /// Puts a message that was read from the journal under the id that it was sent with.
    pub fn resend(&mut self, id: u16, delivery: Delivery) {
        self.inflight_bytes += delivery.bytes();
        self.inflight.replace(id, Queued::Message(delivery));
    }

    /// The handshake of a sent message has ended.
    pub fn settled(&mut self, sent: &Queued) {
        self.inflight_bytes = self.inflight_bytes.saturating_sub(sent.bytes());
    }

    /// Takes the oldest message of the queue.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.progress.taken += 1;
        self.queue_bytes -= queued.bytes();
        if self.queue.is_empty() {
            // An idle session keeps no buffer.
            self.queue = VecDeque::new();
        }
        Some(queued)
    }

    /// Puts messages that were read from the journal in the place of their positions at the queue's front.
    pub fn load(&mut self, loaded: Vec<Option<Delivery>>) {
        for _ in 0..loaded.len() {
            self.pop();
        }
        for delivery in loaded.into_iter().rev().flatten() {
            self.queue_bytes += delivery.bytes();
            self.queue.push_front(Queued::Message(delivery));
        }
    }

    /// The positions at the queue's front that have to be read from the journal, at most `max`.
    #[must_use]
    pub fn stored_front(&self, max: usize) -> Vec<Position> {
        let front = self.queue.iter().take(max).map_while(|queued| match queued {
            Queued::Stored(position) => Some(*position),
            Queued::Message(_) => None,
        });
        front.collect()
    }

    /// The connection is gone: QoS 0 messages are forgotten, and what the journal has leaves the memory.
    pub fn go_offline(&mut self, now_ms: u64) {
        self.live = None;
        self.order = None;
        self.offline_since_ms = Some(now_ms);
        self.retained = VecDeque::new();
        let queue = std::mem::take(&mut self.queue);
        self.queue_bytes = 0;
        for queued in queue {
            if matches!(&queued, Queued::Message(delivery) if delivery.qos == QoS::AtMostOnce) {
                continue;
            }
            let queued = if self.durable { queued.stored() } else { queued };
            self.queue_bytes += queued.bytes();
            self.queue.push_back(queued);
        }
        if self.durable {
            self.inflight.replace_all(Queued::stored);
        }
        self.inflight_bytes = self.inflight.unacknowledged().map(|entry| entry.item.bytes()).sum();
    }

    /// The oldest journal position that the session still needs.
    #[must_use]
    pub fn oldest(&self) -> Option<Position> {
        let sent = self.inflight.unacknowledged().filter_map(|entry| entry.item.position());
        self.queue.iter().filter_map(Queued::position).chain(sent).min()
    }
}

#[cfg(test)]
mod tests;
