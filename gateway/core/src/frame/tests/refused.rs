//! What must not pass, and the reason code that says so.

use super::Reason::{
    ClientIdentifierNotValid, MalformedPacket, PacketTooLarge, PayloadFormatInvalid, ProtocolError, QuotaExceeded,
    TopicAliasInvalid, TopicFilterInvalid, TopicNameInvalid, UnsupportedProtocolVersion,
};
use super::Version::{V5, V311};
use super::*;

type Case = (&'static str, Option<Version>, u8, &'static [u8], Reason);

fn refused(cases: &[Case]) {
    for (name, version, first, body, reason) in cases {
        let bytes = packet(*first, body);
        match check_one(*version, &bytes) {
            Err(error) => assert_eq!(error.reason, *reason, "{name}: {error}"),
            passed => panic!("{name} was not refused: {passed:?}"),
        }
    }
}

#[test]
fn a_fixed_header_is_judged_before_its_body_arrives() {
    let cases: &[(&str, Option<Version>, &[u8], Reason)] = &[
        ("type 0", Some(V5), &[0x00], MalformedPacket),
        ("type 0 first", None, &[0x00], MalformedPacket),
        ("AUTH in 3.1.1", Some(V311), &[0xf0], MalformedPacket),
        ("CONNACK from a client", Some(V5), &[0x20], ProtocolError),
        ("SUBACK from a client", Some(V5), &[0x90], ProtocolError),
        ("UNSUBACK from a client", Some(V5), &[0xb0], ProtocolError),
        ("PINGRESP from a client", Some(V5), &[0xd0], ProtocolError),
        ("CONNACK from a 3.1.1 client", Some(V311), &[0x20], ProtocolError),
        ("SUBACK from a 3.1.1 client", Some(V311), &[0x90], ProtocolError),
        ("UNSUBACK from a 3.1.1 client", Some(V311), &[0xb0], ProtocolError),
        ("PINGRESP from a 3.1.1 client", Some(V311), &[0xd0], ProtocolError),
        ("CONNACK first", None, &[0x20], ProtocolError),
        ("PUBLISH first", None, &[0x30], ProtocolError),
        ("PINGREQ first", None, &[0xc0], ProtocolError),
        ("SUBSCRIBE first", None, &[0x82], ProtocolError),
        ("DISCONNECT first", None, &[0xe0], ProtocolError),
        ("AUTH first", None, &[0xf0], ProtocolError),
        ("a second CONNECT", Some(V5), &[0x10], ProtocolError),
        ("a second 3.1.1 CONNECT", Some(V311), &[0x10], ProtocolError),
        ("CONNECT flags", None, &[0x11], MalformedPacket),
        ("PUBLISH QoS 3", Some(V5), &[0x36], MalformedPacket),
        ("PUBLISH QoS 3 with DUP", Some(V311), &[0x3e], MalformedPacket),
        ("PUBLISH DUP at QoS 0", Some(V5), &[0x38], MalformedPacket),
        ("PUBLISH DUP at QoS 0, retained", Some(V311), &[0x39], MalformedPacket),
        ("PUBACK flags", Some(V5), &[0x41], MalformedPacket),
        ("PUBREC flags", Some(V5), &[0x52], MalformedPacket),
        ("PUBREL without flags", Some(V5), &[0x60], MalformedPacket),
        ("PUBREL with more flags", Some(V311), &[0x66], MalformedPacket),
        ("PUBCOMP flags", Some(V5), &[0x78], MalformedPacket),
        ("SUBSCRIBE without flags", Some(V5), &[0x80], MalformedPacket),
        ("SUBSCRIBE with more flags", Some(V311), &[0x83], MalformedPacket),
        ("UNSUBSCRIBE without flags", Some(V5), &[0xa0], MalformedPacket),
        ("UNSUBSCRIBE with more flags", Some(V311), &[0xaa], MalformedPacket),
        ("PINGREQ flags", Some(V5), &[0xc1], MalformedPacket),
        ("DISCONNECT flags", Some(V311), &[0xe2], MalformedPacket),
        ("AUTH flags", Some(V5), &[0xf8], MalformedPacket),
        ("five length bytes", Some(V5), &[0x30, 0x80, 0x80, 0x80, 0x80], MalformedPacket),
        ("five length bytes in 3.1.1", Some(V311), &[0x30, 0xff, 0xff, 0xff, 0xff], MalformedPacket),
        ("five length bytes first", None, &[0x10, 0xff, 0xff, 0xff, 0xff], MalformedPacket),
        ("padded length", Some(V5), &[0xc0, 0x80, 0x00], MalformedPacket),
        ("length over the limit", Some(V5), &[0x30, 0xff, 0xff, 0xff, 0x7f], PacketTooLarge),
        ("length over the limit in 3.1.1", Some(V311), &[0x30, 0x80, 0x80, 0x40], PacketTooLarge),
        ("length over the limit first", None, &[0x10, 0xff, 0xff, 0xff, 0x7f], PacketTooLarge),
    ];
    for (name, version, bytes, reason) in cases {
        let error = check_one(*version, bytes).expect_err(name);
        assert_eq!(error.reason, *reason, "{name}: {error}");
    }
}

#[test]
fn the_maximum_packet_size_counts_the_header() {
    let limits = Limits { packet_bytes: 8, ..LIMITS };
    assert!(check(&packet(0x30, b"\0\x01abcd"), Some(V311), &limits).is_ok_and(|packet| packet.is_some()));
    let error = check(&packet(0x30, b"\0\x01abcde"), Some(V311), &limits).expect_err("nine bytes");
    assert_eq!(error.reason, PacketTooLarge);
}

#[test]
fn malformed_connects_are_refused() {
    let cases: &[(&str, &[u8], Reason)] = &[
        ("empty", b"", MalformedPacket),
        ("name only", b"\0\x04MQTT", MalformedPacket),
        ("truncated name", b"\0\x04MQ", MalformedPacket),
        ("wrong name", b"\0\x04MQTX\x04\x02\0\0\0\x01c", MalformedPacket),
        ("lower case name", b"\0\x04mqtt\x04\x02\0\0\0\x01c", MalformedPacket),
        ("MQTT 3.1", b"\0\x06MQIsdp\x03\x02\0\0\0\x01c", UnsupportedProtocolVersion),
        ("MQIsdp at level 4", b"\0\x06MQIsdp\x04\x02\0\0\0\x01c", UnsupportedProtocolVersion),
        ("level 3", b"\0\x04MQTT\x03\x02\0\0\0\x01c", UnsupportedProtocolVersion),
        ("level 6", b"\0\x04MQTT\x06\x02\0\0\0\0\x01c", UnsupportedProtocolVersion),
        ("bridge level 0x84", b"\0\x04MQTT\x84\x02\0\0\0\x01c", UnsupportedProtocolVersion),
        ("3.1.1: reserved flag", b"\0\x04MQTT\x04\x03\0\0\0\x01c", MalformedPacket),
        ("3.1.1: will QoS 3", b"\0\x04MQTT\x04\x1e\0\0\0\x01c\0\x01t\0\0", MalformedPacket),
        ("3.1.1: will QoS without will", b"\0\x04MQTT\x04\x0a\0\0\0\x01c", MalformedPacket),
        ("3.1.1: will retain without will", b"\0\x04MQTT\x04\x22\0\0\0\x01c", MalformedPacket),
        ("3.1.1: password without user", b"\0\x04MQTT\x04\x42\0\0\0\x01c\0\x01p", MalformedPacket),
        ("3.1.1: no keep alive", b"\0\x04MQTT\x04\x02\0", MalformedPacket),
        ("3.1.1: no client id", b"\0\x04MQTT\x04\x02\0\0", MalformedPacket),
        ("3.1.1: truncated client id", b"\0\x04MQTT\x04\x02\0\0\0\x05c", MalformedPacket),
        ("3.1.1: client id not UTF-8", b"\0\x04MQTT\x04\x02\0\0\0\x01\xff", MalformedPacket),
        ("3.1.1: client id with a surrogate", b"\0\x04MQTT\x04\x02\0\0\0\x03\xed\xa0\x80", MalformedPacket),
        ("3.1.1: client id with NUL", b"\0\x04MQTT\x04\x02\0\0\0\x03a\0b", MalformedPacket),
        ("3.1.1: empty client id, clean session 0", b"\0\x04MQTT\x04\0\0\0\0\0", ClientIdentifierNotValid),
        ("3.1.1: trailing bytes", b"\0\x04MQTT\x04\x02\0\0\0\x01cx", MalformedPacket),
        ("3.1.1: user flag without user", b"\0\x04MQTT\x04\x82\0\0\0\x01c", MalformedPacket),
        ("3.1.1: truncated password", b"\0\x04MQTT\x04\xc2\0\0\0\x01c\0\x01u\0\x05p", MalformedPacket),
        ("3.1.1: user name with NUL", b"\0\x04MQTT\x04\x82\0\0\0\x01c\0\x01\0", MalformedPacket),
        ("3.1.1: will flag without will", b"\0\x04MQTT\x04\x06\0\0\0\x01c", MalformedPacket),
        ("3.1.1: will without payload", b"\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01t", MalformedPacket),
        ("3.1.1: empty will topic", b"\0\x04MQTT\x04\x06\0\0\0\x01c\0\0\0\0", TopicNameInvalid),
        ("3.1.1: wildcard in will topic", b"\0\x04MQTT\x04\x06\0\0\0\x01c\0\x03a/#\0\0", TopicNameInvalid),
        ("3.1.1: NUL in will topic", b"\0\x04MQTT\x04\x06\0\0\0\x01c\0\x03a\0b\0\0", TopicNameInvalid),
        ("3.1.1: properties sent as in 5", b"\0\x04MQTT\x04\x02\0\0\0\0\x01c", MalformedPacket),
        ("5: reserved flag", b"\0\x04MQTT\x05\x03\0\0\0\0\x01c", MalformedPacket),
        ("5: will QoS 3", b"\0\x04MQTT\x05\x1e\0\0\0\0\x01c\0\0\x01t\0\0", MalformedPacket),
        ("5: will QoS without will", b"\0\x04MQTT\x05\x12\0\0\0\0\x01c", MalformedPacket),
        ("5: will retain without will", b"\0\x04MQTT\x05\x22\0\0\0\0\x01c", MalformedPacket),
        ("5: no property length", b"\0\x04MQTT\x05\x02\0\0", MalformedPacket),
        ("5: property length over the end", b"\0\x04MQTT\x05\x02\0\0\x7f\0\x01c", MalformedPacket),
        ("5: padded property length", b"\0\x04MQTT\x05\x02\0\0\x80\0\0\x01c", MalformedPacket),
        ("5: five property length bytes", b"\0\x04MQTT\x05\x02\0\0\xff\xff\xff\xff\x01\0\x01c", MalformedPacket),
        ("5: unknown property", b"\0\x04MQTT\x05\x02\0\0\x02\x7f\0\0\x01c", MalformedPacket),
        ("5: property id over 63", b"\0\x04MQTT\x05\x02\0\0\x02\xa6\0\0\x01c", MalformedPacket),
        ("5: property of a PUBLISH", b"\0\x04MQTT\x05\x02\0\0\x03\x23\0\x01\0\x01c", MalformedPacket),
        ("5: property of a CONNACK", b"\0\x04MQTT\x05\x02\0\0\x02\x25\x01\0\x01c", MalformedPacket),
        ("5: truncated property", b"\0\x04MQTT\x05\x02\0\0\x03\x11\0\0\0\x01c", MalformedPacket),
        ("5: session expiry twice", b"\0\x04MQTT\x05\x02\0\0\x0a\x11\0\0\0\x01\x11\0\0\0\x01\0\x01c", ProtocolError),
        ("5: receive maximum 0", b"\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01c", ProtocolError),
        ("5: maximum packet size 0", b"\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\0\0\x01c", ProtocolError),
        ("5: request problem information 2", b"\0\x04MQTT\x05\x02\0\0\x02\x17\x02\0\x01c", ProtocolError),
        ("5: request response information 2", b"\0\x04MQTT\x05\x02\0\0\x02\x19\x02\0\x01c", ProtocolError),
        ("5: auth data without method", b"\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01d\0\x01c", ProtocolError),
        ("5: user property not UTF-8", b"\0\x04MQTT\x05\x02\0\0\x07\x26\0\x01\xff\0\x01v\0\x01c", MalformedPacket),
        ("5: user property without value", b"\0\x04MQTT\x05\x02\0\0\x04\x26\0\x01n\0\x01c", MalformedPacket),
        ("5: client id with NUL", b"\0\x04MQTT\x05\x02\0\0\0\0\x01\0", MalformedPacket),
        ("5: trailing bytes", b"\0\x04MQTT\x05\x02\0\0\0\0\x01cx", MalformedPacket),
        ("5: user name not UTF-8", b"\0\x04MQTT\x05\x82\0\0\0\0\x01c\0\x01\xc0", MalformedPacket),
        ("5: will without properties", b"\0\x04MQTT\x05\x06\0\0\0\0\x01c", MalformedPacket),
        ("5: empty will topic", b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\0\0\0\0\0", TopicNameInvalid),
        ("5: wildcard in will topic", b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\0\0\x01+\0\0", TopicNameInvalid),
        (
            "5: will delay twice",
            b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\x0a\x18\0\0\0\0\x18\0\0\0\0\0\x01t\0\0",
            ProtocolError,
        ),
        ("5: will with topic alias", b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\x03\x23\0\x01\0\x01t\0\0", MalformedPacket),
        ("5: will format 2", b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\x02\x01\x02\0\x01t\0\0", ProtocolError),
        (
            "5: will response topic with wildcard",
            b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\x04\x08\0\x01#\0\x01t\0\0",
            TopicNameInvalid,
        ),
        (
            "5: will payload not UTF-8 as claimed",
            b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\x02\x01\x01\0\x01t\0\x01\xff",
            PayloadFormatInvalid,
        ),
    ];
    for (name, body, reason) in cases {
        refused(&[(name, None, 0x10, body, *reason)]);
    }
}

#[test]
fn a_padded_length_is_malformed_in_a_connect_of_mqtt_5_only() {
    let padded = |body: &[u8]| [&[0x10, 0x80 | u8::try_from(body.len()).expect("short"), 0], body].concat();
    let error = check_one(None, &padded(b"\0\x04MQTT\x05\x02\0\0\0\0\x01c")).expect_err("MQTT 5");
    assert_eq!(error.reason, MalformedPacket);
    assert!(check_one(None, &padded(b"\0\x04MQTT\x04\x02\0\0\0\x01c")).is_ok_and(|packet| packet.is_some()));
}

#[test]
fn malformed_publishes_are_refused() {
    refused(&[
        ("3.1.1: empty", Some(V311), 0x30, b"", MalformedPacket),
        ("3.1.1: truncated topic", Some(V311), 0x30, b"\0\x09a", MalformedPacket),
        ("3.1.1: empty topic", Some(V311), 0x30, b"\0\0x", TopicNameInvalid),
        ("3.1.1: topic not UTF-8", Some(V311), 0x30, b"\0\x01\xffx", MalformedPacket),
        ("3.1.1: topic with NUL", Some(V311), 0x30, b"\0\x01\0x", TopicNameInvalid),
        ("3.1.1: topic with +", Some(V311), 0x30, b"\0\x03a/+x", TopicNameInvalid),
        ("3.1.1: topic with #", Some(V311), 0x30, b"\0\x01#x", TopicNameInvalid),
        ("3.1.1: no packet id", Some(V311), 0x32, b"\0\x01a", MalformedPacket),
        ("3.1.1: half a packet id", Some(V311), 0x34, b"\0\x01a\0", MalformedPacket),
        ("3.1.1: packet id 0", Some(V311), 0x32, b"\0\x01a\0\0x", ProtocolError),
        ("5: empty", Some(V5), 0x30, b"", MalformedPacket),
        ("5: no property length", Some(V5), 0x30, b"\0\x01a", MalformedPacket),
        ("5: empty topic without alias", Some(V5), 0x30, b"\0\0\0x", ProtocolError),
        ("5: topic with NUL", Some(V5), 0x30, b"\0\x01\0\0x", TopicNameInvalid),
        ("5: topic with +", Some(V5), 0x30, b"\0\x02a+\0x", TopicNameInvalid),
        ("5: topic with an overlong UTF-8 form", Some(V5), 0x30, b"\0\x02\xc0\xaf\0", MalformedPacket),
        ("5: packet id 0", Some(V5), 0x34, b"\0\x01a\0\0\0x", ProtocolError),
        ("5: alias 0", Some(V5), 0x30, b"\0\x01a\x03\x23\0\0x", TopicAliasInvalid),
        ("5: alias twice", Some(V5), 0x30, b"\0\x01a\x06\x23\0\x01\x23\0\x01x", ProtocolError),
        ("5: subscription identifier", Some(V5), 0x30, b"\0\x01a\x02\x0b\x01x", MalformedPacket),
        ("5: payload format 2", Some(V5), 0x30, b"\0\x01a\x02\x01\x02x", ProtocolError),
        ("5: message expiry twice", Some(V5), 0x30, b"\0\x01a\x0a\x02\0\0\0\x01\x02\0\0\0\x01x", ProtocolError),
        ("5: content type not UTF-8", Some(V5), 0x30, b"\0\x01a\x04\x03\0\x01\xffx", MalformedPacket),
        ("5: content type twice", Some(V5), 0x30, b"\0\x01a\x06\x03\0\0\x03\0\0x", ProtocolError),
        ("5: correlation data over the end", Some(V5), 0x30, b"\0\x01a\x04\x09\0\x05xx", MalformedPacket),
        ("5: response topic with a wildcard", Some(V5), 0x30, b"\0\x01a\x06\x08\0\x03a/#x", TopicNameInvalid),
        ("5: empty response topic", Some(V5), 0x30, b"\0\x01a\x03\x08\0\0x", TopicNameInvalid),
        ("5: response topic with NUL", Some(V5), 0x30, b"\0\x01a\x04\x08\0\x01\0x", TopicNameInvalid),
        ("5: property of a CONNECT", Some(V5), 0x30, b"\0\x01a\x05\x11\0\0\0\0x", MalformedPacket),
        ("5: property id 0", Some(V5), 0x30, b"\0\x01a\x01\0x", MalformedPacket),
        ("5: padded property length", Some(V5), 0x30, b"\0\x01a\x80\0x", MalformedPacket),
        ("5: property length over the end", Some(V5), 0x30, b"\0\x01a\x05x", MalformedPacket),
        ("5: user property with NUL", Some(V5), 0x30, b"\0\x01a\x06\x26\0\x01\0\0\0x", MalformedPacket),
    ]);
}

#[test]
fn malformed_acknowledgements_are_refused() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        refused(&[
            ("3.1.1: empty", Some(V311), first, b"", MalformedPacket),
            ("3.1.1: one byte", Some(V311), first, b"\x01", MalformedPacket),
            ("3.1.1: packet id 0", Some(V311), first, b"\0\0", ProtocolError),
            ("3.1.1: three bytes", Some(V311), first, b"\0\x01\0", MalformedPacket),
            ("5: empty", Some(V5), first, b"", MalformedPacket),
            ("5: packet id 0", Some(V5), first, b"\0\0", ProtocolError),
            ("5: unknown reason", Some(V5), first, b"\0\x01\x05", MalformedPacket),
            ("5: reason of another packet", Some(V5), first, b"\0\x01\x9c", ProtocolError),
            ("5: property length over the end", Some(V5), first, b"\0\x01\0\x01", MalformedPacket),
            ("5: property of another packet", Some(V5), first, b"\0\x01\0\x02\x01\x01", MalformedPacket),
            ("5: reason string twice", Some(V5), first, b"\0\x01\0\x06\x1f\0\0\x1f\0\0", ProtocolError),
            ("5: trailing bytes", Some(V5), first, b"\0\x01\0\0x", MalformedPacket),
        ]);
    }
    refused(&[
        ("PUBREL with a reason of PUBACK", Some(V5), 0x62, b"\0\x01\x97", ProtocolError),
        ("PUBACK with a reason of PUBREL", Some(V5), 0x40, b"\0\x01\x92", ProtocolError),
    ]);
}

#[test]
fn malformed_subscribes_are_refused() {
    refused(&[
        ("3.1.1: empty", Some(V311), 0x82, b"", MalformedPacket),
        ("3.1.1: packet id 0", Some(V311), 0x82, b"\0\0\0\x01a\0", ProtocolError),
        ("3.1.1: no filter", Some(V311), 0x82, b"\0\x01", ProtocolError),
        ("3.1.1: no QoS", Some(V311), 0x82, b"\0\x01\0\x01a", MalformedPacket),
        ("3.1.1: QoS 3", Some(V311), 0x82, b"\0\x01\0\x01a\x03", MalformedPacket),
        ("3.1.1: reserved bits", Some(V311), 0x82, b"\0\x01\0\x01a\x04", MalformedPacket),
        ("3.1.1: high reserved bits", Some(V311), 0x82, b"\0\x01\0\x01a\x81", MalformedPacket),
        ("3.1.1: empty filter", Some(V311), 0x82, b"\0\x01\0\0\0", TopicFilterInvalid),
        ("3.1.1: a/#/b", Some(V311), 0x82, b"\0\x01\0\x05a/#/b\0", TopicFilterInvalid),
        ("3.1.1: a+", Some(V311), 0x82, b"\0\x01\0\x02a+\0", TopicFilterInvalid),
        ("3.1.1: a#", Some(V311), 0x82, b"\0\x01\0\x02a#\0", TopicFilterInvalid),
        ("3.1.1: NUL", Some(V311), 0x82, b"\0\x01\0\x01\0\0", TopicFilterInvalid),
        ("3.1.1: not UTF-8", Some(V311), 0x82, b"\0\x01\0\x01\xff\0", MalformedPacket),
        ("3.1.1: truncated second filter", Some(V311), 0x82, b"\0\x01\0\x01a\0\0\x05b", MalformedPacket),
        ("5: no property length", Some(V5), 0x82, b"\0\x01", MalformedPacket),
        ("5: packet id 0", Some(V5), 0x82, b"\0\0\0\0\x01a\0", ProtocolError),
        ("5: no filter", Some(V5), 0x82, b"\0\x01\0", ProtocolError),
        ("5: QoS 3", Some(V5), 0x82, b"\0\x01\0\0\x01a\x03", MalformedPacket),
        ("5: reserved bit 6", Some(V5), 0x82, b"\0\x01\0\0\x01a\x40", MalformedPacket),
        ("5: reserved bit 7", Some(V5), 0x82, b"\0\x01\0\0\x01a\x80", MalformedPacket),
        ("5: retain handling 3", Some(V5), 0x82, b"\0\x01\0\0\x01a\x30", ProtocolError),
        ("5: #/a", Some(V5), 0x82, b"\0\x01\0\0\x03#/a\0", TopicFilterInvalid),
        ("5: +a/b", Some(V5), 0x82, b"\0\x01\0\0\x04+a/b\0", TopicFilterInvalid),
        ("5: ##", Some(V5), 0x82, b"\0\x01\0\0\x02##\0", TopicFilterInvalid),
        ("5: empty filter", Some(V5), 0x82, b"\0\x01\0\0\0\0", TopicFilterInvalid),
        ("5: identifier 0", Some(V5), 0x82, b"\0\x01\x02\x0b\0\0\x01a\0", ProtocolError),
        ("5: two identifiers", Some(V5), 0x82, b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0", ProtocolError),
        ("5: padded identifier", Some(V5), 0x82, b"\0\x01\x03\x0b\x81\0\0\x01a\0", MalformedPacket),
        ("5: reason string", Some(V5), 0x82, b"\0\x01\x03\x1f\0\0\0\x01a\0", MalformedPacket),
        ("5: $share without group", Some(V5), 0x82, b"\0\x01\0\0\x09$share//a\0", TopicFilterInvalid),
        ("5: $share without filter", Some(V5), 0x82, b"\0\x01\0\0\x08$share/g\0", TopicFilterInvalid),
        ("5: $share with empty filter", Some(V5), 0x82, b"\0\x01\0\0\x09$share/g/\0", TopicFilterInvalid),
        ("5: $share with + in the group", Some(V5), 0x82, b"\0\x01\0\0\x0a$share/+/a\0", TopicFilterInvalid),
        ("5: $share with NUL in the group", Some(V5), 0x82, b"\0\x01\0\0\x0a$share/\0/a\0", TopicFilterInvalid),
        ("5: $share with no local", Some(V5), 0x82, b"\0\x01\0\0\x0a$share/g/a\x04", ProtocolError),
    ]);
}

#[test]
fn malformed_unsubscribes_are_refused() {
    refused(&[
        ("3.1.1: no filter", Some(V311), 0xa2, b"\0\x01", ProtocolError),
        ("3.1.1: packet id 0", Some(V311), 0xa2, b"\0\0\0\x01a", ProtocolError),
        ("3.1.1: a/#/b", Some(V311), 0xa2, b"\0\x01\0\x05a/#/b", TopicFilterInvalid),
        ("3.1.1: truncated filter", Some(V311), 0xa2, b"\0\x01\0\x05a", MalformedPacket),
        ("5: no property length", Some(V5), 0xa2, b"\0\x01", MalformedPacket),
        ("5: no filter", Some(V5), 0xa2, b"\0\x01\0", ProtocolError),
        ("5: subscription identifier", Some(V5), 0xa2, b"\0\x01\x02\x0b\x01\0\x01a", MalformedPacket),
        ("5: empty filter", Some(V5), 0xa2, b"\0\x01\0\0\0", TopicFilterInvalid),
        ("5: $share without filter", Some(V5), 0xa2, b"\0\x01\0\0\x08$share/g", TopicFilterInvalid),
    ]);
}

#[test]
fn malformed_pings_and_disconnects_are_refused() {
    refused(&[
        ("3.1.1: PINGREQ with a body", Some(V311), 0xc0, b"x", MalformedPacket),
        ("5: PINGREQ with a body", Some(V5), 0xc0, b"\0", MalformedPacket),
        ("3.1.1: DISCONNECT with a body", Some(V311), 0xe0, b"\0", MalformedPacket),
        ("5: DISCONNECT with an unknown reason", Some(V5), 0xe0, b"\x05", MalformedPacket),
        ("5: DISCONNECT with a reason of servers", Some(V5), 0xe0, b"\x8e", ProtocolError),
        ("5: DISCONNECT with a reason of CONNACK", Some(V5), 0xe0, b"\x86", ProtocolError),
        ("5: DISCONNECT with session expiry twice", Some(V5), 0xe0, b"\0\x0a\x11\0\0\0\0\x11\0\0\0\0", ProtocolError),
        ("5: DISCONNECT with a server reference", Some(V5), 0xe0, b"\0\x03\x1c\0\0", MalformedPacket),
        ("5: DISCONNECT with trailing bytes", Some(V5), 0xe0, b"\0\0x", MalformedPacket),
        ("5: DISCONNECT with a property over the end", Some(V5), 0xe0, b"\0\x05\x11", MalformedPacket),
    ]);
}

#[test]
fn malformed_authentications_are_refused() {
    refused(&[
        ("empty", Some(V5), 0xf0, b"", ProtocolError),
        ("success, which servers say", Some(V5), 0xf0, b"\0\x04\x15\0\x01m", ProtocolError),
        ("unknown reason", Some(V5), 0xf0, b"\x1a\x04\x15\0\x01m", MalformedPacket),
        ("no properties", Some(V5), 0xf0, b"\x18", MalformedPacket),
        ("no method", Some(V5), 0xf0, b"\x18\0", ProtocolError),
        ("method twice", Some(V5), 0xf0, b"\x19\x08\x15\0\x01m\x15\0\x01m", ProtocolError),
        ("trailing bytes", Some(V5), 0xf0, b"\x18\x04\x15\0\x01mx", MalformedPacket),
    ]);
}

#[test]
fn what_is_legal_but_beyond_a_limit_is_refused() {
    let long = [&b"\x03\xe9"[..], &[b'x'; 1_001], b"\0"].concat();
    let deep = [&b"\0\x14"[..], &[b'/'; 20], b"\0"].concat();
    let users = [&b"\0\x01a\x2d"[..], &b"\x26\0\0\0\0".repeat(9)].concat();
    let filters = [&b"\0\x01\0"[..], &b"\0\x01a\0".repeat(9)].concat();
    for (name, first, body, reason) in [
        ("topic length", 0x30, &long, TopicNameInvalid),
        ("topic depth", 0x30, &deep, TopicNameInvalid),
        ("user properties", 0x30, &users, QuotaExceeded),
        ("filters", 0x82, &filters, QuotaExceeded),
    ] {
        let bytes = packet(first, body);
        let error = check_one(Some(V5), &bytes).expect_err(name);
        assert_eq!(error.reason, reason, "{name}: {error}");
    }
}

#[test]
fn a_refusal_says_what_was_wrong() {
    let bytes = packet(0x30, b"\0\x03a/#x");
    let error = check_one(Some(V311), &bytes).expect_err("a wildcard");
    assert_eq!(error.to_string(), "topic: a topic contains a wildcard");
    let bytes = packet(0x40, b"\0\0");
    let error = check_one(Some(V5), &bytes).expect_err("packet id 0");
    assert_eq!(error.to_string(), "packet id: is 0");
}
