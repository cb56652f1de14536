//! CONNACK: what the gateway grants a client (MQTT5 3.2).

use bytes::BufMut;
use bytestring::ByteString;
use causeway_core::message::QoS;

use super::Reason;
use super::encode::{TooLarge, put_text_property, put_varint};

/// What a CONNACK says; what has the value that the specification takes for granted is not written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnAck {
    /// The gateway has kept the session.
    pub session_present: bool,
    /// Accepted or why not.
    pub reason: Reason,
    /// The client id that the gateway gave to a client without one.
    pub assigned_client_id: Option<ByteString>,
    /// The keep alive that the client is to use, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// How many QoS 1 and 2 messages the gateway takes at once; never 0.
    pub receive_maximum: u16,
    /// The highest guarantee.
    pub maximum_qos: QoS,
    /// Whether retained messages exist.
    pub retain_available: bool,
    /// The largest packet that the gateway takes.
    pub maximum_packet_size: Option<u32>,
    /// How many topic aliases the gateway takes.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards.
    pub wildcard_subscriptions_available: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers_available: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscriptions_available: bool,
    /// The session expiry in seconds, where it is not the one that the client asked for.
    pub session_expiry_s: Option<u32>,
    /// Where the client's response topics begin.
    pub response_information: Option<ByteString>,
    /// The reason string.
    pub text: Option<ByteString>,
}

impl Default for ConnAck {
    fn default() -> Self {
        Self {
            session_present: false,
            reason: Reason::Success,
            assigned_client_id: None,
            server_keep_alive_s: None,
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            wildcard_subscriptions_available: true,
            subscription_identifiers_available: true,
            shared_subscriptions_available: true,
            session_expiry_s: None,
            response_information: None,
            text: None,
        }
    }
}

impl ConnAck {
    /// A refusal with its reason string.
    #[must_use]
    pub fn refused(reason: Reason, text: impl Into<ByteString>) -> Self {
        Self { reason, text: Some(text.into()), ..Self::default() }
    }

    /// Writes the MQTT 5 body with `text` as its reason string.
    pub(super) fn encode(&self, text: Option<&ByteString>, body: &mut Vec<u8>) -> Result<(), TooLarge> {
        let present = self.session_present && !self.reason.is_error();
        body.put_slice(&[u8::from(present), self.reason.code()]);
        let properties = self.properties(text)?;
        put_varint(properties.len(), body);
        body.put_slice(&properties);
        Ok(())
    }

    fn properties(&self, text: Option<&ByteString>) -> Result<Vec<u8>, TooLarge> {
        let mut out = Vec::with_capacity(64);
        if let Some(seconds) = self.session_expiry_s {
            out.put_u8(0x11);
            out.put_u32(seconds);
        }
        if self.receive_maximum != u16::MAX {
            out.put_u8(0x21);
            out.put_u16(self.receive_maximum);
        }
        if self.maximum_qos != QoS::ExactlyOnce {
            out.put_slice(&[0x24, self.maximum_qos.bits()]);
        }
        if let Some(bytes) = self.maximum_packet_size {
            out.put_u8(0x27);
            out.put_u32(bytes);
        }
        if self.topic_alias_maximum > 0 {
            out.put_u8(0x22);
            out.put_u16(self.topic_alias_maximum);
        }
        for (id, available) in [
            (0x25, self.retain_available),
            (0x28, self.wildcard_subscriptions_available),
            (0x29, self.subscription_identifiers_available),
            (0x2a, self.shared_subscriptions_available),
        ] {
            if !available {
                out.put_slice(&[id, 0]);
            }
        }
        if let Some(seconds) = self.server_keep_alive_s {
            out.put_u8(0x13);
            out.put_u16(seconds);
        }
        for (id, value) in
            [(0x12, self.assigned_client_id.as_ref()), (0x1a, self.response_information.as_ref()), (0x1f, text)]
        {
            if let Some(value) = value {
                put_text_property(id, value, &mut out)?;
            }
        }
        Ok(out)
    }
}
