//! What a persistent session does, as records of the journal, and how a restart reads them back.
//!
//! A session's state is the snapshot in the store plus every later record, in journal order. Replaying is pure: records
//! in, state out; nothing here reads or writes a file.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use bytestring::ByteString;
use causeway_core::inflight::{Entry, Inflight, Stage};
use causeway_core::message::{Message, QoS};
use causeway_core::trie::Trie;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::session::{AsOf, Inner, Queued, SessionKey, Subscription};
use crate::journal::Position;

/// The format of records and snapshots; their first byte.
const FORMAT: u8 = 1;

/// One record; the first field is the session's id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event {
    /// A persistent session begins: device, client id, expiry in seconds.
    #[serde(rename = "o")]
    Opened(u64, String, String, u32),
    /// A connection ended or changed the expiry: expiry in seconds, offline since (Unix milliseconds) or `None`.
    #[serde(rename = "c")]
    Changed(u64, u32, Option<u64>),
    /// The session is over.
    #[serde(rename = "e")]
    Ended(u64),
    /// A filter was added or replaced.
    #[serde(rename = "+")]
    Subscribed(u64, String, Options),
    /// A filter was removed.
    #[serde(rename = "-")]
    Unsubscribed(u64, String),
    /// The message at a position was sent: packet id, QoS bits.
    #[serde(rename = "s")]
    Sent(u64, Position, u16, u8),
    /// PUBREC came for a packet id.
    #[serde(rename = "r")]
    Released(u64, u16),
    /// The handshake of a packet id ended.
    #[serde(rename = "a")]
    Acknowledged(u64, u16),
    /// A queued message will not be sent: expired, no longer permitted or no longer subscribed.
    #[serde(rename = "d")]
    Dropped(u64, Position),
    /// PUBREL came for a received QoS 2 packet id.
    #[serde(rename = "i")]
    InboundReleased(u64, u16),
}

/// A subscription's options as they are stored: QoS bits, no local, retain as published, identifier.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Options(u8, bool, bool, Option<u32>);

impl From<&Subscription> for Options {
    fn from(s: &Subscription) -> Self {
        Self(s.qos.bits(), s.no_local, s.retain_as_published, s.identifier)
    }
}

impl Options {
    fn since(self, since: Position) -> Subscription {
        let Self(qos, no_local, retain_as_published, identifier) = self;
        let qos = QoS::from_bits(qos).unwrap_or_default();
        Subscription { qos, no_local, retain_as_published, identifier, since, after: 0 }
    }
}

/// A session's state at a journal position.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Snapshot {
    id: u64,
    device: String,
    client: String,
    as_of: AsOf,
    expiry_s: u32,
    offline_since_ms: Option<u64>,
    subscriptions: Vec<(String, Options, Position)>,
    pending: Vec<Position>,
    /// Packet id, QoS bits, released, position.
    inflight: Vec<(u16, u8, bool, Position)>,
    received: Vec<(u16, Position)>,
}

/// The bytes are not a record or snapshot of a known format. The caller skips and counts them.
#[derive(Debug, Error)]
pub enum LogError {
    /// A newer or foreign format.
    #[error("unknown session record format")]
    Format,
    /// Damaged content.
    #[error("damaged session record: {0}")]
    Damaged(String),
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    // Writing to memory does not fail, and every type here is plain data.
    let _ = ciborium::into_writer(value, &mut bytes);
    bytes
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, LogError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => ciborium::from_reader(body).map_err(|error| LogError::Damaged(error.to_string())),
        _ => Err(LogError::Format),
    }
}

impl Event {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`LogError`] when the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        decode(bytes)
    }
}

impl Snapshot {
    /// What the store keeps of a durable session. Every message up to `delivered` has been offered to it.
    #[must_use]
    pub fn of(id: u64, key: &SessionKey, inner: &Inner, delivered: Position) -> Self {
        let as_of = AsOf { offered: inner.as_of.offered.max(delivered), ..inner.as_of };
        Self {
            id,
            device: key.device.to_string(),
            client: key.client.to_string(),
            as_of,
            expiry_s: inner.expiry_s,
            offline_since_ms: inner.offline_since_ms,
            subscriptions: inner.subscriptions.iter().map(|(f, s)| (f.to_string(), s.into(), s.since)).collect(),
            pending: inner.queue.iter().filter_map(Queued::position).collect(),
            inflight: inner.inflight.unacknowledged().filter_map(stored_entry).collect(),
            received: inner.received.iter().filter_map(|(id, position)| Some((*id, (*position)?))).collect(),
        }
    }

    /// The snapshot's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`LogError`] when the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        decode(bytes)
    }
}

fn stored_entry(entry: &Entry<Queued>) -> Option<(u16, u8, bool, Position)> {
    let position = entry.item.position()?;
    Some((entry.id, entry.qos.bits(), entry.stage == Stage::Released, position))
}

/// Sessions as a restart rebuilds them.
#[derive(Debug, Default)]
pub struct Replay {
    sessions: BTreeMap<u64, Replayed>,
    by_key: HashMap<SessionKey, u64>,
    filters: Trie<u64, Subscription>,
    /// The highest session id that was ever used.
    pub last_id: u64,
    /// The sessions that ended and may still have a snapshot.
    pub ended: Vec<u64>,
}

#[derive(Debug)]
struct Replayed {
    key: SessionKey,
    as_of: AsOf,
    expiry_s: u32,
    offline_since_ms: Option<u64>,
    subscriptions: HashMap<ByteString, Subscription>,
    pending: VecDeque<Position>,
    inflight: Inflight<Queued>,
    received: HashMap<u16, Option<Position>>,
}

impl Replay {
    /// Starts from a snapshot.
    pub fn snapshot(&mut self, snapshot: Snapshot) {
        let Snapshot { id, device, client, as_of, expiry_s, offline_since_ms, .. } = snapshot;
        let mut inflight = Inflight::default();
        for (id, qos, released, position) in snapshot.inflight {
            let stage = if released { Stage::Released } else { Stage::Published };
            let qos = QoS::from_bits(qos).unwrap_or_default();
            inflight.restore(Entry { id, qos, stage, item: Queued::Stored(position) });
        }
        for (filter, options, at) in &snapshot.subscriptions {
            self.filters.insert(filter, id, options.since(*at));
        }
        let subscriptions = snapshot.subscriptions.into_iter();
        let key = SessionKey { device: device.into(), client: client.into() };
        self.by_key.insert(key.clone(), id);
        let session = Replayed {
            key,
            as_of,
            expiry_s,
            offline_since_ms,
            subscriptions: subscriptions.map(|(filter, options, at)| (filter.into(), options.since(at))).collect(),
            pending: snapshot.pending.into(),
            inflight,
            received: snapshot.received.into_iter().map(|(id, position)| (id, Some(position))).collect(),
        };
        self.last_id = self.last_id.max(id);
        self.sessions.insert(id, session);
    }

    /// A published message: it waits for every session that had a matching subscription then.
    pub fn published(&mut self, position: Position, message: &Message) {
        if message.qos == QoS::AtMostOnce {
            return;
        }
        let publisher = SessionKey { device: message.sender.clone(), client: message.client.clone() };
        let publisher = self.by_key.get(&publisher).copied();
        let own = publisher.filter(|_| message.packet_id != 0).and_then(|id| self.sessions.get_mut(&id));
        if let Some(session) = own.filter(|session| session.as_of.published < position) {
            session.as_of.published = position;
            session.received.insert(message.packet_id, Some(position));
        }
        let sessions = &mut self.sessions;
        self.filters.matches(&message.topic, |id, subscription| {
            let own = subscription.no_local && publisher == Some(*id);
            let wanted = subscription.qos != QoS::AtMostOnce && subscription.since < position && !own;
            let Some(session) = sessions.get_mut(id).filter(|session| wanted && session.as_of.offered < position)
            else {
                return;
            };
            // Two filters of one session may match the same message.
            if session.pending.back() != Some(&position) {
                session.pending.push_back(position);
            }
        });
    }

    /// A session's record.
    pub fn event(&mut self, position: Position, event: Event) {
        if let Event::Opened(id, device, client, expiry_s) = event {
            self.opened(position, id, SessionKey { device: device.into(), client: client.into() }, expiry_s);
            return;
        }
        let Some(session) = self.sessions.get_mut(&event.session()).filter(|session| session.as_of.recorded < position)
        else {
            return;
        };
        session.as_of.recorded = position;
        match event {
            Event::Opened(..) => {}
            Event::Ended(id) => self.ended(id),
            Event::Changed(_, expiry_s, offline_since_ms) => {
                session.expiry_s = expiry_s;
                session.offline_since_ms = offline_since_ms;
            }
            Event::Subscribed(id, filter, options) => {
                self.filters.insert(&filter, id, options.since(position));
                session.subscriptions.insert(filter.into(), options.since(position));
            }
            Event::Unsubscribed(id, filter) => {
                self.filters.remove(&filter, &id);
                session.subscriptions.remove(filter.as_str());
            }
            Event::Sent(_, at, id, qos) => session.sent(at, id, qos),
            Event::Released(_, id) => {
                session.inflight.receive(id);
            }
            Event::Acknowledged(_, id) => session.acknowledged(id),
            Event::Dropped(_, at) => session.taken(at),
            Event::InboundReleased(_, id) => {
                session.received.remove(&id);
            }
        }
    }

    fn opened(&mut self, position: Position, id: u64, key: SessionKey, expiry_s: u32) {
        self.last_id = self.last_id.max(id);
        self.by_key.insert(key.clone(), id);
        // A snapshot of the same session is newer than its beginning.
        self.sessions.entry(id).or_insert_with(|| Replayed {
            key,
            as_of: AsOf { recorded: position, ..AsOf::default() },
            expiry_s,
            offline_since_ms: None,
            subscriptions: HashMap::new(),
            pending: VecDeque::new(),
            inflight: Inflight::default(),
            received: HashMap::new(),
        });
    }

    fn ended(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.ended.push(id);
        for filter in session.subscriptions.keys() {
            self.filters.remove(filter, &id);
        }
        // A session that began again under the same key has another id.
        if self.by_key.get(&session.key) == Some(&id) {
            self.by_key.remove(&session.key);
        }
    }

    /// The sessions, each offline since `now_ms` at the latest; the oldest messages beyond `max_queue` are dropped.
    pub fn finish(self, now_ms: u64, max_queue: usize) -> impl Iterator<Item = (u64, SessionKey, Inner)> {
        self.sessions.into_iter().map(move |(id, mut session)| {
            let surplus = session.pending.len().saturating_sub(max_queue);
            session.pending.drain(..surplus);
            let inner = Inner {
                subscriptions: session.subscriptions,
                queue: session.pending.into_iter().map(Queued::Stored).collect(),
                inflight: session.inflight,
                received: session.received,
                as_of: session.as_of,
                dirty: true,
                expiry_s: session.expiry_s,
                durable: true,
                offline_since_ms: Some(session.offline_since_ms.unwrap_or(now_ms)),
                dropped: surplus as u64,
                ..Inner::default()
            };
            (id, session.key, inner)
        })
    }
}

impl Replayed {
    /// Removes a message from the queue; it is nearly always the oldest.
    fn taken(&mut self, at: Position) {
        if self.pending.front() == Some(&at) {
            self.pending.pop_front();
        } else {
            self.pending.retain(|pending| *pending != at);
        }
    }

    fn sent(&mut self, at: Position, id: u16, qos: u8) {
        self.taken(at);
        let qos = QoS::from_bits(qos).unwrap_or_default();
        self.inflight.restore(Entry { id, qos, stage: Stage::Published, item: Queued::Stored(at) });
    }

    fn acknowledged(&mut self, id: u16) {
        if self.inflight.acknowledge(id).is_none() && self.inflight.complete(id).is_none() {
            self.inflight.refuse(id);
        }
    }
}

impl Event {
    /// The session that the record belongs to.
    const fn session(&self) -> u64 {
        match self {
            Self::Opened(id, ..)
            | Self::Changed(id, ..)
            | Self::Ended(id)
            | Self::Subscribed(id, ..)
            | Self::Unsubscribed(id, ..)
            | Self::Sent(id, ..)
            | Self::Released(id, ..)
            | Self::Acknowledged(id, ..)
            | Self::Dropped(id, ..)
            | Self::InboundReleased(id, ..) => *id,
        }
    }
}

#[cfg(test)]
mod tests;
