//! Replies and messages to bytes, read back by the codec as a client would.

use bytes::{Bytes, BytesMut};
use causeway_core::message::{Message, Properties, QoS};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder as _;

use super::*;

const V311: Encoder = Encoder::new(Version::V311);
const V5: Encoder = Encoder::new(Version::V5);

fn by_v3(mut bytes: BytesMut) -> v3::Packet {
    let packet = v3::Codec::new(0).decode(&mut bytes).expect("legal").expect("whole").0;
    assert!(bytes.is_empty());
    packet
}

fn by_v5(mut bytes: BytesMut) -> v5::Packet {
    let packet = v5::Codec::new(0, 0).decode(&mut bytes).expect("legal").expect("whole").0;
    assert!(bytes.is_empty());
    packet
}

#[test]
fn a_connack_says_all_that_the_gateway_grants() {
    let connack = ConnAck {
        session_present: true,
        assigned_client_id: Some("auto-1".into()),
        server_keep_alive_s: Some(30),
        receive_maximum: 100,
        maximum_qos: QoS::AtLeastOnce,
        retain_available: false,
        maximum_packet_size: Some(65_536),
        topic_alias_maximum: 16,
        wildcard_subscriptions_available: false,
        subscription_identifiers_available: false,
        shared_subscriptions_available: false,
        session_expiry_s: Some(3_600),
        response_information: Some("reply/c".into()),
        text: Some("welcome".into()),
        ..ConnAck::default()
    };
    let v5::Packet::ConnectAck(read) = by_v5(encoded(&V5, &Reply::ConnAck(Box::new(connack.clone())))) else {
        panic!("a CONNACK")
    };
    assert!(read.session_present);
    assert_eq!(u8::from(read.reason_code), 0);
    assert_eq!(read.assigned_client_id, connack.assigned_client_id);
    assert_eq!((read.server_keepalive_sec, read.receive_max.get()), (Some(30), 100));
    assert_eq!((u8::from(read.max_qos), read.retain_available), (1, false));
    assert_eq!((read.max_packet_size, read.topic_alias_max), (Some(65_536), 16));
    assert!(!read.wildcard_subscription_available && !read.subscription_identifiers_available);
    assert!(!read.shared_subscription_available);
    assert_eq!((read.session_expiry_interval_secs, read.response_info), (Some(3_600), connack.response_information));
    assert_eq!(read.reason_string, connack.text);
    let v3::Packet::ConnectAck(read) = by_v3(encoded(&V311, &Reply::ConnAck(Box::default()))) else {
        panic!("a CONNACK")
    };
    assert!(!read.session_present);
}

#[test]
fn a_plain_connack_is_as_short_as_it_can_be() {
    assert_eq!(encoded(&V5, &Reply::ConnAck(Box::default())), &b"\x20\x03\0\0\0"[..]);
    assert_eq!(encoded(&V311, &Reply::ConnAck(Box::default())), &b"\x20\x02\0\0"[..]);
}

#[test]
fn a_refused_connack_never_claims_a_session() {
    for (reason, code) in [
        (Reason::ServerUnavailable, 3),
        (Reason::QuotaExceeded, 3),
        (Reason::BadUserNameOrPassword, 4),
        (Reason::NotAuthorized, 5),
    ] {
        let connack = ConnAck { session_present: true, text: None, ..ConnAck::refused(reason, "") };
        let reply = Reply::ConnAck(Box::new(connack));
        assert_eq!(encoded(&V311, &reply), &[0x20, 2, 0, code][..]);
        assert_eq!(encoded(&V5, &reply), &[0x20, 3, 0, reason.code(), 0][..]);
    }
    let reply = Reply::ConnAck(Box::new(ConnAck::refused(Reason::MalformedPacket, "")));
    assert_eq!(encoded(&V311, &reply), &b""[..]);
}

#[test]
fn acknowledgements_are_four_bytes_unless_there_is_more_to_say() {
    let ok = Ack { packet_id: 258, reason: Reason::Success };
    let full = Ack { packet_id: 258, reason: Reason::QuotaExceeded };
    for encoder in [V311, V5] {
        assert_eq!(encoded(&encoder, &Reply::PubAck(ok, None)), &b"\x40\x02\x01\x02"[..]);
        assert_eq!(encoded(&encoder, &Reply::PubRec(ok, None)), &b"\x50\x02\x01\x02"[..]);
        assert_eq!(encoded(&encoder, &Reply::PubRel(ok)), &b"\x62\x02\x01\x02"[..]);
        assert_eq!(encoded(&encoder, &Reply::PubComp(ok)), &b"\x70\x02\x01\x02"[..]);
        assert_eq!(encoded(&encoder, &Reply::PingResp), &b"\xd0\0"[..]);
    }
    assert_eq!(encoded(&V311, &Reply::PubAck(full, Some("no room".into()))), &b"\x40\x02\x01\x02"[..]);
    assert_eq!(encoded(&V5, &Reply::PubAck(full, None)), &b"\x40\x03\x01\x02\x97"[..]);
    let gone = Ack { packet_id: 1, reason: Reason::PacketIdentifierNotFound };
    assert_eq!(encoded(&V5, &Reply::PubRel(gone)), &b"\x62\x03\0\x01\x92"[..]);
    let v5::Packet::PublishReceived(read) = by_v5(encoded(&V5, &Reply::PubRec(full, Some("no room".into())))) else {
        panic!("a PUBREC")
    };
    assert_eq!((read.packet_id.get(), u8::from(read.reason_code)), (258, 0x97));
    assert_eq!(read.reason_string.as_deref(), Some("no room"));
}

#[test]
fn a_reason_string_is_sent_only_to_a_client_that_wants_and_takes_it() {
    let full = Reply::PubAck(Ack { packet_id: 1, reason: Reason::QuotaExceeded }, Some("no room".into()));
    let short = &b"\x40\x03\0\x01\x97"[..];
    assert_eq!(encoded(&Encoder { problem_information: false, ..V5 }, &full), short);
    assert_eq!(encoded(&Encoder { maximum_packet_size: Some(15), ..V5 }, &full), short);
    assert_eq!(encoded(&Encoder { maximum_packet_size: Some(16), ..V5 }, &full).len(), 16);
    // CONNACK and DISCONNECT may have one whatever the client asked for.
    let bye = Reply::Disconnect { reason: Reason::SessionTakenOver, text: Some("twice".into()) };
    let bytes = encoded(&Encoder { problem_information: false, ..V5 }, &bye);
    let v5::Packet::Disconnect(read) = by_v5(bytes) else { panic!("a DISCONNECT") };
    assert_eq!((u8::from(read.reason_code), read.reason_string.as_deref()), (0x8e, Some("twice")));
    let long = Reply::Disconnect { reason: Reason::ServerBusy, text: Some("x".repeat(70_000).into()) };
    assert_eq!(encoded(&V5, &long), &b"\xe0\x02\x89\0"[..]);
    assert_eq!(encoded(&V311, &bye), &b""[..]);
}

#[test]
fn a_suback_has_a_code_for_each_filter_in_each_version() {
    let reply = Reply::SubAck {
        packet_id: 7,
        reasons: vec![Reason::Success, Reason::GrantedQos1, Reason::GrantedQos2, Reason::NotAuthorized],
        text: None,
    };
    assert_eq!(encoded(&V311, &reply), &b"\x90\x06\0\x07\0\x01\x02\x80"[..]);
    assert_eq!(encoded(&V5, &reply), &b"\x90\x07\0\x07\0\0\x01\x02\x87"[..]);
    let reasons = vec![Reason::Success, Reason::NoSubscriptionExisted];
    let reply = Reply::UnsubAck { packet_id: 7, reasons: reasons.clone(), text: None };
    assert_eq!(encoded(&V311, &reply), &b"\xb0\x02\0\x07"[..]);
    assert_eq!(encoded(&V5, &reply), &b"\xb0\x05\0\x07\0\0\x11"[..]);
    let reply = Reply::UnsubAck { packet_id: 7, reasons, text: Some("none".into()) };
    assert_eq!(encoded(&V311, &reply), &b"\xb0\x02\0\x07"[..]);
    assert_eq!(encoded(&V5, &reply), &b"\xb0\x0c\0\x07\x07\x1f\0\x04none\0\x11"[..]);
}

#[test]
fn what_the_client_does_not_take_is_not_written() {
    let encoder = Encoder { maximum_packet_size: Some(8), ..V5 };
    let reply = Reply::SubAck { packet_id: 7, reasons: vec![Reason::Success; 4], text: None };
    let mut out = BytesMut::from(&b"before"[..]);
    assert_eq!(encoder.encode(&reply, &mut out), Err(TooLarge { bytes: 9 }));
    assert_eq!(out, &b"before"[..]);
    assert!(encoder.fits(8) && !encoder.fits(9));
}

fn message() -> Message {
    Message {
        topic: "a/b".into(),
        payload: Bytes::from_static(b"payload"),
        qos: QoS::AtLeastOnce,
        properties: Properties {
            expiry_s: Some(60),
            content_type: Some("t".into()),
            response_topic: Some("r".into()),
            correlation: Some(Bytes::from_static(b"\xff")),
            user: vec![("n".into(), "v".into()), ("n".into(), "w".into())],
            utf8: true,
        },
        ..Message::default()
    }
}

#[test]
fn a_message_loses_its_properties_towards_mqtt_3_1_1() {
    let encoded = publish(&message(), Version::V311, QoS::AtLeastOnce, true, &[3], Some(5)).expect("it fits");
    let mut out = BytesMut::from(&b"before"[..]);
    encoded.write(&mut out, 0x0102, true);
    assert_eq!(out, &b"before\x3b\x0e\0\x03a/b\x01\x02payload"[..]);
}

#[test]
fn a_message_keeps_its_properties_towards_mqtt_5() {
    let encoded = publish(&message(), Version::V5, QoS::ExactlyOnce, false, &[3, 200], Some(5)).expect("it fits");
    let mut out = BytesMut::new();
    encoded.write(&mut out, 0xffff, false);
    let v5::Packet::Publish(read) = by_v5(out) else { panic!("a PUBLISH") };
    assert_eq!((read.dup, u8::from(read.qos), read.retain), (false, 2, false));
    assert_eq!((read.topic.as_ref() as &str, read.packet_id.map(u16::from)), ("a/b", Some(0xffff)));
    assert_eq!(&read.payload[..], b"payload");
    let properties = read.properties.expect("properties");
    assert_eq!(properties.message_expiry_interval.map(u32::from), Some(5));
    assert_eq!(properties.content_type.as_deref(), Some("t"));
    assert_eq!(properties.response_topic.as_deref(), Some("r"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(properties.user_properties, message().properties.user);
    assert_eq!(properties.subscription_ids.into_iter().map(u32::from).collect::<Vec<_>>(), [3, 200]);
    assert!(properties.is_utf8_payload);
}

#[test]
fn at_qos_0_there_is_neither_packet_id_nor_dup() {
    let message = Message { properties: Properties::default(), ..message() };
    for (version, bytes) in
        [(Version::V311, &b"\x31\x0c\0\x03a/bpayload"[..]), (Version::V5, b"\x31\x0d\0\x03a/b\0payload")]
    {
        let encoded = publish(&message, version, QoS::AtMostOnce, true, &[], None).expect("it fits");
        let mut out = BytesMut::new();
        encoded.write(&mut out, 7, true);
        assert_eq!((encoded.id_at, &out[..]), (0, bytes));
    }
}

#[test]
fn a_message_that_no_publish_can_carry_is_refused() {
    let message = Message { topic: "x".repeat(65_536).into(), ..Message::default() };
    assert!(publish(&message, Version::V5, QoS::AtMostOnce, false, &[], None).is_err());
    let properties = Properties { content_type: Some("x".repeat(65_536).into()), ..Properties::default() };
    let message = Message { topic: "t".into(), properties, ..Message::default() };
    assert!(publish(&message, Version::V5, QoS::AtMostOnce, false, &[], None).is_err());
    assert!(publish(&message, Version::V311, QoS::AtMostOnce, false, &[], None).is_ok());
}
