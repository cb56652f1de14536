//! What the session has waiting: redelivery first, then retained messages, then the queue, within the client's window.

use std::collections::VecDeque;
use std::sync::Arc;

use causeway_core::inflight::Stage;
use causeway_core::message::{Message, QoS};
use causeway_core::topic::filter_matches;
use prometheus_client::metrics::gauge::Gauge;

use super::closing::{End, NOT_RECORDED};
use super::held::Waiting;
use super::{Connection, LOAD_BATCH, LOAD_BYTES, OUTPUT_HIGH};
use crate::journal::{Journal, Kind, Position};
use crate::mqtt::delivery::{Delivery, Fanout, Receiver};
use crate::mqtt::permissions::Answer;
use crate::mqtt::session::{Inner, Queued, Session};
use crate::mqtt::session_log::Event as Record;
use crate::mqtt::wire::{Ack, Reason, Reply};

/// What the queue's front allows.
enum Next {
    Send(Delivery),
    /// The front is in the journal: these positions have to be read.
    Load(Vec<Position>),
    Wait,
}

impl Connection {
    /// Fills the output until it is full, the window is full or nothing waits.
    pub(super) fn fill_output(&mut self) -> Result<(), End> {
        while self.output.len() < OUTPUT_HIGH {
            if let Some(&id) = self.resend.front() {
                if self.outstanding() >= self.agreed.window {
                    return Ok(());
                }
                self.resend.pop_front();
                self.send_inflight(id, true);
                continue;
            }
            match self.next_delivery() {
                Next::Send(delivery) => self.send(delivery)?,
                Next::Load(positions) => {
                    self.load(positions);
                    return Ok(());
                }
                Next::Wait => return Ok(()),
            }
        }
        Ok(())
    }

    /// Unacknowledged messages that this connection has sent.
    fn outstanding(&self) -> usize {
        self.session.lock().inflight.len().saturating_sub(self.resend.len())
    }

    fn next_delivery(&self) -> Next {
        if self.loading.is_some() {
            return Next::Wait;
        }
        let mut inner = self.session.lock();
        // A client that never acknowledges large messages must not hold more of them in memory than one that never reads.
        let heavy = inner.inflight_bytes >= self.broker.sessions.limits().queue.bytes;
        let window_is_full = heavy || inner.inflight.len() >= self.agreed.window;
        let blocked = |qos: QoS| qos != QoS::AtMostOnce && window_is_full;
        if let Some(delivery) = inner.retained.front() {
            if blocked(delivery.qos) {
                return Next::Wait;
            }
            if let Some(delivery) = inner.retained.pop_front() {
                return Next::Send(delivery);
            }
        }
        match inner.queue.front() {
            Some(Queued::Message(delivery)) if !blocked(delivery.qos) => match inner.pop() {
                Some(Queued::Message(delivery)) => Next::Send(delivery),
                _ => Next::Wait,
            },
            Some(Queued::Stored(_)) if !window_is_full => Next::Load(inner.stored_front(LOAD_BATCH)),
            _ => Next::Wait,
        }
    }

    fn send(&mut self, delivery: Delivery) -> Result<(), End> {
        let now_ms = self.broker.clock.now_ms();
        let topic = &delivery.fanout.message.topic;
        if delivery.expired(now_ms) {
            self.broker.metrics.expired.inc();
            return self.forget(&delivery);
        }
        if let Answer::Denied(decision) = self.permissions.receive(&self.broker.policies, topic) {
            self.broker.metrics.denied_receive.inc();
            if let Some(decision) = decision {
                self.refused(topic, "receive", &decision);
            }
            return self.forget(&delivery);
        }
        let receiver = self.receiver(now_ms);
        let Some(packet) = delivery.packet(receiver) else {
            self.broker.metrics.too_large_for_client.inc();
            return self.forget(&delivery);
        };
        self.broker.metrics.sent.inc();
        if delivery.qos == QoS::AtMostOnce {
            packet.write(&mut self.output, 0, false);
            return Ok(());
        }
        let (qos, position) = (delivery.qos, delivery.fanout.position);
        let mut inner = self.session.lock();
        let Some(id) = inner.send(delivery, qos) else {
            // The ring of ids has come round to one that the client never acknowledged.
            return Err(End::Said(
                Reason::ReceiveMaximumExceeded,
                "a message of 65,535 messages ago is not acknowledged",
            ));
        };
        if inner.inflight.len() == self.agreed.window {
            self.broker.metrics.windows_full.inc();
        }
        let record = position.map(|at| Record::Sent(self.session.id, at, id, qos.bits()));
        let recorded = record.map(|record| self.broker.sessions.record(&mut inner, &record)).transpose();
        drop(inner);
        let recorded = recorded.map_err(|_| NOT_RECORDED)?.flatten();
        // After a restart QoS 2 must know the id that the client has seen; QoS 1 may send under another one.
        let wait = recorded.filter(|_| qos == QoS::ExactlyOnce);
        let held = wait.is_some() || self.held.has_messages();
        if !held || self.held.push(wait, Waiting::Publish(id)).is_some() {
            packet.write(&mut self.output, id, false);
        }
        Ok(())
    }

    /// A queued message that is not sent: a durable session must not find it again after a restart.
    fn forget(&self, delivery: &Delivery) -> Result<(), End> {
        if let Some(position) = delivery.fanout.position {
            let record = Record::Dropped(self.session.id, position);
            let recorded = self.broker.sessions.record(&mut self.session.lock(), &record);
            recorded.map_err(|_| NOT_RECORDED)?;
        }
        Ok(())
    }

    /// Sends the packet that an inflight id stands for: PUBLISH, or PUBREL when PUBREC has come.
    pub(super) fn send_inflight(&mut self, id: u16, dup: bool) {
        let receiver = self.receiver(self.broker.clock.now_ms());
        let inner = self.session.lock();
        let Some(entry) = inner.inflight.get(id) else { return };
        match (&entry.item, entry.stage) {
            (_, Stage::Released) => {
                drop(inner);
                self.write(&Reply::PubRel(Ack { packet_id: id, reason: Reason::Success }));
            }
            (Queued::Message(delivery), Stage::Published) => {
                if let Some(packet) = delivery.packet(receiver) {
                    packet.write(&mut self.output, id, dup);
                }
            }
            (Queued::Stored(_), Stage::Published) => {}
        }
    }

    fn receiver(&self, now_ms: u64) -> Receiver {
        Receiver { encoder: self.encoder, now_ms }
    }

    /// Reads messages from the journal, off the runtime's threads.
    fn load(&mut self, positions: Vec<Position>) {
        let (journal, in_memory) = (self.broker.journal.clone(), self.broker.metrics.queue_bytes.clone());
        let full = in_memory.get() > i64::try_from(self.broker.sessions.limits().queue.total_bytes).unwrap_or(i64::MAX);
        let bytes = if full { 1 } else { LOAD_BYTES };
        self.loading = Some(tokio::task::spawn_blocking(move || read(&journal, &positions, bytes, &in_memory)));
    }

    /// Puts messages that were read in their place; subscriptions of today decide how they are delivered.
    pub(super) fn loaded(&self, messages: Vec<Option<Arc<Fanout>>>) {
        let mut inner = self.session.lock();
        let deliveries = messages.into_iter().map(|fanout| fanout.and_then(|fanout| subscribed(&inner, &fanout)));
        let deliveries = deliveries.collect();
        inner.load(deliveries);
    }
}

/// Reads messages by position, until they have so many bytes; `None` for one that the journal no longer has.
fn read(journal: &Journal, positions: &[Position], bytes: usize, in_memory: &Gauge) -> Vec<Option<Arc<Fanout>>> {
    let mut left = bytes;
    let read = positions.iter().map_while(|&position| {
        if left == 0 {
            return None;
        }
        let message = message(journal, position);
        let fanout = message.map(|message| Fanout::counted(message, Some(position), in_memory));
        left = left.saturating_sub(fanout.as_ref().map_or(0, |fanout| fanout.bytes()));
        Some(fanout)
    });
    read.collect()
}

fn message(journal: &Journal, position: Position) -> Option<Message> {
    let entry = journal.get(position).filter(|entry| entry.kind == Kind::Publish)?;
    Message::decode(&entry.body).ok()
}

/// How a stored message is delivered, by all of the session's filters that match it; `None` when none does any more.
pub(super) fn subscribed(inner: &Inner, fanout: &Arc<Fanout>) -> Option<Delivery> {
    let message = &fanout.message;
    let mut delivery: Option<Delivery> = None;
    for (filter, subscription) in &inner.subscriptions {
        if !filter_matches(filter, &message.topic) {
            continue;
        }
        let delivery = delivery.get_or_insert_with(|| Delivery {
            fanout: fanout.clone(),
            qos: QoS::AtMostOnce,
            retain: false,
            identifiers: None,
        });
        delivery.qos = delivery.qos.max(subscription.qos.min(message.qos));
        delivery.retain |= message.retain && subscription.retain_as_published;
        if let Some(identifier) = subscription.identifier {
            delivery.identifiers.get_or_insert_default().push(identifier);
        }
    }
    delivery
}

/// The ids to send again on a new connection, their messages read back into memory. What the journal no longer has is
/// dropped. Blocking.
pub(super) fn redelivery(journal: &Journal, session: &Session, in_memory: &Gauge) -> VecDeque<u16> {
    let stored: Vec<(u16, Position)> = session
        .lock()
        .inflight
        .unacknowledged()
        .filter(|entry| entry.stage == Stage::Published)
        .filter_map(|entry| match entry.item {
            Queued::Stored(position) => Some((entry.id, position)),
            Queued::Message(_) => None,
        })
        .collect();
    let positions: Vec<Position> = stored.iter().map(|(_, position)| *position).collect();
    let messages = read(journal, &positions, usize::MAX, in_memory);
    let mut inner = session.lock();
    for ((id, _), fanout) in stored.into_iter().zip(messages) {
        let Some(entry) = inner.inflight.get(id) else { continue };
        let qos = entry.qos;
        let delivery = fanout.map(|fanout| Delivery {
            qos,
            ..subscribed(&inner, &fanout).unwrap_or(Delivery { fanout, qos, retain: false, identifiers: None })
        });
        match delivery {
            Some(delivery) => inner.resend(id, delivery),
            None => inner.inflight.forget(id),
        }
    }
    inner.inflight.unacknowledged().map(|entry| entry.id).collect()
}
