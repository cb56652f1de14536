//! Round trips over generated packets, and trains of mutated packets.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use causeway_core::message::{Message, Properties, QoS};
use proptest::prelude::*;
use rmqtt_codec::v5;
use tokio_util::codec::Encoder as _;

use super::*;

fn text() -> impl Strategy<Value = ByteString> {
    "[^\u{0}]{0,12}".prop_map(ByteString::from)
}

fn topic() -> impl Strategy<Value = ByteString> {
    "[a-z/\u{e9}$ ]{1,16}".prop_map(ByteString::from)
}

fn users() -> impl Strategy<Value = Vec<(ByteString, ByteString)>> {
    prop::collection::vec((text(), text()), 0..4)
}

fn data() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn properties() -> impl Strategy<Value = Properties> {
    (any::<Option<u32>>(), prop::option::of(text()), prop::option::of(topic()), prop::option::of(data()), users())
        .prop_map(|(expiry_s, content_type, response_topic, correlation, user)| Properties {
            expiry_s,
            content_type,
            response_topic,
            correlation,
            user,
            utf8: false,
        })
}

fn message() -> impl Strategy<Value = Message> {
    (topic(), data(), qos(), any::<bool>(), properties()).prop_map(|(topic, payload, qos, retain, properties)| {
        Message { topic, payload, qos, retain, properties, ..Message::default() }
    })
}

fn connect() -> impl Strategy<Value = v5::Connect> {
    let will = (topic(), data(), prop::option::of(1_u32..), any::<Option<u32>>(), users(), any::<bool>()).prop_map(
        |(topic, message, expiry, will_delay_interval_sec, user_properties, retain)| v5::LastWill {
            qos: v5::QoS::AtLeastOnce,
            retain,
            topic,
            message,
            will_delay_interval_sec,
            correlation_data: None,
            message_expiry_interval: expiry.and_then(NonZeroU32::new),
            content_type: None,
            user_properties,
            is_utf8_payload: None,
            response_topic: None,
        },
    );
    let credentials = (text(), prop::option::of(text()), prop::option::of(data()));
    let limits = (any::<u32>(), any::<u16>(), any::<u16>(), any::<Option<u32>>());
    (credentials, limits, prop::option::of(will), users(), any::<bool>(), any::<u16>()).prop_map(
        |((client_id, username, password), limits, last_will, user_properties, clean_start, keep_alive)| {
            let (session_expiry_interval_secs, receive_max, topic_alias_max, max_packet_size) = limits;
            v5::Connect {
                clean_start: clean_start || client_id.is_empty(),
                keep_alive,
                client_id,
                username,
                password,
                last_will,
                user_properties,
                session_expiry_interval_secs,
                receive_max: NonZeroU16::new(receive_max),
                topic_alias_max,
                max_packet_size: max_packet_size.and_then(NonZeroU32::new),
                ..v5::Connect::default()
            }
        },
    )
}

/// A train of packets as a client might send it, for the mutations.
fn train(version: Version) -> Vec<u8> {
    match version {
        Version::V311 => [
            packet(0x10, b"\0\x04MQTT\x04\xf6\0\x3c\0\x01c\0\x01t\0\x01w\0\x01u\0\x01p"),
            packet(0x82, b"\0\x01\0\x01#\x02\0\x03a/+\x01"),
            packet(0x30, b"\0\x03a/bpayload"),
            packet(0x34, b"\0\x03a/b\0\x02payload"),
            packet(0x62, b"\0\x02"),
            packet(0x40, b"\0\x01"),
            packet(0xa2, b"\0\x03\0\x01#"),
            packet(0xc0, b""),
            packet(0xe0, b""),
        ]
        .concat(),
        Version::V5 => [
            packet(0x10, b"\0\x04MQTT\x05\x06\0\0\x08\x21\0\x01\x11\0\0\0\x01\0\0\x05\x02\0\0\0\0\0\x01t\0\0"),
            packet(0x82, b"\0\x01\x02\x0b\x01\0\x0a$share/g/#\x02\0\x01+\x2e"),
            packet(0x32, b"\0\x01a\0\x01\x14\x01\x01\x02\0\0\0\x07\x08\0\x01r\x23\0\x01\x26\0\x01n\0\0text"),
            packet(0x30, b"\0\0\x03\x23\0\x01payload"),
            packet(0x40, b"\0\x01\x97\x04\x1f\0\x01r"),
            packet(0x62, b"\0\x01\x92\0"),
            packet(0xf0, b"\x18\x08\x15\0\x01m\x16\0\x01d"),
            packet(0xc0, b""),
            packet(0xe0, b"\x04\x05\x11\0\0\0\0"),
        ]
        .concat(),
    }
}

/// Decodes a train as far as it goes, in two reads; each packet takes bytes off the buffer, so it ends.
fn drive(bytes: &[u8], cut: usize) -> (usize, Option<WireError>) {
    let (mut decoder, mut buf, mut packets) = (Decoder::new(LIMITS), BytesMut::new(), 0);
    for part in [&bytes[..cut], &bytes[cut..]] {
        buf.extend_from_slice(part);
        loop {
            let before = buf.len();
            match decoder.next(&mut buf) {
                Ok(Some(packet)) => {
                    assert!(buf.len() < before);
                    if matches!(packet, Packet::Connect(_)) {
                        decoder.admit(LIMITS, 4);
                    }
                }
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
            }
            packets += 1;
        }
    }
    (packets, None)
}

#[test]
fn an_unbroken_train_is_read_to_its_end() {
    for version in [Version::V311, Version::V5] {
        assert_eq!(drive(&train(version), 11), (9, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_message_survives_encoding_and_decoding(message in message(), v5: bool, id in 1_u16.., dup: bool) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        let expiry_s = message.properties.expiry_s;
        let encoded = publish(&message, version, message.qos, message.retain, &[], expiry_s).expect("it fits");
        let mut out = BytesMut::new();
        encoded.write(&mut out, id, dup);
        let Packet::Publish(read) = read(&mut connected(version), &out) else { panic!("a PUBLISH") };
        let acknowledged = message.qos != QoS::AtMostOnce;
        prop_assert_eq!(read.packet_id, if acknowledged { id } else { 0 });
        prop_assert_eq!(read.dup, dup && acknowledged);
        prop_assert_eq!((read.qos, read.retain), (message.qos, message.retain));
        prop_assert_eq!((read.topic, read.payload), (message.topic, message.payload));
        prop_assert_eq!(read.properties, if v5 { message.properties } else { Properties::default() });
    }

    #[test]
    fn a_connect_of_another_implementation_is_read_as_it_was_meant(sent in connect()) {
        let mut bytes = BytesMut::new();
        v5::Codec::new(0, 0).encode(v5::Packet::Connect(Box::new(sent.clone())), &mut bytes).expect("it fits");
        let Packet::Connect(read) = read(&mut Decoder::new(LIMITS), &bytes) else { panic!("a CONNECT") };
        prop_assert_eq!((&read.client_id, read.clean_start), (&sent.client_id, sent.clean_start));
        prop_assert_eq!(read.keep_alive_s, sent.keep_alive);
        prop_assert_eq!((&read.username, read.password.map(|p| p.0)), (&sent.username, sent.password));
        prop_assert_eq!(read.session_expiry_s, sent.session_expiry_interval_secs);
        prop_assert_eq!(read.receive_maximum, sent.receive_max.map_or(u16::MAX, u16::from));
        prop_assert_eq!(read.topic_alias_maximum, sent.topic_alias_max);
        prop_assert_eq!(read.maximum_packet_size, sent.max_packet_size.map(u32::from));
        prop_assert_eq!(read.user, sent.user_properties);
        prop_assert_eq!(read.will.is_some(), sent.last_will.is_some());
        if let (Some(read), Some(sent)) = (read.will, sent.last_will) {
            prop_assert_eq!((read.topic, read.payload, read.retain), (sent.topic, sent.message, sent.retain));
            prop_assert_eq!(read.delay_s, sent.will_delay_interval_sec.unwrap_or(0));
            prop_assert_eq!(read.properties.expiry_s, sent.message_expiry_interval.map(u32::from));
            prop_assert_eq!(read.properties.user, sent.user_properties);
        }
    }

    #[test]
    fn mutated_trains_end_in_a_packet_or_in_a_refusal(
        v5: bool,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = train(if v5 { Version::V5 } else { Version::V311 });
        for (place, value, edit) in edits {
            let at = place.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value % 8),
                2 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        let cut = cut.index(bytes.len());
        let (packets, error) = drive(&bytes, cut);
        if let Some(error) = error {
            prop_assert!(error.reason().is_error());
            // The check is stricter than the codec, so the codec never has the last word.
            prop_assert!(!error.to_string().contains("not understood"), "{error} in {bytes:02x?}");
        }
        prop_assert!(packets <= bytes.len() / 2);
    }
}
