//! Bytes of a client to packets, by value.

use bytes::{Bytes, BytesMut};
use causeway_core::message::{Properties, QoS};

use super::*;

#[test]
fn a_connect_of_mqtt_3_1_1_has_the_values_that_its_version_means() {
    let connect = connect(b"\0\x04MQTT\x04\xf4\0\x3c\0\x01c\0\x01t\0\x01w\0\x01u\0\x01p");
    assert_eq!((connect.version, connect.clean_start, connect.keep_alive_s), (Version::V311, false, 60));
    assert_eq!((connect.client_id.as_ref(), connect.username.as_deref()), ("c", Some("u")));
    assert_eq!(connect.password, Some(Password(Bytes::from_static(b"p"))));
    assert_eq!((connect.session_expiry_s, connect.receive_maximum), (u32::MAX, u16::MAX));
    assert_eq!((connect.maximum_packet_size, connect.topic_alias_maximum), (None, 0));
    let will = connect.will.expect("a will");
    assert_eq!((will.topic.as_ref(), &will.payload[..], will.retain, will.delay_s), ("t", &b"w"[..], true, 0));
    assert_eq!(will.qos, QoS::ExactlyOnce);
}

#[test]
fn a_clean_session_of_mqtt_3_1_1_expires_at_once() {
    assert_eq!(connect(b"\0\x04MQTT\x04\x02\0\0\0\x01c").session_expiry_s, 0);
}

#[test]
fn a_connect_of_mqtt_5_is_read_with_its_properties() {
    let connect = connect(b"\0\x04MQTT\x05\x02\0\x05\x1f\x11\0\0\0\x07\x21\0\x08\x27\0\0\x01\0\x22\0\x09\x19\x01\x17\0\x15\0\x01m\x26\0\x01n\0\x01v\0\x01c");
    assert_eq!((connect.version, connect.clean_start, connect.keep_alive_s), (Version::V5, true, 5));
    assert_eq!((connect.session_expiry_s, connect.receive_maximum), (7, 8));
    assert_eq!((connect.maximum_packet_size, connect.topic_alias_maximum), (Some(256), 9));
    assert!(connect.request_response_information && !connect.request_problem_information);
    assert_eq!(connect.auth_method.as_deref(), Some("m"));
    assert_eq!(connect.user, [("n".into(), "v".into())]);
}

#[test]
fn an_empty_client_id_without_clean_start_is_legal_in_mqtt_5() {
    let connect = connect(b"\0\x04MQTT\x05\0\0\0\0\0\0");
    assert_eq!((connect.client_id.as_ref(), connect.clean_start), ("", false));
}

#[test]
fn a_will_that_expires_at_once_is_legal() {
    let connect = connect(b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\x07\x02\0\0\0\0\x01\0\0\x01t\0\x01w");
    let will = connect.will.expect("a will");
    assert_eq!((will.properties.expiry_s, will.payload.as_ref()), (Some(0), &b"w"[..]));
}

#[test]
fn a_password_is_never_shown() {
    let connect = connect(b"\0\x04MQTT\x05\x42\0\0\0\0\x01c\0\x06secret");
    assert_eq!(connect.password.as_ref().map(|password| &password.0[..]), Some(&b"secret"[..]));
    assert!(!format!("{connect:?}").contains("secret"));
}

#[test]
fn a_connect_larger_than_its_limit_is_refused_before_its_body_arrives() {
    let mut decoder = Decoder::new(Limits { packet_bytes: 100, ..LIMITS });
    let error = decoder.next(&mut BytesMut::from(&b"\x10\xff\x7f"[..])).expect_err("too large");
    assert_eq!((error.reason(), error.farewell.len()), (Reason::PacketTooLarge, 0));
}

#[test]
fn a_publish_is_read_whole_and_keeps_nothing_of_a_large_read_buffer() {
    let mut decoder = connected(Version::V5);
    let publish = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        packet_id: 258,
        topic: "a/b".into(),
        payload: Bytes::from_static(b"payload"),
        properties: Properties {
            expiry_s: Some(0),
            content_type: Some("t".into()),
            response_topic: Some("r".into()),
            correlation: Some(Bytes::from_static(b"\xff")),
            user: vec![("n".into(), "v".into())],
            utf8: true,
        },
        refusal: None,
    };
    let body =
        b"\0\x03a/b\x01\x02\x1a\x02\0\0\0\0\x03\0\x01t\x08\0\x01r\x09\0\x01\xff\x01\x01\x26\0\x01n\0\x01vpayload";
    assert_eq!(read(&mut decoder, &packet(0x3d, body)), Packet::Publish(publish));
}

#[test]
fn small_payloads_are_copied_and_large_ones_are_sliced_and_both_are_whole() {
    for bytes in [0, 1, 16 * 1024 - 1, 16 * 1024, 100_000] {
        let payload: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        let mut body = b"\x32\0\0\0\0\x03a/b\0\x07".to_vec();
        body.extend_from_slice(&payload);
        // A padded remaining length, which 3.1.1 may have.
        let remaining = body.len() - 4;
        for (i, byte) in body[1..4].iter_mut().enumerate() {
            *byte = (remaining >> (7 * i) & 0x7f) as u8 | if i < 2 { 0x80 } else { 0 };
        }
        let mut buf = BytesMut::from(body.as_slice());
        buf.extend_from_slice(&[0xc0, 0]);
        let mut decoder = connected(Version::V311);
        let Ok(Some(Packet::Publish(publish))) = decoder.next(&mut buf) else { panic!("a PUBLISH of {bytes} bytes") };
        assert_eq!((publish.payload.as_ref(), publish.packet_id), (payload.as_slice(), 7));
        assert_eq!(decoder.next(&mut buf), Ok(Some(Packet::PingReq)));
    }
}

#[test]
fn an_alias_stands_for_the_topic_that_set_it_last() {
    let mut decoder = connected(Version::V5);
    let mut topic = |body: &[u8]| match read(&mut decoder, &packet(0x30, body)) {
        Packet::Publish(publish) => publish.topic.to_string(),
        other => panic!("not a PUBLISH: {other:?}"),
    };
    assert_eq!(topic(b"\0\x01a\x03\x23\0\x04"), "a");
    assert_eq!(topic(b"\0\0\x03\x23\0\x04"), "a");
    assert_eq!(topic(b"\0\x01b\x03\x23\0\x01"), "b");
    assert_eq!(topic(b"\0\x01c\x03\x23\0\x04"), "c");
    assert_eq!(topic(b"\0\0\x03\x23\0\x04"), "c");
    assert_eq!(topic(b"\0\0\x03\x23\0\x01"), "b");
}

#[test]
fn aliases_that_were_not_promised_or_not_set_are_refused() {
    for (body, reason) in [
        (&b"\0\x01a\x03\x23\0\x05"[..], Reason::TopicAliasInvalid),
        (b"\0\x01a\x03\x23\xff\xff", Reason::TopicAliasInvalid),
        (b"\0\0\x03\x23\0\x05", Reason::TopicAliasInvalid),
        (b"\0\0\x03\x23\0\x04", Reason::ProtocolError),
    ] {
        let error =
            connected(Version::V5).next(&mut BytesMut::from(packet(0x30, body).as_slice())).expect_err("an alias");
        assert_eq!(error.reason(), reason);
        assert_eq!(error.farewell.get(2), Some(&reason.code()));
    }
}

#[test]
fn a_subscribe_is_read_in_both_versions() {
    let filter = |filter: &str, qos| Filter {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    };
    assert_eq!(
        read(&mut connected(Version::V311), &packet(0x82, b"\0\x01\0\x01#\x02\0\x03a/+\x01")),
        Packet::Subscribe(Subscribe {
            packet_id: 1,
            identifier: None,
            filters: vec![filter("#", QoS::ExactlyOnce), filter("a/+", QoS::AtLeastOnce)],
        })
    );
    assert_eq!(
        read(&mut connected(Version::V5), &packet(0x82, b"\x01\0\x03\x0b\x80\x01\0\x01+\x1c\0\x01-\x21")),
        Packet::Subscribe(Subscribe {
            packet_id: 256,
            identifier: Some(128),
            filters: vec![
                Filter {
                    no_local: true,
                    retain_as_published: true,
                    retain_handling: RetainHandling::IfNew,
                    ..filter("+", QoS::AtMostOnce)
                },
                Filter { retain_handling: RetainHandling::Never, ..filter("-", QoS::AtLeastOnce) },
            ],
        })
    );
}

#[test]
fn the_short_packets_are_read() {
    let ack = |reason| Ack { packet_id: 258, reason };
    for version in [Version::V311, Version::V5] {
        let mut decoder = connected(version);
        assert_eq!(read(&mut decoder, b"\x40\x02\x01\x02"), Packet::PubAck(ack(Reason::Success)));
        assert_eq!(read(&mut decoder, b"\x50\x02\x01\x02"), Packet::PubRec(ack(Reason::Success)));
        assert_eq!(read(&mut decoder, b"\x62\x02\x01\x02"), Packet::PubRel(ack(Reason::Success)));
        assert_eq!(read(&mut decoder, b"\x70\x02\x01\x02"), Packet::PubComp(ack(Reason::Success)));
        assert_eq!(read(&mut decoder, b"\xc0\0"), Packet::PingReq);
        let disconnect = Disconnect { reason: Reason::Success, session_expiry_s: None };
        assert_eq!(read(&mut decoder, b"\xe0\0"), Packet::Disconnect(disconnect));
    }
    let mut decoder = connected(Version::V5);
    assert_eq!(read(&mut decoder, b"\x50\x03\x01\x02\x97"), Packet::PubRec(ack(Reason::QuotaExceeded)));
    assert_eq!(
        read(&mut decoder, b"\xe0\x07\x04\x05\x11\0\0\0\x05"),
        Packet::Disconnect(Disconnect { reason: Reason::DisconnectWithWill, session_expiry_s: Some(5) })
    );
    assert_eq!(
        read(&mut decoder, b"\xe0\x01\x04"),
        Packet::Disconnect(Disconnect { reason: Reason::DisconnectWithWill, session_expiry_s: None })
    );
    assert_eq!(
        read(&mut decoder, &packet(0xf0, b"\x18\x08\x15\0\x01m\x16\0\x01d")),
        Packet::Auth(Auth {
            reason: Reason::ContinueAuthentication,
            method: "m".into(),
            data: Some(Bytes::from_static(b"d"))
        })
    );
    assert_eq!(
        read(&mut decoder, &packet(0xa2, b"\0\x01\0\0\x01#\0\x01a")),
        Packet::Unsubscribe(Unsubscribe { packet_id: 1, filters: vec!["#".into(), "a".into()] })
    );
}

#[test]
fn a_refused_connect_is_told_why_in_its_own_version_as_far_as_that_has_a_word() {
    let farewell = |body: &[u8]| {
        let error = Decoder::new(LIMITS).next(&mut BytesMut::from(packet(0x10, body).as_slice())).expect_err("refused");
        error.farewell.to_vec()
    };
    assert_eq!(farewell(b"\0\x06MQIsdp\x03\x02\0\0\0\x01c"), b"\x20\x02\0\x01");
    assert_eq!(farewell(b"\0\x04MQTT\x03\x02\0\0\0\x01c"), b"\x20\x02\0\x01");
    assert_eq!(farewell(b"\0\x04MQTT\x04\0\0\0\0\0"), b"\x20\x02\0\x02");
    assert_eq!(farewell(b"\0\x04MQTT\x04\x03\0\0\0\x01c"), b"", "3.1.1 has no code for a malformed packet");
    assert_eq!(farewell(b"\0\x04HTTP\x04\x03\0\0\0\x01c"), b"", "no MQTT at all");
    let v5 = farewell(b"\0\x04MQTT\x05\x03\0\0\0\0\x01c");
    assert_eq!((v5[0], v5[2], v5[3]), (0x20, 0, Reason::MalformedPacket.code()));
    let v6 = farewell(b"\0\x04MQTT\x06\x02\0\0\0\0\x01c");
    assert_eq!((v6[0], v6[2], v6[3]), (0x20, 0, Reason::UnsupportedProtocolVersion.code()));
}

#[test]
fn a_broken_packet_is_answered_with_a_disconnect_in_mqtt_5_and_with_silence_in_3_1_1() {
    let error = connected(Version::V311).next(&mut BytesMut::from(&b"\xc1\0"[..])).expect_err("flags");
    assert_eq!(error.farewell.len(), 0);
    let error = connected(Version::V5).next(&mut BytesMut::from(&b"\xc1\0"[..])).expect_err("flags");
    assert_eq!((error.farewell[0], error.farewell[2]), (0xe0, Reason::MalformedPacket.code()));
    assert!(error.farewell.ends_with(b"fixed header: has flags set"));
}

#[test]
fn a_farewell_respects_the_maximum_packet_size_of_the_client() {
    let farewell = |maximum: u8| {
        let mut decoder =
            connected_with(&[b"\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0", &[maximum][..], b"\0\x01c"].concat());
        decoder.next(&mut BytesMut::from(&b"\xc1\0"[..])).expect_err("flags").farewell.to_vec()
    };
    assert_eq!(farewell(10), b"\xe0\x02\x81\0", "the reason string is left out");
    assert_eq!(farewell(3), b"", "nothing fits");
}
