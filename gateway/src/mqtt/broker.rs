//! What the connections share: the way of one message from a permitted PUBLISH to journal, retained store and router.
//!
//! It knows no sockets and no packets. The order is fixed: budgets, journal, retained store, router; the caller
//! acknowledges when the returned position is durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use causeway_core::message::{Message, QoS};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::delivery::Fanout;
use super::interest::Interest;
use super::metrics::MqttMetrics;
use super::pressure::Pressure;
use super::retained::{RetainError, Retained};
use super::session::SessionKey;
use super::sessions::Sessions;
use super::will::Wills;
use crate::clock::Clock;
use crate::config::MqttConfig;
use crate::devices::Devices;
use crate::journal::{AppendError, Journal, Kind, Position};
use crate::policy::{Action, Policies, Request, Resource};
use crate::router::Router;

/// The bytes in front of an encoded message on its way through the router: its journal position, 0 for none.
const PREFIX: usize = size_of::<Position>();

/// The shared half of the front door.
pub struct Broker {
    /// The `mqtt` section of the configuration.
    pub config: MqttConfig,
    /// The gateway's clock.
    pub clock: Clock,
    /// The durable log.
    pub journal: Journal,
    /// The live path.
    pub router: Router,
    /// The sessions.
    pub sessions: Sessions,
    /// The retained messages.
    pub retained: Arc<Retained>,
    /// The wills that wait.
    pub wills: Wills,
    /// The topics whose receivers cannot keep up.
    pub pressure: Pressure,
    /// Who may do what.
    pub policies: Policies,
    /// Who may connect.
    pub devices: Devices,
    /// What the plugin bindings want.
    pub interest: Interest,
    /// What the front door counts.
    pub metrics: MqttMetrics,
    /// The last journalled message, held while the next one gets its place in journal and router.
    pub order: Mutex<Position>,
    /// For each delivery link the last journalled message that its sessions were offered.
    pub delivered: Vec<AtomicU64>,
    /// The client ids that were assigned.
    pub assigned: AtomicU64,
}

/// Why a permitted message was not taken; nothing of it remains.
#[derive(Debug, Error)]
pub enum PublishError {
    /// A durable consumer, the journal or the retained store is full: v5 0x97, 3.1.1 is held back.
    #[error("no room for the message")]
    NoRoom,
    /// The journal takes no record of this size: v5 0x95.
    #[error("the message is larger than the journal's records may be")]
    TooLarge,
    /// The journal failed: no acknowledgement may be given.
    #[error("the journal takes no records")]
    Failed,
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::NoRoom,
            AppendError::TooLarge => Self::TooLarge,
            AppendError::Failed => Self::Failed,
        }
    }
}

impl From<RetainError> for PublishError {
    fn from(_: RetainError) -> Self {
        Self::NoRoom
    }
}

impl Broker {
    /// Takes a permitted message; the position, if any, must be durable before it is acknowledged.
    ///
    /// # Errors
    /// [`PublishError`]; nothing of the message remains.
    pub fn publish(&self, message: &Message) -> Result<Option<Position>, PublishError> {
        if message.retain {
            self.retained.check_room(message)?;
        }
        let mut bytes = BytesMut::with_capacity(PREFIX + message.encoded_len());
        bytes.put_u64_le(0);
        message.encode_into(&mut bytes);
        let bytes = bytes.freeze();
        if !self.must_be_durable(message)? {
            if message.retain {
                self.retained.put(message);
            }
            self.router.publish(bytes);
            return Ok(None);
        }
        // One order for journal, retained store and router, so that "everything up to here" means the same to all.
        let mut last = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.journal.append(Kind::Publish, bytes.slice(PREFIX..))?;
        *last = position;
        if message.retain {
            self.retained.put(message);
        }
        self.retained.passed(position);
        self.router.publish(with_position(position, &bytes));
        Ok(Some(position))
    }

    /// The position up to which every journalled message has been offered to every session.
    #[must_use]
    pub fn delivered(&self) -> Position {
        let last = *self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let delivered = self.delivered.iter().map(|link| link.load(Ordering::Acquire)).min();
        delivered.unwrap_or(last).min(last)
    }

    /// A number that no other assigned client id of this run has.
    pub fn next_client_number(&self) -> u64 {
        self.assigned.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a durable consumer wants the message, all of them with room for it.
    fn must_be_durable(&self, message: &Message) -> Result<bool, PublishError> {
        if message.qos == QoS::AtMostOnce {
            return Ok(false);
        }
        let wanted = self.interest.durable(&message.topic);
        if wanted.over_budget {
            self.metrics.refused_no_room.inc();
            return Err(PublishError::NoRoom);
        }
        Ok(message.retain || wanted.durable || self.sessions.wants(&message.topic))
    }

    /// A message has come through the router: hands it to one delivery link's sessions and to the live bindings.
    pub fn deliver(&self, link: usize, number: u64, mut payload: Bytes) {
        let position = if payload.len() >= PREFIX { payload.get_u64_le() } else { 0 };
        let message = match Message::decode(&payload) {
            Ok(message) => message,
            Err(error) => {
                error!(%error, "a message was damaged on the live path");
                return;
            }
        };
        let fanout = Fanout::counted(message, (position != 0).then_some(position), &self.metrics.queue_bytes);
        let delivered = self.sessions.deliver(link, number, &fanout);
        self.metrics.offered.inc_by(delivered.offered);
        if delivered.dropped > 0 {
            self.metrics.dropped_queue_full.inc_by(delivered.dropped);
        }
        if delivered.squeezed > 0 {
            self.metrics.queues_squeezed.inc_by(delivered.squeezed);
        }
        if delivered.crowded {
            self.pressure.raise(&fanout.message.topic, Instant::now());
        }
        if link == 0 {
            self.interest.offer(&fanout.message);
        }
        if let (Some(position), Some(delivered)) = (fanout.position, self.delivered.get(link)) {
            delivered.store(position, Ordering::Release);
        }
    }

    /// Publishes the wills whose time has come, until `shutdown`.
    pub async fn run_wills(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            let mut will = tokio::select! {
                () = shutdown.cancelled() => return,
                will = self.wills.next() => will,
            };
            let resource = Resource::Topic(&will.message.topic);
            let decision =
                self.policies.decide(&Request { principal: &will.principal, action: Action::Publish, resource });
            if !decision.allowed {
                warn!(device = %will.message.sender, topic = %will.message.topic, reason = %decision.reason, "a will is no longer permitted");
                continue;
            }
            will.message.received_ms = self.clock.now_ms();
            self.metrics.wills.inc();
            if let Err(error) = self.publish(&will.message) {
                warn!(device = %will.message.sender, topic = %will.message.topic, %error, "a will was not taken");
            }
        }
    }

    /// Ends the sessions whose expiry has passed, each second until `shutdown`.
    pub async fn run_expiry(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now_ms = self.clock.now_ms();
            for session in self.sessions.all() {
                let expired = {
                    let inner = session.lock();
                    let since = inner.offline_since_ms.filter(|_| inner.live.is_none());
                    since.is_some_and(|since| now_ms >= since.saturating_add(u64::from(inner.expiry_s) * 1000))
                };
                // A connection that is being set up holds the slot: then the session is not over.
                if let (true, Ok(_slot)) = (expired, session.slot.clone().try_lock_owned()) {
                    let SessionKey { device, client } = &session.key;
                    tracing::debug!(%device, %client, "session expired");
                    self.metrics.sessions_expired.inc();
                    self.wills.session_ended(session.id);
                    if let Err(error) = self.sessions.end(&session) {
                        warn!(%error, "the end of a session is not recorded");
                    }
                }
            }
            self.retained.expire(now_ms);
        }
    }
}

fn with_position(position: Position, bytes: &Bytes) -> Bytes {
    let mut routed = BytesMut::with_capacity(bytes.len());
    routed.put_u64_le(position);
    routed.extend_from_slice(bytes.get(PREFIX..).unwrap_or_default());
    routed.freeze()
}
