//! One message on its way to many sessions, encoded once for each kind of receiver.
//!
//! Who receives it is decided by the subscriptions; packet ids are the session's.

use std::sync::{Arc, OnceLock};

use causeway_core::message::{Message, QoS};
use prometheus_client::metrics::gauge::Gauge;

use super::wire::{self, EncodedPublish, Encoder, Version};
use crate::journal::Position;

/// A message with its place in the journal, shared by every session that it reaches.
#[derive(Debug)]
pub struct Fanout {
    /// The message.
    pub message: Message,
    /// Its position, if a durable cursor wanted it.
    pub position: Option<Position>,
    /// Encoded without retain flag, subscription identifiers and expiry: by version, then by QoS.
    encoded: [OnceLock<Option<EncodedPublish>>; 6],
    /// The sum that it is part of while anybody holds it; the retained store has its own bounds.
    in_memory: Option<Gauge>,
}

/// How one session receives a message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is delivered.
    pub fanout: Arc<Fanout>,
    /// The lower of the publisher's and the subscription's guarantee.
    pub qos: QoS,
    /// The retain flag that the receiver sees.
    pub retain: bool,
    /// The identifiers of the subscriptions that matched (MQTT5 3.3.4).
    pub identifiers: Option<Box<Vec<u32>>>,
}

impl Fanout {
    /// Wraps a message for delivery.
    #[must_use]
    pub fn new(message: Message, position: Option<Position>) -> Arc<Self> {
        Arc::new(Self { message, position, encoded: Default::default(), in_memory: None })
    }

    /// Wraps a message that counts in the bytes of all sessions: once, however many of them hold it.
    #[must_use]
    pub fn counted(message: Message, position: Option<Position>, in_memory: &Gauge) -> Arc<Self> {
        let counted = Self { message, position, encoded: Default::default(), in_memory: Some(in_memory.clone()) };
        in_memory.inc_by(counted.size());
        Arc::new(counted)
    }

    /// The bytes that count against the bounds of queues.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.message.payload.len() + self.message.topic.len()
    }

    /// The bytes of all messages that any session holds in memory.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.in_memory.as_ref().map_or(0, |sum| usize::try_from(sum.get()).unwrap_or(0))
    }

    fn size(&self) -> i64 {
        i64::try_from(self.bytes()).unwrap_or(i64::MAX)
    }

    fn encoded(&self, version: Version, qos: QoS) -> Option<&EncodedPublish> {
        let row = match version {
            Version::V311 => 0,
            Version::V5 => 3,
        };
        let cell = self.encoded.get(row + usize::from(qos.bits()))?;
        cell.get_or_init(|| wire::publish(&self.message, version, qos, false, &[], None).ok()).as_ref()
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        if let Some(sum) = &self.in_memory {
            sum.dec_by(self.size());
        }
    }
}

impl Delivery {
    /// The bytes that count against a queue's bound.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.fanout.bytes()
    }

    /// Whether the message's life is over (MQTT5 3.3.2.3.3).
    ///
    /// An interval of 0 means "now or not at all", and now lasts a second, the unit of the interval: it takes some
    /// milliseconds to send a message even to those who wait for it.
    #[must_use]
    pub fn expired(&self, now_ms: u64) -> bool {
        let now_is_over = self.fanout.message.received_ms.saturating_add(1_000);
        self.fanout.message.expires_ms().is_some_and(|expires| expires.max(now_is_over) <= now_ms)
    }

    /// The PUBLISH for this receiver; `None` when it is larger than the receiver takes (MQTT5 3.1.2.11.4).
    #[must_use]
    pub fn packet(&self, to: Receiver) -> Option<EncodedPublish> {
        let message = &self.fanout.message;
        let remaining = message.expires_ms().map(|expires| {
            let seconds = expires.saturating_sub(to.now_ms).div_ceil(1000);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        });
        let identifiers = self.identifiers.as_deref().map_or(&[][..], Vec::as_slice);
        let packet = if self.retain || remaining.is_some() || !identifiers.is_empty() {
            wire::publish(message, to.encoder.version, self.qos, self.retain, identifiers, remaining).ok()?
        } else {
            self.fanout.encoded(to.encoder.version, self.qos)?.clone()
        };
        to.encoder.fits(packet.bytes.len()).then_some(packet)
    }
}

/// What a delivery must know of its receiver.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    /// How the connection writes.
    pub encoder: Encoder,
    /// The gateway's clock.
    pub now_ms: u64,
}
