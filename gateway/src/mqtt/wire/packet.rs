//! The packets that a client sends, in one shape for both versions. What 3.1.1 lacks has the value that 3.1.1 means.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use causeway_core::message::{Properties, QoS};

use super::{Ack, Reason, Version};

/// A well-formed packet from a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// CONNECT; the first packet and no other.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK.
    PubAck(Ack),
    /// PUBREC.
    PubRec(Ack),
    /// PUBREL.
    PubRel(Ack),
    /// PUBCOMP.
    PubComp(Ack),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// AUTH, MQTT 5 only.
    Auth(Auth),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// The version of the connection.
    pub version: Version,
    /// Clean start, or clean session in 3.1.1.
    pub clean_start: bool,
    /// Keep alive in seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// The client id; empty when the gateway is to assign one, which an MQTT 5 client may ask for without clean start.
    pub client_id: ByteString,
    /// User name.
    pub username: Option<ByteString>,
    /// Password.
    pub password: Option<Password>,
    /// Will.
    pub will: Option<Will>,
    /// Session expiry in seconds; `u32::MAX` is "never", which is also what clean session 0 means in 3.1.1.
    pub session_expiry_s: u32,
    /// How many QoS 1 and 2 messages the client takes at once; never 0.
    pub receive_maximum: u16,
    /// The largest packet that the client takes; never 0.
    pub maximum_packet_size: Option<u32>,
    /// How many topic aliases the client takes.
    pub topic_alias_maximum: u16,
    /// The client asks for response information in the CONNACK.
    pub request_response_information: bool,
    /// The client lets reason strings and user properties be sent on any packet.
    pub request_problem_information: bool,
    /// Authentication method of an enhanced authentication.
    pub auth_method: Option<ByteString>,
    /// User properties.
    pub user: Vec<(ByteString, ByteString)>,
}

/// A password, which no log shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Password(pub Bytes);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The will of a CONNECT; its topic and response topic are topic names.
#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    /// The topic.
    pub topic: ByteString,
    /// The payload.
    pub payload: Bytes,
    /// The guarantee.
    pub qos: QoS,
    /// Retain it.
    pub retain: bool,
    /// How long after the connection's end it is sent, in seconds.
    pub delay_s: u32,
    /// What it says about the payload.
    pub properties: Properties,
}

/// PUBLISH, its alias resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Sent before, perhaps received.
    pub dup: bool,
    /// The guarantee.
    pub qos: QoS,
    /// Retain it.
    pub retain: bool,
    /// Never 0 at QoS 1 and 2, always 0 at QoS 0.
    pub packet_id: u16,
    /// The topic, always a topic name.
    pub topic: ByteString,
    /// The payload. It does not keep the read buffer alive unless it is a good part of it.
    pub payload: Bytes,
    /// What the publisher says about the payload.
    pub properties: Properties,
    /// The packet is well formed but its message must not be accepted: acknowledge it with this reason and drop it.
    pub refusal: Option<Reason>,
}

/// SUBSCRIBE; at least one filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscribe {
    /// Never 0.
    pub packet_id: u16,
    /// The subscription identifier, never 0.
    pub identifier: Option<u32>,
    /// The filters in the client's order.
    pub filters: Vec<Filter>,
}

/// One filter of a SUBSCRIBE with its options.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// The filter; in MQTT 5 it may begin with `$share/<group>/`, checked.
    pub filter: ByteString,
    /// The highest guarantee that the client wants.
    pub qos: QoS,
    /// Don't send the client its own messages; never set on a shared subscription.
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription (MQTT5 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RetainHandling {
    /// At each SUBSCRIBE; what 3.1.1 does.
    #[default]
    Always,
    /// Only if the subscription did not exist.
    IfNew,
    /// Never.
    Never,
}

/// UNSUBSCRIBE; at least one filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsubscribe {
    /// Never 0.
    pub packet_id: u16,
    /// The filters in the client's order.
    pub filters: Vec<ByteString>,
}

/// DISCONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disconnect {
    /// Why; [`Reason::Success`] in 3.1.1.
    pub reason: Reason,
    /// A new session expiry in seconds.
    pub session_expiry_s: Option<u32>,
}

/// AUTH; always with a method.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth {
    /// Continue authentication or re-authenticate.
    pub reason: Reason,
    /// The method.
    pub method: ByteString,
    /// The data.
    pub data: Option<Bytes>,
}
