//! From an accepted stream to an open session: CONNECT within its deadline, identity, policy, will, session, CONNACK.
//!
//! Every refusal says why to the log, and to the client as far as its version can.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use causeway_core::message::{Message, QoS};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::{debug, info};

use super::closing::farewell;
use super::held::Held;
use super::{Agreed, Connection, FAR, io, outbound};
use crate::devices::{AdmitError, Refusal};
use crate::journal::Durable;
use crate::mqtt::broker::Broker;
use crate::mqtt::identity::Peer;
use crate::mqtt::listener::{Accepted, Permit};
use crate::mqtt::permissions::Permissions;
use crate::mqtt::session::{Live, SessionKey};
use crate::mqtt::sessions::{OpenError, Opened};
use crate::mqtt::will::Will;
use crate::mqtt::wire::{self, ConnAck, Connect, Decoder, Packet, Reason, Reply, Version};
use crate::policy::{Action, Principal, Request, Resource};

/// What is refused when it is not a will.
const CONNECT: &str = Action::Connect.name();

/// A CONNECT that is refused.
struct Refused {
    reason: Reason,
    /// What the client is told.
    told: Cow<'static, str>,
    /// What the log and `causeway device show` say: policy, file and line too.
    why: String,
    /// What was refused: the connection itself, or a will.
    action: &'static str,
    /// The will's topic.
    topic: String,
}

impl Refused {
    /// A refusal whose reason is not for the operator alone.
    fn new(reason: Reason, why: impl Into<Cow<'static, str>>) -> Self {
        let told = why.into();
        Self { reason, why: told.to_string(), told, action: CONNECT, topic: String::new() }
    }

    /// A refusal that tells the client less than the operator.
    fn telling(reason: Reason, told: &'static str, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::new(reason, told) }
    }
}

/// Opens the session of an accepted stream; `None` when the peer was refused or said nothing in time.
pub(super) async fn connect(accepted: Accepted, broker: Arc<Broker>) -> Option<Connection> {
    let Accepted { stream, peer, listener, mut welcome, mut permit } = accepted;
    let mut decoder = Decoder::new(wire::limits_before_connect(&broker.config));
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = BytesMut::new();
    let read = read_connect(&mut reader, &mut decoder, &mut input);
    let read = tokio::time::timeout(broker.config.connect_timeout, read);
    let read = tokio::select! {
        read = read => read,
        () = permit.evicted() => {
            broker.metrics.connect_refused("evicted");
            return None;
        }
    };
    let connect = match read {
        Ok(Ok(connect)) => connect,
        Ok(Err(last_words)) => {
            broker.metrics.connect_refused("malformed");
            say_farewell(&mut reader, &mut writer, &last_words, &permit).await;
            return None;
        }
        Err(_) => {
            debug!(peer = %peer.address, "no CONNECT in time");
            broker.metrics.connect_refused("timeout");
            return None;
        }
    };
    let encoder = *decoder.encoder()?;
    match open(&connect, &peer, &listener.name, &broker, &mut permit).await {
        Ok(granted) => {
            permit.established();
            let standing_peer = peer.clone();
            let standing = Box::pin(async move { welcome.ends(&standing_peer).await });
            let mut connection = Connection {
                durable: broker.journal.durable(),
                permissions: Permissions::new(granted.principal),
                agreed: agreed(&connect, &broker),
                session: granted.opened.session,
                slot: Some(granted.opened.slot),
                peer: Arc::new(peer),
                will: granted.will,
                broker,
                listener,
                _permit: permit,
                standing,
                reader,
                writer,
                decoder,
                encoder,
                input,
                output: BytesMut::new(),
                held: Held::default(),
                resend: VecDeque::new(),
                loading: None,
                stalled: None,
                paused_until: None,
                last_read: Instant::now(),
                partial_since: None,
                last_write: Instant::now(),
                flushing: false,
                timer: Box::pin(tokio::time::sleep(FAR)),
            };
            connection.begin(&connect, granted.assigned, granted.opened.present, granted.device).await;
            Some(connection)
        }
        Err(refused) => {
            info!(peer = %peer.address, client = %connect.client_id, reason = %refused.why, "CONNECT refused");
            broker.metrics.connect_refused("refused");
            let connack = Reply::ConnAck(Box::new(ConnAck::refused(refused.reason, refused.told.as_ref())));
            remember(&connect, &peer, &broker, refused);
            let mut output = BytesMut::new();
            let _ = encoder.encode(&connack, &mut output);
            say_farewell(&mut reader, &mut writer, &output, &permit).await;
            None
        }
    }
}

/// The first packet, which must be CONNECT; for any other, the last words to the peer, if there are any.
async fn read_connect(
    reader: &mut (impl AsyncRead + Unpin),
    decoder: &mut Decoder,
    input: &mut BytesMut,
) -> Result<Connect, Bytes> {
    loop {
        match decoder.next(input) {
            Ok(Some(Packet::Connect(connect))) => return Ok(*connect),
            Ok(Some(_)) => return Err(Bytes::new()),
            Ok(None) => {}
            Err(error) => {
                debug!(%error, "malformed CONNECT");
                return Err(error.farewell);
            }
        }
        if !io::read_some(reader, input).await.is_ok_and(|count| count > 0) {
            return Err(Bytes::new());
        }
    }
}

/// The refusal of a connection that is still half open: who needs its place gets it.
async fn say_farewell(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    words: &[u8],
    permit: &Permit,
) {
    if words.is_empty() {
        return;
    }
    tokio::select! {
        () = farewell(reader, writer, words) => {}
        () = permit.evicted() => {}
    }
}

/// Remembers a refusal for `causeway device show`; one by an identity that is no device is found under its name.
fn remember(connect: &Connect, peer: &Peer, broker: &Broker, refused: Refused) {
    let Ok(name) = peer.identity.name(&connect.client_id) else { return };
    let Refused { why, action, topic, .. } = refused;
    let id = match peer.identity.certificate() {
        Some(_) => broker.devices.of_identity(&name).map_or_else(|| name.to_string(), |device| device.id.clone()),
        // Nobody has vouched for the names behind a plain listener: as many as a peer can think of would make the gateway
        // forget the refusals of devices.
        None if action == CONNECT => return,
        None => unverified(&name),
    };
    let refusal = Refusal { at_ms: broker.clock.now_ms(), topic, action: action.to_owned(), reason: why };
    broker.devices.refused(&id, refusal);
}

/// Who comes by a plain listener. No device id contains a slash: whatever that listener calls its clients, they share no
/// session with a device and are never taken for the sender of its messages.
fn unverified(name: &str) -> String {
    format!("unverified/{name}")
}

/// What a CONNECT was granted.
struct Granted {
    principal: Principal,
    device: Option<Arc<crate::devices::Device>>,
    will: Option<Will>,
    opened: Opened,
    assigned: Option<ByteString>,
}

async fn open(
    connect: &Connect,
    peer: &Peer,
    listener: &str,
    broker: &Arc<Broker>,
    permit: &mut Permit,
) -> Result<Granted, Refused> {
    if connect.auth_method.is_some() {
        return Err(Refused::new(Reason::BadAuthenticationMethod, "enhanced authentication is not supported"));
    }
    let (principal, name, device) = admit(connect, peer, broker).await?;
    let decision = broker.policies.decide(&Request {
        principal: &principal,
        action: Action::Connect,
        resource: Resource::Listener(listener),
    });
    if !decision.allowed {
        let why = format!("{principal} may not connect: {}", decision.reason);
        return Err(Refused::telling(Reason::NotAuthorized, "policy does not permit `connect` to this listener", why));
    }
    let assigned = connect.client_id.is_empty().then(|| assign(broker));
    let client = match &assigned {
        Some(client) => client.clone(),
        // A copy: the client id is a slice of the read buffer and would pin it.
        None => ByteString::from(connect.client_id.to_string()),
    };
    let key = SessionKey { device: name, client };
    let will = will(connect, &key, &principal, broker)?;
    let expiry_s = granted_expiry(connect, broker);
    let opened = broker.sessions.open(key, connect.clean_start, expiry_s).await.map_err(|error| {
        let reason = match error {
            OpenError::Full => Reason::QuotaExceeded,
            OpenError::Busy => Reason::ServerBusy,
            OpenError::Journal(_) => Reason::ServerUnavailable,
        };
        Refused::new(reason, error.to_string())
    })?;
    if let Some(replaced) = opened.replaced {
        broker.wills.session_ended(replaced);
    }
    if !permit.claim(&opened.session.key.device) {
        broker.sessions.release(&opened.session, broker.clock.now_ms());
        return Err(Refused::new(Reason::QuotaExceeded, "the identity has as many connections as it may"));
    }
    Ok(Granted { principal, device, will, opened, assigned })
}

/// Who connects: a known device by its certificate, or whom the plain listener takes everybody for.
async fn admit(
    connect: &Connect,
    peer: &Peer,
    broker: &Broker,
) -> Result<(Principal, ByteString, Option<Arc<crate::devices::Device>>), Refused> {
    let name = peer.identity.name(&connect.client_id);
    let name = name.map_err(|error| Refused::new(Reason::ClientIdentifierNotValid, error.to_string()))?;
    let Some(certificate) = peer.identity.certificate() else {
        let key = ByteString::from(unverified(&name));
        return Ok((Principal::Unverified { id: name.to_string() }, key, None));
    };
    match broker.devices.admit(&name, broker.clock.now_ms(), Some(certificate.not_after_ms)).await {
        Ok(device) => Ok((Principal::Device(device.clone()), device.id.as_str().into(), Some(device))),
        Err(error @ AdmitError::Disabled(_)) => Err(Refused::new(Reason::Banned, error.to_string())),
        Err(error @ (AdmitError::Full(_) | AdmitError::Store(_))) => {
            let told = "the gateway cannot register a device now";
            Err(Refused::telling(Reason::ServerBusy, told, error.to_string()))
        }
        Err(error) => Err(Refused::new(Reason::NotAuthorized, error.to_string())),
    }
}

/// The will, authorised now and again when it fires.
fn will(connect: &Connect, key: &SessionKey, principal: &Principal, broker: &Broker) -> Result<Option<Will>, Refused> {
    let Some(will) = &connect.will else { return Ok(None) };
    let resource = Resource::Topic(&will.topic);
    let decision = broker.policies.decide(&Request { principal, action: Action::Will, resource });
    if !decision.allowed {
        let told = "policy does not permit `publish` to the will's topic";
        let why = format!("{principal} may not leave a will on {}: {}", will.topic, decision.reason);
        let refused = Refused::telling(Reason::NotAuthorized, told, why);
        return Err(Refused { action: Action::Will.name(), topic: will.topic.to_string(), ..refused });
    }
    let message = Message {
        topic: ByteString::from(will.topic.to_string()),
        payload: Bytes::copy_from_slice(&will.payload),
        qos: will.qos,
        retain: will.retain,
        sender: key.device.clone(),
        client: key.client.clone(),
        packet_id: 0,
        received_ms: 0,
        properties: will.properties.clone(),
    };
    let asked = Duration::from_secs(u64::from(will.delay_s));
    if asked > broker.config.max_will_delay {
        broker.metrics.will_delays_cut.inc();
    }
    let delay = asked.min(broker.config.max_will_delay);
    Ok(Some(Will { message, principal: principal.clone(), delay }))
}

/// Unique for ever: the gateway's clock and a counter.
fn assign(broker: &Broker) -> ByteString {
    ByteString::from(format!("auto-{:x}-{:x}", broker.clock.now_ms(), broker.next_client_number()))
}

fn granted_expiry(connect: &Connect, broker: &Broker) -> u32 {
    let longest = u32::try_from(broker.config.session_expiry_max.as_secs()).unwrap_or(u32::MAX);
    connect.session_expiry_s.min(longest)
}

/// The keep-alive that holds: the client's, or the longest one that the gateway takes (MQTT5 3.2.2.3.14).
fn keep_alive_s(connect: &Connect, broker: &Broker) -> u16 {
    let longest = u16::try_from(broker.config.server_keep_alive_max.as_secs()).unwrap_or(u16::MAX);
    match (connect.keep_alive_s, longest) {
        (asked, 0) => asked,
        // 3.1.1 cannot be told another one.
        (asked, _) if connect.version == Version::V311 => asked,
        (0, longest) => longest,
        (asked, longest) => asked.min(longest),
    }
}

fn agreed(connect: &Connect, broker: &Broker) -> Agreed {
    let keep_alive = u64::from(keep_alive_s(connect, broker));
    Agreed {
        idle_limit: (keep_alive > 0).then(|| Duration::from_millis(keep_alive * 1500)),
        window: usize::from(connect.receive_maximum.min(broker.config.max_inflight)),
        session_expiry_s: granted_expiry(connect, broker),
    }
}

impl Connection {
    /// Takes the session over: CONNACK when its beginning is durable, then what was unacknowledged.
    async fn begin(
        &mut self,
        connect: &Connect,
        assigned: Option<ByteString>,
        present: bool,
        device: Option<Arc<crate::devices::Device>>,
    ) {
        let broker = self.broker.clone();
        broker.wills.cancel(self.session.id);
        broker.metrics.connections.inc();
        broker.metrics.connected.inc();
        let config = &broker.config;
        self.decoder.admit(wire::limits(config), config.topic_alias_maximum);
        let told = Some(keep_alive_s(connect, &broker)).filter(|told| *told != connect.keep_alive_s);
        if told.is_some() {
            broker.metrics.keep_alives_cut.inc();
        }
        let connack = ConnAck {
            session_present: present,
            reason: Reason::Success,
            assigned_client_id: assigned,
            server_keep_alive_s: told,
            receive_maximum: config.receive_maximum,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: u32::try_from(config.max_packet_bytes.bytes()).ok(),
            topic_alias_maximum: config.topic_alias_maximum,
            wildcard_subscriptions_available: true,
            subscription_identifiers_available: true,
            shared_subscriptions_available: false,
            session_expiry_s: Some(self.agreed.session_expiry_s).filter(|told| *told != connect.session_expiry_s),
            response_information: None,
            text: None,
        };
        let live = Live {
            device,
            peer: self.peer.clone(),
            listener: self.listener.name.as_str().into(),
            since_ms: broker.clock.now_ms(),
            version: connect.version,
        };
        let begun = {
            let mut inner = self.session.lock();
            inner.live = Some(live);
            inner.order = None;
            inner.durable.then_some(inner.as_of.recorded)
        };
        if let Some(position) = begun {
            self.wait_durable(position).await;
        }
        self.write(&Reply::ConnAck(Box::new(connack)));
        if present {
            let (broker, session) = (broker.clone(), self.session.clone());
            let redelivery = move || outbound::redelivery(&broker.journal, &session, &broker.metrics.queue_bytes);
            let redelivery = tokio::task::spawn_blocking(redelivery);
            self.resend = redelivery.await.unwrap_or_default();
            // Policies may have changed while the client was away.
            let _ = self.review();
        }
    }

    /// Waits until the journal has the session's beginning; a journal that fails shows at the first publish.
    async fn wait_durable(&mut self, position: u64) {
        let deadline = self.broker.config.ack_timeout;
        let reached = self.durable.wait_for(|durable| match durable {
            Durable::Position(reached) => *reached >= position,
            Durable::Failed => true,
        });
        let _ = tokio::time::timeout(deadline, reached).await;
    }
}
