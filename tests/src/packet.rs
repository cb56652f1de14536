//! MQTT 3.1.1 and 5 packets as a device writes and reads them: builders towards the gateway, a strict parser back.
//!
//! A builder can say wrong things too: what it is told is what it writes.

mod parse;

use std::fmt;

pub use parse::Packet;

/// The two protocol levels that the gateway serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    V311,
    V5,
}

/// Property identifiers (MQTT5 2.2.2.2).
pub mod property {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0b;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const REQUEST_PROBLEM: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REASON: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const ALIAS_MAXIMUM: u8 = 0x22;
    pub const ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const SHARED_AVAILABLE: u8 = 0x2a;
}

/// The value of a property; which kind an identifier takes is the specification's business.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Binary(Vec<u8>),
    Text(String),
    Pair(String, String),
}

/// Properties in wire order.
pub type Properties = Vec<(u8, Value)>;

/// The number in the first property `id`, whatever its width.
#[must_use]
pub fn number(properties: &Properties, id: u8) -> Option<u32> {
    properties.iter().find(|(at, _)| *at == id).and_then(|(_, value)| match value {
        Value::Byte(n) => Some(u32::from(*n)),
        Value::Two(n) => Some(u32::from(*n)),
        Value::Four(n) | Value::Variable(n) => Some(*n),
        _ => None,
    })
}

/// The text in the first property `id`.
#[must_use]
pub fn text(properties: &Properties, id: u8) -> Option<&str> {
    properties.iter().find(|(at, _)| *at == id).and_then(|(_, value)| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// The message that the gateway publishes when a device is lost.
#[derive(Clone, Debug, Default)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

impl Will {
    #[must_use]
    pub fn new(topic: &str, payload: &str, qos: u8) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos, ..Self::default() }
    }

    /// Delays the will by so many seconds (MQTT 5).
    #[must_use]
    pub fn delay(mut self, seconds: u32) -> Self {
        self.properties.push((property::WILL_DELAY, Value::Four(seconds)));
        self
    }
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub properties: Properties,
}

impl Connect {
    /// A clean session that says nothing special.
    #[must_use]
    pub fn new(version: Version, client_id: &str) -> Self {
        let client_id = client_id.into();
        Self { version, client_id, clean: true, keep_alive: 60, will: None, properties: Vec::new() }
    }

    /// A session that outlives its connection by `seconds`; 3.1.1 knows only "yes", so the number is MQTT 5's.
    #[must_use]
    pub fn persistent(mut self, seconds: u32) -> Self {
        self.clean = false;
        match self.version {
            Version::V311 => self,
            Version::V5 => self.with(property::SESSION_EXPIRY, Value::Four(seconds)),
        }
    }

    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.properties.push((id, value));
        self
    }

    /// The bytes of the packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let v5 = self.version == Version::V5;
        let mut body = Vec::new();
        put_text(&mut body, "MQTT");
        body.push(if v5 { 5 } else { 4 });
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
        }
        body.push(flags);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        if v5 {
            put_properties(&mut body, &self.properties);
        }
        put_text(&mut body, &self.client_id);
        if let Some(will) = &self.will {
            if v5 {
                put_properties(&mut body, &will.properties);
            }
            put_text(&mut body, &will.topic);
            put_binary(&mut body, &will.payload);
        }
        frame(0x10, &body)
    }
}

/// A PUBLISH, in either direction.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub properties: Properties,
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, retain, dup, id, properties } = self;
        let payload = String::from_utf8_lossy(payload.get(..40).unwrap_or(payload));
        write!(f, "PUBLISH({topic} qos {qos} retain {retain} dup {dup} id {id} {properties:?}: {payload})")
    }
}

impl Publish {
    #[must_use]
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>, qos: u8) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos, ..Self::default() }
    }

    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    #[must_use]
    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.properties.push((id, value));
        self
    }

    /// The payload as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The bytes of the packet.
    #[must_use]
    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.topic.len() + self.payload.len() + 8);
        put_text(&mut body, &self.topic);
        if self.qos > 0 {
            body.extend_from_slice(&self.id.to_be_bytes());
        }
        if version == Version::V5 {
            put_properties(&mut body, &self.properties);
        }
        body.extend_from_slice(&self.payload);
        frame(0x30 | (u8::from(self.dup) << 3) | (self.qos << 1) | u8::from(self.retain), &body)
    }
}

/// A SUBSCRIBE of filters with their options bytes.
#[must_use]
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)], properties: &Properties) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        put_properties(&mut body, properties);
    }
    for (filter, options) in filters {
        put_text(&mut body, filter);
        body.push(*options);
    }
    frame(0x82, &body)
}

/// An UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        put_text(&mut body, filter);
    }
    frame(0xa2, &body)
}

/// One of the four-byte acknowledgements; `first` is its first byte, as in `0x40` for PUBACK and `0x62` for PUBREL.
#[must_use]
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

/// A DISCONNECT with a reason code and properties; 3.1.1 has neither.
#[must_use]
pub fn disconnect(version: Version, reason: u8, properties: &Properties) -> Vec<u8> {
    match version {
        Version::V311 => frame(0xe0, &[]),
        Version::V5 => {
            let mut body = vec![reason];
            put_properties(&mut body, properties);
            frame(0xe0, &body)
        }
    }
}

/// A whole packet of any first byte and body.
#[must_use]
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_variable(&mut out, u32::try_from(body.len()).unwrap());
    out.extend_from_slice(body);
    out
}

pub fn put_variable(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let more = number > 127;
        out.push((number & 127) as u8 | u8::from(more) << 7);
        number >>= 7;
        if !more {
            return;
        }
    }
}

pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_binary(out, text.as_bytes());
}

fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_properties(out: &mut Vec<u8>, properties: &Properties) {
    let mut inner = Vec::new();
    for (id, value) in properties {
        inner.push(*id);
        match value {
            Value::Byte(n) => inner.push(*n),
            Value::Two(n) => inner.extend_from_slice(&n.to_be_bytes()),
            Value::Four(n) => inner.extend_from_slice(&n.to_be_bytes()),
            Value::Variable(n) => put_variable(&mut inner, *n),
            Value::Binary(bytes) => put_binary(&mut inner, bytes),
            Value::Text(text) => put_text(&mut inner, text),
            Value::Pair(key, value) => {
                put_text(&mut inner, key);
                put_text(&mut inner, value);
            }
        }
    }
    put_variable(out, u32::try_from(inner.len()).unwrap());
    out.extend_from_slice(&inner);
}
