//! CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and AUTH: read by `rmqtt-codec`, turned into our own types.
//!
//! The strict check has passed by then, so an error of the codec means that the two disagree; it is a refusal all the
//! same. Only whole packets come here, because the codec takes a body that ends early for one that is still to come.

use bytes::BytesMut;
use bytestring::ByteString;
use causeway_core::frame;
use causeway_core::message::{Properties, QoS};
use rmqtt_codec::types::QoS as CodecQoS;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder as _;

use super::{
    Auth, Connect, Disconnect, Filter, FrameError, Packet, Password, Reason, RetainHandling, Subscribe, Unsubscribe,
    Version, Will,
};

const DISAGREE: FrameError =
    FrameError::new(Reason::MalformedPacket, "packet", "passed the check but was not understood");

/// Reads one whole packet that passed the check.
pub(super) fn translate(
    packet: &[u8],
    version: Option<Version>,
    facts: Option<&frame::Connect>,
) -> Result<Packet, FrameError> {
    // A copy: what it yields must not keep the read buffer alive.
    let mut packet = BytesMut::from(packet);
    if let Some(facts) = facts {
        return connect(packet, facts).map(|connect| Packet::Connect(Box::new(connect)));
    }
    match version {
        Some(Version::V311) => {
            v3::Codec::new(0).decode(&mut packet).ok().flatten().and_then(|(packet, _)| from_v3(packet))
        }
        Some(Version::V5) => {
            v5::Codec::new(0, 0).decode(&mut packet).ok().flatten().and_then(|(packet, _)| from_v5(packet))
        }
        None => None,
    }
    .ok_or(DISAGREE)
}

/// Reads a CONNECT, around two legal things that the codec refuses: they are patched before and put right after.
fn connect(mut packet: BytesMut, facts: &frame::Connect) -> Result<Connect, FrameError> {
    if facts.nameless_resume
        && let Some(flags) = packet.get_mut(facts.flags_at)
    {
        // Clean start, which makes the codec accept an empty client id.
        *flags |= 0b10;
    }
    if let Some(at) = facts.will_expiry_zero_at
        && let Some(last) = packet.get_mut(at.saturating_add(3))
    {
        *last = 1;
    }
    let decoded = match facts.version {
        Version::V311 => match v3::Codec::new(0).decode(&mut packet) {
            Ok(Some((v3::Packet::Connect(connect), _))) => Some(connect_v3(*connect)),
            _ => None,
        },
        Version::V5 => match v5::Codec::new(0, 0).decode(&mut packet) {
            Ok(Some((v5::Packet::Connect(connect), _))) => Some(connect_v5(*connect)),
            _ => None,
        },
    };
    let mut connect = decoded.ok_or(DISAGREE)?;
    if facts.nameless_resume {
        connect.clean_start = false;
    }
    if facts.will_expiry_zero_at.is_some()
        && let Some(will) = &mut connect.will
    {
        will.properties.expiry_s = Some(0);
    }
    Ok(connect)
}

fn connect_v3(connect: v3::Connect) -> Connect {
    Connect {
        version: Version::V311,
        clean_start: connect.clean_session,
        keep_alive_s: connect.keep_alive,
        client_id: own(&connect.client_id),
        username: connect.username,
        password: connect.password.map(Password),
        will: connect.last_will.map(|will| Will {
            topic: will.topic,
            payload: will.message,
            qos: qos(will.qos),
            retain: will.retain,
            delay_s: 0,
            properties: Properties::default(),
        }),
        session_expiry_s: if connect.clean_session { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        auth_method: None,
        user: Vec::new(),
    }
}

fn connect_v5(connect: v5::Connect) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: connect.clean_start,
        keep_alive_s: connect.keep_alive,
        client_id: own(&connect.client_id),
        username: connect.username,
        password: connect.password.map(Password),
        will: connect.last_will.map(will_v5),
        session_expiry_s: connect.session_expiry_interval_secs,
        receive_maximum: connect.receive_max.map_or(u16::MAX, std::num::NonZero::get),
        maximum_packet_size: connect.max_packet_size.map(std::num::NonZero::get),
        topic_alias_maximum: connect.topic_alias_max,
        request_response_information: connect.request_response_info,
        request_problem_information: connect.request_problem_info,
        auth_method: connect.auth_method,
        user: connect.user_properties,
    }
}

fn will_v5(will: v5::LastWill) -> Will {
    Will {
        topic: will.topic,
        payload: will.message,
        qos: qos(will.qos),
        retain: will.retain,
        delay_s: will.will_delay_interval_sec.unwrap_or(0),
        properties: Properties {
            expiry_s: will.message_expiry_interval.map(std::num::NonZero::get),
            content_type: will.content_type,
            response_topic: will.response_topic,
            correlation: will.correlation_data,
            user: will.user_properties,
            utf8: will.is_utf8_payload == Some(true),
        },
    }
}

fn from_v3(packet: v3::Packet) -> Option<Packet> {
    Some(match packet {
        v3::Packet::Subscribe { packet_id, topic_filters } => Packet::Subscribe(Subscribe {
            packet_id: packet_id.get(),
            identifier: None,
            filters: topic_filters
                .iter()
                .map(|(filter, wanted)| Filter {
                    filter: own(filter),
                    qos: qos(*wanted),
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Always,
                })
                .collect(),
        }),
        v3::Packet::Unsubscribe { packet_id, topic_filters } => Packet::Unsubscribe(Unsubscribe {
            packet_id: packet_id.get(),
            filters: topic_filters.iter().map(own).collect(),
        }),
        v3::Packet::Disconnect => Packet::Disconnect(Disconnect { reason: Reason::Success, session_expiry_s: None }),
        _ => return None,
    })
}

fn from_v5(packet: v5::Packet) -> Option<Packet> {
    Some(match packet {
        v5::Packet::Subscribe(subscribe) => Packet::Subscribe(Subscribe {
            packet_id: subscribe.packet_id.get(),
            identifier: subscribe.id.map(std::num::NonZero::get),
            filters: subscribe.topic_filters.iter().map(|(filter, options)| filter_v5(filter, *options)).collect(),
        }),
        v5::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe {
            packet_id: unsubscribe.packet_id.get(),
            filters: unsubscribe.topic_filters.iter().map(own).collect(),
        }),
        v5::Packet::Disconnect(disconnect) => Packet::Disconnect(Disconnect {
            reason: Reason::from_code(disconnect.reason_code.into())?,
            session_expiry_s: disconnect.session_expiry_interval_secs,
        }),
        v5::Packet::Auth(auth) => Packet::Auth(Auth {
            reason: Reason::from_code(auth.reason_code.into())?,
            method: auth.auth_method?,
            data: auth.auth_data,
        }),
        _ => return None,
    })
}

fn filter_v5(filter: &ByteString, options: v5::SubscriptionOptions) -> Filter {
    Filter {
        filter: own(filter),
        qos: qos(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            v5::RetainHandling::AtSubscribe => RetainHandling::Always,
            v5::RetainHandling::AtSubscribeNew => RetainHandling::IfNew,
            v5::RetainHandling::NoAtSubscribe => RetainHandling::Never,
        },
    }
}

const fn qos(qos: CodecQoS) -> QoS {
    match qos {
        CodecQoS::AtMostOnce => QoS::AtMostOnce,
        CodecQoS::AtLeastOnce => QoS::AtLeastOnce,
        CodecQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// A text with its own memory: client ids and filters live as long as a session and must not keep their packet alive.
fn own(text: &ByteString) -> ByteString {
    ByteString::from(text.as_ref() as &str)
}
