//! What the client says: every packet type of a connected client, and its answer.

use bytestring::ByteString;
use causeway_core::message::{Message, QoS};
use tokio::time::Instant;
use tracing::debug;

use super::closing::{End, NOT_RECORDED};
use super::held::Waiting;
use super::{Connection, PAUSE, STALL_RETRY};
use crate::config::OnDenied;
use crate::devices::Refusal;
use crate::journal::Position;
use crate::mqtt::broker::{Broker, PublishError};
use crate::mqtt::delivery::Delivery;
use crate::mqtt::permissions::Answer;
use crate::mqtt::session::{Inner, Queued, Subscription};
use crate::mqtt::session_log::Event as Record;
use crate::mqtt::wire::{
    Ack, Disconnect, Filter, Packet, Publish, Reason, Reply, RetainHandling, Subscribe, Unsubscribe, Version,
};
use crate::policy::{Decision, Principal};

/// A 3.1.1 publish that found no room: 3.1.1 cannot say so, so the client is held back for a while (DESIGN: refusals).
#[derive(Debug)]
pub(super) struct Stalled {
    message: Message,
    packet_id: u16,
    pub(super) retry: Instant,
    until: Instant,
}

/// Reason strings name what was wanted; which policy decided, and where it is written, is for the operator alone.
const DENIED_PUBLISH: &str = "policy does not permit `publish` to this topic";
const NO_ROOM: &str = "no room now: a consumer of this topic is behind or the disk is full";
/// Bytes of a filter that a reason string repeats.
const SHOWN_BYTES: usize = 100;

/// The reason string about one filter of several.
fn about(filter: &str, why: &str) -> ByteString {
    let shown = filter.get(..filter.floor_char_boundary(SHOWN_BYTES)).unwrap_or_default();
    let cut = if shown.len() < filter.len() { "…" } else { "" };
    ByteString::from(format!("{shown}{cut}: {why}"))
}

/// What `causeway device show` tells about a denial.
fn refusal(broker: &Broker, topic: &str, action: &str, decision: &Decision) -> Refusal {
    Refusal {
        at_ms: broker.clock.now_ms(),
        topic: topic.to_owned(),
        action: action.to_owned(),
        reason: decision.reason.to_string(),
    }
}

impl Connection {
    /// Whether the client may be read: it is not, while its replies or its stalled message wait.
    pub(super) fn may_read(&self) -> bool {
        self.stalled.is_none()
            && self.paused_until.is_none()
            && self.held.len() < usize::from(self.broker.config.receive_maximum) * 2
            && self.output.len() < super::OUTPUT_HIGH * 2
    }

    /// Handles every whole packet that was read.
    pub(super) fn process_input(&mut self) -> Result<(), End> {
        while !self.input.is_empty() && self.may_read() && self.broker.router.has_room() {
            match self.decoder.next(&mut self.input) {
                Ok(Some(packet)) => {
                    self.partial_since = None;
                    self.handle(packet)?;
                }
                Ok(None) => {
                    self.partial_since.get_or_insert_with(Instant::now);
                    break;
                }
                Err(error) => return Err(End::Malformed(error)),
            }
        }
        if self.input.is_empty() {
            // An idle connection keeps no buffer.
            self.input = bytes::BytesMut::new();
        }
        Ok(())
    }

    fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::PubAck(ack) => self.on_puback(ack.packet_id),
            Packet::PubRec(ack) => self.on_pubrec(ack),
            Packet::PubRel(ack) => self.on_pubrel(ack.packet_id),
            Packet::PubComp(ack) => self.on_pubcomp(ack.packet_id),
            Packet::Subscribe(subscribe) => self.on_subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(&unsubscribe),
            Packet::PingReq => {
                self.write(&Reply::PingResp);
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(self.on_disconnect(&disconnect)),
            Packet::Connect(_) => Err(End::Said(Reason::ProtocolError, "a second CONNECT")),
            // CONNECT with an authentication method was refused, so there is none to go on with.
            Packet::Auth(_) => Err(End::Said(Reason::BadAuthenticationMethod, "no enhanced authentication was begun")),
        }
    }

    fn on_publish(&mut self, publish: Publish) -> Result<(), End> {
        self.broker.metrics.received.inc();
        let id = publish.packet_id;
        if publish.qos != QoS::AtMostOnce {
            let unanswered = self.held.len() + self.session.lock().received.len();
            if self.encoder.version == Version::V5 && unanswered >= usize::from(self.broker.config.receive_maximum) {
                let text = "more unacknowledged messages than the receive maximum of the CONNACK";
                return Err(End::Said(Reason::ReceiveMaximumExceeded, text));
            }
        }
        if publish.qos == QoS::ExactlyOnce && self.session.lock().received.contains_key(&id) {
            // A repeated PUBLISH: its message is known. Until that is durable it gets no answer.
            if !self.held.has_pubrec(id) {
                self.reply(None, Reply::PubRec(Ack { packet_id: id, reason: Reason::Success }, None));
            }
            return Ok(());
        }
        if let Some(reason) = publish.refusal {
            self.refuse(publish.qos, id, reason, "the payload is not the UTF-8 text that it is said to be");
            return Ok(());
        }
        if let Answer::Denied(decision) = self.permissions.publish(&self.broker.policies, &publish.topic) {
            return self.deny_publish(&publish, decision.as_deref());
        }
        if publish.qos != QoS::AtMostOnce {
            let now = Instant::now();
            if self.broker.pressure.is_high(&publish.topic, now.into_std()) {
                self.broker.metrics.pauses.inc();
                self.paused_until = Some(now + PAUSE);
            }
        }
        let message = self.message(publish);
        self.take(message, id)
    }

    fn message(&self, publish: Publish) -> Message {
        Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            sender: self.session.key.device.clone(),
            client: self.session.key.client.clone(),
            packet_id: if publish.qos == QoS::ExactlyOnce { publish.packet_id } else { 0 },
            received_ms: self.broker.clock.now_ms(),
            properties: publish.properties,
        }
    }

    /// Gives a permitted message to the broker and answers it.
    fn take(&mut self, message: Message, id: u16) -> Result<(), End> {
        match self.publish(&message, id) {
            Ok(position) => {
                self.acknowledge(message.qos, id, position);
                Ok(())
            }
            Err(PublishError::Failed) => Err(NOT_RECORDED),
            Err(PublishError::TooLarge) => {
                Err(End::Said(Reason::PacketTooLarge, "the message is larger than the journal's records may be"))
            }
            Err(PublishError::NoRoom) if message.qos == QoS::AtMostOnce => Ok(()),
            Err(PublishError::NoRoom) if self.encoder.version == Version::V5 => {
                self.refuse(message.qos, id, Reason::QuotaExceeded, NO_ROOM);
                Ok(())
            }
            Err(PublishError::NoRoom) => {
                let now = Instant::now();
                let until = now + self.broker.config.ack_timeout;
                self.stalled = Some(Stalled { message, packet_id: id, retry: now + STALL_RETRY, until });
                Ok(())
            }
        }
    }

    /// Hands a message to the broker. A QoS 2 id becomes known under the same lock, so that no snapshot of the session
    /// has the message behind it and the id not yet.
    fn publish(&self, message: &Message, id: u16) -> Result<Option<Position>, PublishError> {
        if message.qos != QoS::ExactlyOnce {
            return self.broker.publish(message);
        }
        let mut inner = self.session.lock();
        let position = self.broker.publish(message)?;
        inner.received.insert(id, position);
        inner.as_of.published = position.unwrap_or(inner.as_of.published);
        inner.dirty = true;
        Ok(position)
    }

    /// Tries the stalled message again; a client that had to wait too long is closed, so that it sends again.
    pub(super) fn retry_stalled(&mut self, now: Instant) -> Result<(), End> {
        let Some(stalled) = self.stalled.take_if(|stalled| now >= stalled.retry) else { return Ok(()) };
        if now >= stalled.until {
            return Err(End::Said(Reason::QuotaExceeded, NO_ROOM));
        }
        let until = stalled.until;
        self.take(stalled.message, stalled.packet_id)?;
        if let Some(again) = &mut self.stalled {
            again.until = until;
        }
        Ok(())
    }

    fn acknowledge(&mut self, qos: QoS, id: u16, position: Option<Position>) {
        let ack = Ack { packet_id: id, reason: Reason::Success };
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.reply(position, Reply::PubAck(ack, None)),
            QoS::ExactlyOnce => {
                self.session.lock().received.entry(id).or_insert(position);
                self.reply(position, Reply::PubRec(ack, None));
            }
        }
    }

    /// Tells an MQTT 5 client that its message was not taken, and why.
    fn refuse(&mut self, qos: QoS, id: u16, reason: Reason, text: &'static str) {
        let (ack, text) = (Ack { packet_id: id, reason }, Some(ByteString::from_static(text)));
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.reply(None, Reply::PubAck(ack, text)),
            QoS::ExactlyOnce => self.reply(None, Reply::PubRec(ack, text)),
        }
    }

    fn deny_publish(&mut self, publish: &Publish, decision: Option<&Decision>) -> Result<(), End> {
        self.broker.metrics.denied_publish.inc();
        if let Some(decision) = decision {
            self.refused(&publish.topic, "publish", decision);
        }
        if self.encoder.version == Version::V5 {
            self.refuse(publish.qos, publish.packet_id, Reason::NotAuthorized, DENIED_PUBLISH);
            return Ok(());
        }
        match self.listener.on_denied {
            OnDenied::Ack => {
                self.acknowledge(publish.qos, publish.packet_id, None);
                Ok(())
            }
            OnDenied::Close => Err(End::Said(Reason::NotAuthorized, DENIED_PUBLISH)),
        }
    }

    /// Remembers a refusal for `causeway device show`.
    pub(super) fn refused(&self, topic: &str, action: &'static str, decision: &Decision) {
        let device = &self.session.key.device;
        debug!(%device, topic, action, reason = %decision.reason, "refused");
        self.broker.devices.refused(device, refusal(&self.broker, topic, action, decision));
    }

    fn on_puback(&mut self, id: u16) -> Result<(), End> {
        let mut inner = self.session.lock();
        let Some(sent) = inner.inflight.acknowledge(id) else {
            self.broker.metrics.unknown_packet_id.inc();
            return Ok(());
        };
        // Lost with a crash it costs a repetition, which QoS 1 allows.
        self.ended_handshake(&mut inner, &sent, id)
    }

    /// Records that a packet id is free again.
    fn ended_handshake(&self, inner: &mut Inner, sent: &Queued, id: u16) -> Result<(), End> {
        inner.settled(sent);
        if sent.position().is_some() {
            let record = Record::Acknowledged(self.session.id, id);
            self.broker.sessions.record(inner, &record).map_err(|_| NOT_RECORDED)?;
        }
        Ok(())
    }

    fn on_pubrec(&mut self, Ack { packet_id: id, reason }: Ack) -> Result<(), End> {
        let mut inner = self.session.lock();
        if reason.is_error() {
            let refused = inner.inflight.refuse(id);
            return refused.map_or(Ok(()), |sent| self.ended_handshake(&mut inner, &sent, id));
        }
        let (position, reason) = match inner.inflight.receive(id).map(|sent| sent.position()) {
            Some(position) => {
                // After PUBREL the client forgets the id: a restart must not send PUBLISH again.
                let record = Record::Released(self.session.id, id);
                let recorded = position.map(|_| self.broker.sessions.record(&mut inner, &record)).transpose();
                (recorded.map_err(|_| NOT_RECORDED)?.flatten(), Reason::Success)
            }
            None => {
                self.broker.metrics.unknown_packet_id.inc();
                (None, Reason::PacketIdentifierNotFound)
            }
        };
        drop(inner);
        self.reply(position, Reply::PubRel(Ack { packet_id: id, reason }));
        Ok(())
    }

    fn on_pubrel(&mut self, id: u16) -> Result<(), End> {
        let mut inner = self.session.lock();
        let known = inner.received.remove(&id);
        // The client may use the id for a new message after PUBCOMP: a restart must not take that for a repetition.
        let record = Record::InboundReleased(self.session.id, id);
        let recorded = known.flatten().map(|_| self.broker.sessions.record(&mut inner, &record)).transpose();
        drop(inner);
        let position = recorded.map_err(|_| NOT_RECORDED)?.flatten();
        let reason = if known.is_some() { Reason::Success } else { Reason::PacketIdentifierNotFound };
        self.reply(position, Reply::PubComp(Ack { packet_id: id, reason }));
        Ok(())
    }

    fn on_pubcomp(&mut self, id: u16) -> Result<(), End> {
        let mut inner = self.session.lock();
        let Some(sent) = inner.inflight.complete(id) else {
            self.broker.metrics.unknown_packet_id.inc();
            return Ok(());
        };
        self.ended_handshake(&mut inner, &sent, id)
    }

    fn on_subscribe(&mut self, subscribe: &Subscribe) -> Result<(), End> {
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        let (mut position, mut text) = (None, None);
        for filter in &subscribe.filters {
            match self.subscribe(filter, subscribe.identifier) {
                Ok((reason, recorded)) => {
                    reasons.push(reason);
                    position = position.max(recorded);
                }
                Err((reason, why)) => {
                    reasons.push(reason);
                    text.get_or_insert_with(|| about(&filter.filter, why));
                }
            }
        }
        self.reply(position, Reply::SubAck { packet_id: subscribe.packet_id, reasons, text });
        Ok(())
    }

    fn subscribe(
        &mut self,
        wanted: &Filter,
        identifier: Option<u32>,
    ) -> Result<(Reason, Option<Position>), (Reason, &'static str)> {
        if wanted.filter.starts_with("$share/") {
            return Err((Reason::SharedSubscriptionsNotSupported, "there are no shared subscriptions"));
        }
        let decision = self.permissions.subscribe(&self.broker.policies, &wanted.filter);
        if !decision.allowed {
            self.broker.metrics.denied_subscribe.inc();
            self.refused(&wanted.filter, "subscribe", &decision);
            return Err((Reason::NotAuthorized, "policy does not permit `subscribe` to all that it matches"));
        }
        // A copy: the filter is a slice of the read buffer and would pin it.
        let filter = ByteString::from(wanted.filter.to_string());
        {
            let inner = self.session.lock();
            let limit = self.broker.sessions.limits().subscriptions;
            if inner.subscriptions.len() >= limit && !inner.subscriptions.contains_key(&filter) {
                self.broker.metrics.subscriptions_refused.inc();
                return Err((Reason::QuotaExceeded, "the session has as many subscriptions as it may"));
            }
        }
        let subscription = Subscription {
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            identifier,
            since: 0,
            after: self.broker.router.last(),
        };
        let subscribed = self.broker.sessions.subscribe(&self.session, &filter, subscription);
        let (replaced, position) = subscribed.map_err(|_| (Reason::UnspecifiedError, "the disk takes no records"))?;
        let retained = match wanted.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => !replaced,
            RetainHandling::Never => false,
        };
        if retained {
            let messages = self.broker.retained.matching(&filter, self.broker.clock.now_ms());
            self.session.offer_retained(messages.into_iter().map(|fanout| Delivery {
                qos: wanted.qos.min(fanout.message.qos),
                retain: true,
                identifiers: identifier.map(|identifier| Box::new(vec![identifier])),
                fanout,
            }));
        }
        let granted = match wanted.qos {
            QoS::AtMostOnce => Reason::Success,
            QoS::AtLeastOnce => Reason::GrantedQos1,
            QoS::ExactlyOnce => Reason::GrantedQos2,
        };
        Ok((granted, position))
    }

    fn on_unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), End> {
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        let (mut position, mut text) = (None, None);
        for filter in &unsubscribe.filters {
            let (existed, recorded) =
                self.broker.sessions.unsubscribe(&self.session, filter).map_err(|_| NOT_RECORDED)?;
            if existed {
                reasons.push(Reason::Success);
            } else {
                reasons.push(Reason::NoSubscriptionExisted);
                text.get_or_insert_with(|| about(filter, "the session has no such subscription"));
            }
            position = position.max(recorded);
        }
        self.reply(position, Reply::UnsubAck { packet_id: unsubscribe.packet_id, reasons, text });
        Ok(())
    }

    fn on_disconnect(&mut self, disconnect: &Disconnect) -> End {
        if let Some(expiry_s) = disconnect.session_expiry_s {
            // A session that was to end with its connection cannot be kept any more (MQTT5 3.14.2.2.2).
            if self.agreed.session_expiry_s == 0 && expiry_s > 0 {
                return End::Said(Reason::ProtocolError, "a session that ends with its connection cannot be kept");
            }
            let longest = u32::try_from(self.broker.config.session_expiry_max.as_secs()).unwrap_or(u32::MAX);
            self.session.lock().expiry_s = expiry_s.min(longest);
        }
        if disconnect.reason == Reason::DisconnectWithWill { End::Lost } else { End::Left }
    }

    /// Sends a reply, or lets it wait for the journal and for the replies before it.
    pub(super) fn reply(&mut self, position: Option<Position>, reply: Reply) {
        if let Some(Waiting::Reply(reply)) = self.held.push(position, Waiting::Reply(reply)) {
            self.write(&reply);
        }
    }

    /// Writes a reply; one that the client cannot take is dropped (MQTT5 3.1.2.11.4).
    pub(super) fn write(&mut self, reply: &Reply) {
        if self.encoder.encode(reply, &mut self.output).is_err() {
            self.broker.metrics.too_large_for_client.inc();
        }
    }

    /// Sends what the journal has made durable.
    pub(super) fn release_held(&mut self) {
        let durable = self.durable_position();
        while let Some(waiting) = self.held.pop(durable) {
            match waiting {
                Waiting::Reply(reply) => self.write(&reply),
                Waiting::Publish(id) => self.send_inflight(id, false),
            }
        }
    }

    /// Policies or attributes changed: what the session may no longer have is taken away.
    pub(super) fn review(&mut self) -> Result<(), End> {
        self.refresh_device();
        let filters: Vec<ByteString> = self.session.lock().subscriptions.keys().cloned().collect();
        for filter in filters {
            let decision = self.permissions.subscribe(&self.broker.policies, &filter);
            if !decision.allowed {
                self.broker.metrics.revoked_subscriptions.inc();
                self.refused(&filter, "subscribe", &decision);
                let _ = self.broker.sessions.unsubscribe(&self.session, &filter);
            }
        }
        Ok(())
    }

    /// Takes the device's attributes of now for every later decision.
    fn refresh_device(&mut self) {
        let mut inner = self.session.lock();
        let Some(known) = inner.live.as_mut().and_then(|live| live.device.as_mut()) else { return };
        let Some(device) = self.broker.devices.get(&known.id) else { return };
        *known = device.clone();
        drop(inner);
        let principal = Principal::Device(device);
        if let Some(will) = &mut self.will {
            will.principal = principal.clone();
        }
        self.permissions.replace(principal);
    }
}
