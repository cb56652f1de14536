//! The message: what a PUBLISH carries from the front door to the journal, the router and the plugins.
//!
//! One encoding serves them all, so a message is encoded once. It knows nothing of packets, sessions or sockets.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use thiserror::Error;

/// The format of [`Message::encode`]; the first byte of each encoded message.
const FORMAT: u8 = 1;

/// Delivery guarantee (MQTT5 4.3).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum QoS {
    /// QoS 0.
    #[default]
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl QoS {
    /// The two bits of the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }

    /// The guarantee of two wire bits; `None` for the reserved value 3.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// What a publisher may say about its payload (MQTT5 3.3.2.3), without what belongs to one connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Properties {
    /// Message expiry interval in seconds, counted from `received_ms`.
    pub expiry_s: Option<u32>,
    /// Content type, as the publisher wrote it.
    pub content_type: Option<ByteString>,
    /// Response topic, checked to be a topic.
    pub response_topic: Option<ByteString>,
    /// Correlation data.
    pub correlation: Option<Bytes>,
    /// User properties in the publisher's order.
    pub user: Vec<(ByteString, ByteString)>,
    /// The payload format indicator says UTF-8.
    pub utf8: bool,
}

/// A published message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// The topic, checked by the front door.
    pub topic: ByteString,
    /// The payload, untouched.
    pub payload: Bytes,
    /// The publisher's guarantee.
    pub qos: QoS,
    /// The publisher asked to retain it.
    pub retain: bool,
    /// The device that published it; empty for the gateway itself.
    pub sender: ByteString,
    /// The MQTT client id of the publishing session; with `sender` it names the session.
    pub client: ByteString,
    /// The publisher's packet id for QoS 2, else 0; keeps the receiver's set of known ids alive over a restart.
    pub packet_id: u16,
    /// When the gateway received it, in Unix milliseconds of the gateway's clock.
    pub received_ms: u64,
    /// What the publisher said about the payload.
    pub properties: Properties,
}

/// The bytes are not an encoded message. The caller skips and counts the record.
#[derive(Debug, Error, Eq, PartialEq)]
pub enum MessageError {
    /// A newer or foreign format byte.
    #[error("unknown message format {0}")]
    Format(u8),
    /// A field runs over the end, or is not the text that it must be.
    #[error("damaged message field {0}")]
    Field(&'static str),
}

const RETAIN: u8 = 1 << 2;
const UTF8: u8 = 1 << 3;
const EXPIRY: u8 = 1 << 4;
const CONTENT_TYPE: u8 = 1 << 5;
const RESPONSE_TOPIC: u8 = 1 << 6;
const CORRELATION: u8 = 1 << 7;

impl Message {
    /// When the message expires, in Unix milliseconds.
    #[must_use]
    pub fn expires_ms(&self) -> Option<u64> {
        self.properties.expiry_s.map(|seconds| self.received_ms.saturating_add(u64::from(seconds) * 1000))
    }

    /// The bytes for the journal and the router; the payload is last, so that a reader can slice it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out.freeze()
    }

    /// The room that an encoding takes, without its user properties.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        64 + self.topic.len() + self.sender.len() + self.client.len() + self.payload.len()
    }

    /// Appends [`Message::encode`]'s bytes.
    pub fn encode_into(&self, out: &mut BytesMut) {
        let p = &self.properties;
        let mut flags = self.qos.bits();
        for (bit, set) in [
            (RETAIN, self.retain),
            (UTF8, p.utf8),
            (EXPIRY, p.expiry_s.is_some()),
            (CONTENT_TYPE, p.content_type.is_some()),
            (RESPONSE_TOPIC, p.response_topic.is_some()),
            (CORRELATION, p.correlation.is_some()),
        ] {
            if set {
                flags |= bit;
            }
        }
        out.put_u8(FORMAT);
        out.put_u8(flags);
        out.put_u16_le(self.packet_id);
        out.put_u64_le(self.received_ms);
        for text in [&self.topic, &self.sender, &self.client] {
            put(out, text.as_bytes());
        }
        if let Some(seconds) = p.expiry_s {
            out.put_u32_le(seconds);
        }
        for text in [&p.content_type, &p.response_topic].into_iter().flatten() {
            put(out, text.as_bytes());
        }
        if let Some(data) = &p.correlation {
            put(out, data);
        }
        out.put_u32_le(u32::try_from(p.user.len()).unwrap_or(u32::MAX));
        for (key, value) in &p.user {
            put(out, key.as_bytes());
            put(out, value.as_bytes());
        }
        out.extend_from_slice(&self.payload);
    }

    /// Reads [`Message::encode`]'s bytes; texts and payload are slices of `bytes`, nothing is copied.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are not an encoded message.
    pub fn decode(bytes: &Bytes) -> Result<Self, MessageError> {
        let mut input = Input { bytes, at: 0 };
        let format = input.u8("format")?;
        if format != FORMAT {
            return Err(MessageError::Format(format));
        }
        let flags = input.u8("flags")?;
        let has = |bit: u8| flags & bit != 0;
        let qos = QoS::from_bits(flags & 3).ok_or(MessageError::Field("qos"))?;
        let packet_id = u16::from_le_bytes(input.array("packet id")?);
        let received_ms = u64::from_le_bytes(input.array("received")?);
        let topic = input.text("topic")?;
        let sender = input.text("sender")?;
        let client = input.text("client")?;
        let mut properties = Properties { utf8: has(UTF8), ..Properties::default() };
        if has(EXPIRY) {
            properties.expiry_s = Some(u32::from_le_bytes(input.array("expiry")?));
        }
        if has(CONTENT_TYPE) {
            properties.content_type = Some(input.text("content type")?);
        }
        if has(RESPONSE_TOPIC) {
            properties.response_topic = Some(input.text("response topic")?);
        }
        if has(CORRELATION) {
            properties.correlation = Some(input.slice("correlation")?);
        }
        let count = u32::from_le_bytes(input.array("user properties")?);
        for _ in 0..count {
            properties.user.push((input.text("user property")?, input.text("user property")?));
        }
        let payload = bytes.slice(input.at..);
        Ok(Self { topic, payload, qos, retain: has(RETAIN), sender, client, packet_id, received_ms, properties })
    }
}

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// A cursor over encoded bytes; every read is checked against the end.
struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Input<'_> {
    fn take(&mut self, len: usize, field: &'static str) -> Result<std::ops::Range<usize>, MessageError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len()).ok_or(MessageError::Field(field))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, MessageError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], MessageError> {
        let range = self.take(N, field)?;
        self.bytes.get(range).and_then(|slice| slice.try_into().ok()).ok_or(MessageError::Field(field))
    }

    fn slice(&mut self, field: &'static str) -> Result<Bytes, MessageError> {
        let len = u32::from_le_bytes(self.array(field)?);
        let range = self.take(usize::try_from(len).map_err(|_| MessageError::Field(field))?, field)?;
        Ok(self.bytes.slice(range))
    }

    fn text(&mut self, field: &'static str) -> Result<ByteString, MessageError> {
        ByteString::try_from(self.slice(field)?).map_err(|_| MessageError::Field(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = ByteString> {
        ".{0,20}".prop_map(ByteString::from)
    }

    fn data() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
    }

    prop_compose! {
        fn properties()(
            expiry_s in any::<Option<u32>>(), content_type in proptest::option::of(text()),
            response_topic in proptest::option::of(text()), correlation in proptest::option::of(data()),
            user in proptest::collection::vec((text(), text()), 0..4), utf8 in any::<bool>(),
        ) -> Properties {
            Properties { expiry_s, content_type, response_topic, correlation, user, utf8 }
        }
    }

    prop_compose! {
        fn message()(
            topic in text(), payload in data(), qos in 0..3u8, retain in any::<bool>(), sender in text(),
            client in text(), packet_id in any::<u16>(), received_ms in any::<u64>(), properties in properties(),
        ) -> Message {
            let qos = QoS::from_bits(qos).unwrap();
            Message { topic, payload, qos, retain, sender, client, packet_id, received_ms, properties }
        }
    }

    proptest! {
        #[test]
        fn a_decoded_message_equals_the_encoded_one(message in message()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn any_bytes_decode_or_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = Message::decode(&Bytes::from(bytes));
        }

        #[test]
        fn a_truncated_header_is_refused(message in message(), cut in 0..12usize) {
            let bytes = message.encode().slice(..cut);
            prop_assert!(Message::decode(&bytes).is_err());
        }
    }
}
