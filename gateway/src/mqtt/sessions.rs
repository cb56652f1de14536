//! The table of sessions: who has one, which filters reach it, and what a restart must know.
//!
//! It opens, hands over, ends and expires sessions and finds the sessions of a message. What happens inside a session
//! is [`super::session`]'s; what its connection says is [`super::connection`]'s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytestring::ByteString;
use causeway_core::message::QoS;
use causeway_core::trie::Trie;
use thiserror::Error;
use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use super::delivery::Fanout;
use super::session::{Inner, Offered, Order, QueueLimits, Session, SessionKey, Subscription};
use super::session_log::{Event, Replay};
use super::wire::Reason;
use crate::journal::{AppendError, Journal, Kind, Position};

/// How long a new connection waits for the one that it takes over from.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// The bounds of the table.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Sessions that outlive their connection; how many others there are is bounded by the connections.
    pub sessions: usize,
    /// Such sessions of one device.
    pub per_device: usize,
    /// Filters of one session.
    pub subscriptions: usize,
    /// The queue of one session.
    pub queue: QueueLimits,
}

/// The table; one per gateway.
pub struct Sessions {
    limits: SessionLimits,
    journal: Journal,
    table: Mutex<Table>,
    /// One trie for each delivery link; a session's filters are in the one of its id.
    links: Vec<RwLock<Trie<u64, Subscriber>>>,
    /// Filters of durable sessions with QoS 1 or 2: what they match must be journalled.
    durable: RwLock<Trie<u64, ()>>,
}

#[derive(Default)]
struct Table {
    by_key: HashMap<SessionKey, Arc<Session>>,
    /// Durable sessions, of all devices and of each.
    durable: usize,
    per_device: HashMap<ByteString, usize>,
    last_id: u64,
    ended: Vec<u64>,
}

/// What became of a message at one delivery link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// Subscriptions that matched.
    pub offered: u64,
    /// Messages that were dropped for want of room.
    pub dropped: u64,
    /// Messages that were left to the journal or dropped because all queues together are full.
    pub squeezed: u64,
    /// A receiver that keeps moving has a crowded queue.
    pub crowded: bool,
}

/// A session that a filter reaches.
#[derive(Clone)]
struct Subscriber {
    session: Arc<Session>,
    subscription: Subscription,
}

/// A session that was opened for a connection.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Arc<Session>,
    /// Whether it was there before (CONNACK's session present).
    pub present: bool,
    /// The connection's right to serve it; dropped with the connection.
    pub slot: OwnedMutexGuard<()>,
    /// The session that clean start ended for it.
    pub replaced: Option<u64>,
}

/// Why no session was opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A bound of the table: v5 0x97, 3.1.1 "server unavailable".
    #[error("the session table is full")]
    Full,
    /// The connection that had it did not let go in time: v5 0x88.
    #[error("the session's last connection does not end")]
    Busy,
    /// The journal takes no records.
    #[error("the session cannot be recorded")]
    Journal(#[from] AppendError),
}

impl Sessions {
    /// The table with the sessions of the last run.
    #[must_use]
    pub fn restore(limits: SessionLimits, links: usize, journal: Journal, replay: Replay, now_ms: u64) -> Self {
        let sessions = Self {
            limits,
            journal,
            table: Mutex::default(),
            links: (0..links.max(1)).map(|_| RwLock::default()).collect(),
            durable: RwLock::default(),
        };
        sessions.table().last_id = replay.last_id;
        sessions.table().ended.clone_from(&replay.ended);
        for (id, key, inner) in replay.finish(now_ms, limits.queue.stored) {
            let filters: Vec<_> = inner.subscriptions.iter().map(|(f, s)| (f.clone(), *s)).collect();
            let session = Session::new(id, key, inner);
            sessions.table().insert(session.clone(), true);
            for (filter, subscription) in filters {
                sessions.index(&session, &filter, subscription, true);
            }
        }
        sessions
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> &SessionLimits {
        &self.limits
    }

    /// Whether a durable session must get messages of this topic.
    #[must_use]
    pub fn wants(&self, topic: &str) -> bool {
        let mut wanted = false;
        self.durable.read().unwrap_or_else(PoisonError::into_inner).matches(topic, |_, ()| wanted = true);
        wanted
    }

    /// Opens the session of `key` for a connection and ends the connection that has it (MQTT5 3.1.4).
    ///
    /// # Errors
    /// [`OpenError`]; each variant says what the client is told.
    pub async fn open(&self, key: SessionKey, clean_start: bool, expiry_s: u32) -> Result<Opened, OpenError> {
        let mut replaced = None;
        loop {
            let existing = self.table().by_key.get(&key).cloned();
            let Some(session) = existing else {
                return Ok(Opened { replaced, ..self.create(key, expiry_s)? });
            };
            session.order(Order::Close(Reason::SessionTakenOver, "another connection has this client id now"));
            let slot = tokio::time::timeout(TAKEOVER_TIMEOUT, session.slot.clone().lock_owned()).await;
            let slot = slot.map_err(|_| OpenError::Busy)?;
            if session.lock().ended {
                // It ended with its connection, or another newcomer began it again.
                continue;
            }
            if clean_start {
                self.end(&session)?;
                replaced = Some(session.id);
                continue;
            }
            self.resume(&session, expiry_s)?;
            return Ok(Opened { session, present: true, slot, replaced });
        }
    }

    fn create(&self, key: SessionKey, expiry_s: u32) -> Result<Opened, OpenError> {
        let mut table = self.table();
        let durable = expiry_s > 0;
        let device = table.per_device.get(&key.device).copied().unwrap_or(0);
        if durable && (table.durable >= self.limits.sessions || device >= self.limits.per_device) {
            return Err(OpenError::Full);
        }
        table.last_id += 1;
        let id = table.last_id;
        let mut inner = Inner { expiry_s, durable, ..Inner::default() };
        self.record(&mut inner, &Event::Opened(id, key.device.to_string(), key.client.to_string(), expiry_s))?;
        let session = Session::new(id, key, inner);
        // Nobody else has seen this session yet.
        let slot = session.slot.clone().try_lock_owned().map_err(|_| OpenError::Busy)?;
        table.insert(session.clone(), durable);
        Ok(Opened { session, present: false, slot, replaced: None })
    }

    fn resume(&self, session: &Arc<Session>, expiry_s: u32) -> Result<(), AppendError> {
        let mut inner = session.lock();
        self.record(&mut inner, &Event::Changed(session.id, expiry_s, None))?;
        inner.expiry_s = expiry_s;
        inner.offline_since_ms = None;
        Ok(())
    }

    /// A connection is over: a persistent session waits for the next one, any other session ends.
    pub fn release(&self, session: &Arc<Session>, now_ms: u64) {
        let mut inner = session.lock();
        inner.go_offline(now_ms);
        if !inner.is_persistent() {
            drop(inner);
            // Without a journal the session ends all the same; a restart may find it again and lets it expire.
            let _ = self.end(session);
            return;
        }
        let event = Event::Changed(session.id, inner.expiry_s, Some(now_ms));
        if let Err(error) = self.record(&mut inner, &event) {
            warn!(%error, "the end of a connection is not recorded");
        }
    }

    /// Ends a session: its filters and messages are gone.
    ///
    /// # Errors
    /// [`AppendError`] when the journal takes no records; the session is ended all the same.
    pub fn end(&self, session: &Arc<Session>) -> Result<(), AppendError> {
        let mut inner = session.lock();
        if std::mem::replace(&mut inner.ended, true) {
            return Ok(());
        }
        inner.queue.clear();
        inner.retained.clear();
        inner.inflight.clear();
        let filters = std::mem::take(&mut inner.subscriptions);
        let durable = inner.durable;
        let recorded = self.record(&mut inner, &Event::Ended(session.id));
        drop(inner);
        for (filter, _) in filters {
            self.unindex(session, &filter);
        }
        let mut table = self.table();
        table.remove(session, durable);
        if durable {
            table.ended.push(session.id);
        }
        recorded.map(drop)
    }

    /// Adds or replaces a subscription; answers whether it replaced one, and what must be durable before SUBACK.
    ///
    /// # Errors
    /// [`AppendError`] when the journal takes no records; nothing has changed then.
    pub fn subscribe(
        &self,
        session: &Arc<Session>,
        filter: &ByteString,
        mut subscription: Subscription,
    ) -> Result<(bool, Option<Position>), AppendError> {
        let mut inner = session.lock();
        let event = Event::Subscribed(session.id, filter.to_string(), (&subscription).into());
        let position = self.record(&mut inner, &event)?;
        subscription.since = position.unwrap_or(0);
        let replaced = inner.subscriptions.insert(filter.clone(), subscription).is_some();
        let durable = inner.durable;
        drop(inner);
        self.index(session, filter, subscription, durable);
        Ok((replaced, position))
    }

    /// Removes a subscription; answers whether there was one, and what must be durable before UNSUBACK.
    ///
    /// # Errors
    /// [`AppendError`] when the journal takes no records; nothing has changed then.
    pub fn unsubscribe(&self, session: &Arc<Session>, filter: &str) -> Result<(bool, Option<Position>), AppendError> {
        let mut inner = session.lock();
        if !inner.subscriptions.contains_key(filter) {
            return Ok((false, None));
        }
        let position = self.record(&mut inner, &Event::Unsubscribed(session.id, filter.to_owned()))?;
        inner.subscriptions.remove(filter);
        drop(inner);
        self.unindex(session, filter);
        Ok((true, position))
    }

    /// Offers a message to the sessions of one delivery link.
    pub fn deliver(&self, link: usize, number: u64, fanout: &Arc<Fanout>) -> Delivered {
        let mut delivered = Delivered::default();
        let Some(trie) = self.links.get(link) else { return delivered };
        trie.read().unwrap_or_else(PoisonError::into_inner).matches(&fanout.message.topic, |_, subscriber| {
            // What was published before the subscription is not for it, although it comes through only now.
            if number <= subscriber.subscription.after {
                return;
            }
            let Offered { dropped, squeezed, crowded } =
                subscriber.session.offer(fanout, &subscriber.subscription, self.limits.queue);
            delivered.offered += 1;
            delivered.dropped += u64::from(dropped);
            delivered.squeezed += u64::from(squeezed);
            delivered.crowded |= crowded;
        });
        delivered
    }

    /// Every session, for status, review and checkpoints.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.table().by_key.values().cloned().collect()
    }

    /// Appends a durable session's record, which is on disk a little later; nothing for any other session. The caller
    /// changes the state under the same lock, so that a snapshot is complete up to the record.
    ///
    /// # Errors
    /// [`AppendError`] when the journal takes no records.
    pub fn record(&self, inner: &mut Inner, event: &Event) -> Result<Option<Position>, AppendError> {
        if !inner.durable {
            return Ok(None);
        }
        let position = self.journal.append(Kind::Session, event.encode())?;
        inner.as_of.recorded = position;
        inner.dirty = true;
        Ok(Some(position))
    }

    /// The ids of durable sessions that ended since the last call, for the checkpoint.
    #[must_use]
    pub fn take_ended(&self) -> Vec<u64> {
        std::mem::take(&mut self.table().ended)
    }

    /// The checkpoint could not remove these: it is to try again.
    pub fn give_back_ended(&self, ended: Vec<u64>) {
        self.table().ended.extend(ended);
    }

    fn index(&self, session: &Arc<Session>, filter: &str, subscription: Subscription, durable: bool) {
        if let Some(trie) = self.link(session.id) {
            let subscriber = Subscriber { session: session.clone(), subscription };
            trie.write().unwrap_or_else(PoisonError::into_inner).insert(filter, session.id, subscriber);
        }
        if durable {
            let mut trie = self.durable.write().unwrap_or_else(PoisonError::into_inner);
            if subscription.qos == QoS::AtMostOnce {
                trie.remove(filter, &session.id);
            } else {
                trie.insert(filter, session.id, ());
            }
        }
    }

    fn unindex(&self, session: &Arc<Session>, filter: &str) {
        if let Some(trie) = self.link(session.id) {
            trie.write().unwrap_or_else(PoisonError::into_inner).remove(filter, &session.id);
        }
        self.durable.write().unwrap_or_else(PoisonError::into_inner).remove(filter, &session.id);
    }

    fn link(&self, session: u64) -> Option<&RwLock<Trie<u64, Subscriber>>> {
        let index = usize::try_from(session).unwrap_or(0).checked_rem(self.links.len())?;
        self.links.get(index)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, session: Arc<Session>, durable: bool) {
        if durable {
            self.durable += 1;
            *self.per_device.entry(session.key.device.clone()).or_default() += 1;
        }
        self.last_id = self.last_id.max(session.id);
        self.by_key.insert(session.key.clone(), session);
    }

    fn remove(&mut self, session: &Arc<Session>, durable: bool) {
        if self.by_key.get(&session.key).is_none_or(|known| known.id != session.id) {
            return;
        }
        self.by_key.remove(&session.key);
        if !durable {
            return;
        }
        self.durable -= 1;
        if let Some(count) = self.per_device.get_mut(&session.key.device) {
            *count -= 1;
            if *count == 0 {
                self.per_device.remove(&session.key.device);
            }
        }
    }
}
