//! What must pass, odd as it may look.

use super::Version::{V5, V311};
use super::*;
use crate::message::QoS;

fn accepted(version: Option<Version>, first: u8, body: &[u8]) {
    let bytes = packet(first, body);
    match check_one(version, &bytes) {
        Ok(Some((length, _))) => assert_eq!(length, bytes.len()),
        other => panic!("{version:?} {bytes:02x?} was not accepted: {other:?}"),
    }
}

#[test]
fn legal_packets_pass() {
    let cases: &[(Option<Version>, u8, &[u8])] = &[
        (None, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x01c"),
        (None, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\0"),
        (None, 0x10, b"\0\x04MQTT\x04\xf6\0\x3c\0\x01c\0\x01t\0\x01w\0\x01u\0\x01p"),
        (None, 0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\x01c"),
        (None, 0x10, b"\0\x04MQTT\x05\0\0\0\0\0\0"),
        (None, 0x10, b"\0\x04MQTT\x05\x42\0\0\0\0\x01c\0\x01p"),
        (None, 0x10, b"\0\x04MQTT\x05\x02\0\0\x03\x22\0\0\0\x01c"),
        (None, 0x10, b"\0\x04MQTT\x05\x02\0\0\x05\x11\xff\xff\xff\xff\0\x01c"),
        (None, 0x10, b"\0\x04MQTT\x05\x02\0\0\x04\x15\0\x01m\0\x01c"),
        (None, 0x10, "\0\x04MQTT\x04\x02\0\0\0\x0adev/+#$\u{e9}x".as_bytes()),
        (Some(V311), 0x30, b"\0\x01a"),
        (Some(V311), 0x3d, b"\0\x01a\0\x01payload"),
        (Some(V311), 0x30, "\0\x04\u{e9}/x".as_bytes()),
        (Some(V311), 0x30, b"\0\x05$SYS/"),
        (Some(V311), 0x30, b"\0\x01 "),
        (Some(V5), 0x30, b"\0\x01a\0"),
        (Some(V5), 0x30, b"\0\0\x03\x23\0\x01x"),
        (Some(V5), 0x32, b"\0\x01a\0\x01\x05\x02\0\0\0\0x"),
        (Some(V5), 0x30, b"\0\x01a\x0a\x26\0\0\0\0\x26\0\0\0\0x"),
        (Some(V311), 0x40, b"\0\x01"),
        (Some(V5), 0x40, b"\0\x01"),
        (Some(V5), 0x40, b"\0\x01\x10"),
        (Some(V5), 0x50, b"\0\x01\x97\0"),
        (Some(V5), 0x62, b"\0\x01\x92\x03\x1f\0\0"),
        (Some(V5), 0x70, b"\xff\xff\0\0"),
        (Some(V311), 0x82, b"\0\x01\0\x01#\x02\0\x03a/+\x01"),
        (Some(V311), 0x82, b"\0\x01\0\x08$share/g\0"),
        (Some(V5), 0x82, b"\0\x01\x02\x0b\x01\0\x01+\x2e"),
        (Some(V5), 0x82, b"\0\x01\0\0\x0a$share/g/#\x02"),
        (Some(V5), 0x82, b"\0\x01\0\0\x06$share\x04"),
        (Some(V311), 0xa2, b"\0\x01\0\x01#"),
        (Some(V5), 0xa2, b"\0\x01\0\0\x01#"),
        (Some(V311), 0xc0, b""),
        (Some(V5), 0xc0, b""),
        (Some(V311), 0xe0, b""),
        (Some(V5), 0xe0, b""),
        (Some(V5), 0xe0, b"\x04"),
        (Some(V5), 0xe0, b"\0\x05\x11\0\0\0\0"),
        (Some(V5), 0xf0, b"\x18\x08\x15\0\x01m\x16\0\x01d"),
    ];
    for (version, first, body) in cases {
        accepted(*version, *first, body);
    }
}

#[test]
fn a_padded_length_passes_in_mqtt_3_1_1() {
    assert_eq!(check_one(Some(V311), &[0xc0, 0x80, 0x80, 0x00]), Ok(Some((4, Packet::PingReq))));
}

#[test]
fn a_packet_is_not_judged_whole_until_it_is() {
    let bytes = packet(0x32, b"\0\x01a\0\x07payload");
    for end in 0..bytes.len() {
        assert_eq!(check_one(Some(V311), bytes.get(..end).expect("in range")), Ok(None), "{end}");
    }
    let more = [bytes.as_slice(), &[0xc0, 0]].concat();
    let Ok(Some((length, Packet::Publish(publish)))) = check_one(Some(V311), &more) else { panic!("a PUBLISH") };
    assert_eq!((length, publish.payload), (bytes.len(), &b"payload"[..]));
}

#[test]
fn a_publish_is_read() {
    let bytes = packet(0x3b, b"\0\x01a\x01\x02\x25\x01\x01\x02\0\0\0\x07\x03\0\x01t\x08\0\x01r\x09\0\x02\xff\0\x23\0\x05\x26\0\x01n\0\x01v\x26\0\x01n\0\x01wtext");
    let Ok(Some((_, Packet::Publish(publish)))) = check_one(Some(V5), &bytes) else { panic!("a PUBLISH") };
    assert_eq!((publish.dup, publish.qos, publish.retain), (true, QoS::AtLeastOnce, true));
    assert_eq!((publish.topic, publish.packet_id, publish.alias), ("a", 0x0102, Some(5)));
    assert_eq!((publish.utf8, publish.payload), (true, &b"text"[..]));
    assert_eq!(
        properties(publish.properties).collect::<Vec<_>>(),
        [
            Property::PayloadFormat(true),
            Property::MessageExpiry(7),
            Property::ContentType("t"),
            Property::ResponseTopic("r"),
            Property::CorrelationData(b"\xff\0"),
            Property::TopicAlias(5),
            Property::User("n", "v"),
            Property::User("n", "w"),
        ]
    );
    assert_eq!(publish.refusal(), None);
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_is_for_the_acknowledgement_to_refuse() {
    let bytes = packet(0x32, b"\0\x01a\0\x01\x02\x01\x01\xff");
    let Ok(Some((_, Packet::Publish(publish)))) = check_one(Some(V5), &bytes) else { panic!("a PUBLISH") };
    assert_eq!(publish.refusal(), Some(Reason::PayloadFormatInvalid));
}

#[test]
fn a_connect_tells_where_the_codec_needs_help() {
    let body = b"\0\x04MQTT\x05\x04\0\0\x03\x21\0\x01\0\0\x0c\x02\0\0\0\0\x26\0\x01n\0\x01v\0\x01t\0\0";
    let bytes = packet(0x10, body);
    let Ok(Some((_, Packet::Connect(connect)))) = check_one(None, &bytes) else { panic!("a CONNECT") };
    assert_eq!((connect.version, connect.nameless_resume), (V5, true));
    assert_eq!(bytes.get(connect.flags_at), Some(&0x04));
    let at = connect.will_expiry_zero_at.expect("an expiry of 0");
    assert_eq!(bytes.get(at - 1..at + 4), Some(&b"\x02\0\0\0\0"[..]));
}

#[test]
fn the_version_of_a_refused_connect_is_the_one_that_it_asked_for() {
    for (body, version) in [
        (&b"\0\x04MQTT\x04\x03"[..], Some(V311)),
        (b"\0\x04MQTT\x05\x03", Some(V5)),
        (b"\0\x04MQTT\x09", Some(V5)),
        (b"\0\x04MQTT\x03", Some(V311)),
        (b"\0\x06MQIsdp\x03", Some(V311)),
        (b"\0\x04HTTP\x04", None),
        (b"\0\x04MQ", None),
        (b"", None),
    ] {
        assert_eq!(announced_version(&packet(0x10, body)), version, "{body:?}");
    }
    assert_eq!(announced_version(b"GET / HTTP/1.1"), None);
    assert_eq!(announced_version(b""), None);
}

#[test]
fn every_reason_code_is_known_by_its_code() {
    for &reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason.code()), Some(reason), "{}", reason.words());
        assert_eq!(reason.is_error(), reason.code() >= 0x80);
    }
    assert_eq!(Reason::from_code(0x03), None);
    assert_eq!(Reason::from_code(0xff), None);
}
