//! What reading and writing one packet costs, beside `rmqtt-codec` alone, which checks less and copies nothing.
//!
//! `cargo bench -p causeway --bench wire` prints a table of the best rounds. It is a figure to read, never a
//! test: a shared machine moves it by a fifth.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::expect_used, reason = "a bench stops at the first surprise")]

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use causeway::mqtt::wire::{Ack, Decoder, Encoder, Limits, Reason, Reply, Version, publish};
use causeway_core::message::{Message, Properties, QoS};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder as _;

const LIMITS: Limits =
    Limits { packet_bytes: 1 << 20, filters: 100, user_properties: 32, topic_bytes: 512, topic_levels: 32 };
const TOPIC: &str = "dt/cvra/vehicle-0001/cardata";
/// Packets in one buffer, as a socket read brings them.
const TRAIN: usize = 64;
/// Trains of one round: short enough that some rounds run undisturbed on a busy machine.
const TRAINS: usize = 50;
const ROUNDS: usize = 400;

fn main() {
    println!("{:<44} {:>10} {:>12}", "ns per packet", "this", "rmqtt-codec");
    for (name, version, qos, payload, properties) in [
        ("decode PUBLISH 3.1.1 QoS 0, 64 B", Version::V311, QoS::AtMostOnce, 64, false),
        ("decode PUBLISH 3.1.1 QoS 1, 256 B", Version::V311, QoS::AtLeastOnce, 256, false),
        ("decode PUBLISH 5 QoS 1, 64 B", Version::V5, QoS::AtLeastOnce, 64, false),
        ("decode PUBLISH 5 QoS 1, 256 B", Version::V5, QoS::AtLeastOnce, 256, false),
        ("decode PUBLISH 5 QoS 1, 256 B, 4 properties", Version::V5, QoS::AtLeastOnce, 256, true),
        ("decode PUBLISH 5 QoS 1, 4 KiB", Version::V5, QoS::AtLeastOnce, 4_096, false),
        ("decode PUBLISH 5 QoS 1, 64 KiB", Version::V5, QoS::AtLeastOnce, 65_536, false),
    ] {
        let mut one = BytesMut::new();
        publish(&message(payload, properties), version, qos, false, &[], None)
            .expect("it fits")
            .write(&mut one, 7, false);
        decoding(name, version, &one);
    }
    decoding("decode PUBACK 3.1.1", Version::V311, b"\x40\x02\0\x07");
    decoding("decode PUBACK 5", Version::V5, b"\x40\x02\0\x07");
    decoding("decode PINGREQ 5", Version::V5, b"\xc0\0");
    decoding("decode SUBSCRIBE 5, 1 filter", Version::V5, b"\x82\x0a\0\x07\0\0\x04a/+/\x01");
    encoding();
}

fn message(payload: usize, properties: bool) -> Message {
    let properties = if properties {
        Properties {
            content_type: Some("application/json".into()),
            correlation: Some(Bytes::from_static(b"0123456789abcdef")),
            user: vec![("trace".into(), "00-4bf92f35".into()), ("unit".into(), "km".into())],
            ..Properties::default()
        }
    } else {
        Properties::default()
    };
    Message { topic: TOPIC.into(), payload: Bytes::from(vec![b'x'; payload]), properties, ..Message::default() }
}

fn decoder(version: Version) -> Decoder {
    let connect: &[u8] = match version {
        Version::V311 => b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c",
        Version::V5 => b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c",
    };
    let mut decoder = Decoder::new(LIMITS);
    decoder.next(&mut BytesMut::from(connect)).expect("a CONNECT");
    decoder.admit(LIMITS, 0);
    decoder
}

fn decoding(name: &str, version: Version, one: &[u8]) {
    let train = one.repeat(TRAIN);
    let trains = if one.len() > 10_000 { 1 } else { TRAINS };
    let mut decoder = decoder(version);
    let ours = best(trains * TRAIN, || {
        let mut buf = BytesMut::with_capacity(train.len());
        for _ in 0..trains {
            buf.extend_from_slice(&train);
            while let Some(packet) = decoder.next(&mut buf).expect("legal") {
                black_box(&packet);
            }
        }
    });
    let theirs = best(trains * TRAIN, || {
        let mut buf = BytesMut::with_capacity(train.len());
        let (mut codec_v3, mut codec_v5) = (v3::Codec::new(0), v5::Codec::new(0, 0));
        for _ in 0..trains {
            buf.extend_from_slice(&train);
            match version {
                Version::V311 => {
                    while let Some(packet) = codec_v3.decode(&mut buf).expect("legal") {
                        black_box(&packet);
                    }
                }
                Version::V5 => {
                    while let Some(packet) = codec_v5.decode(&mut buf).expect("legal") {
                        black_box(&packet);
                    }
                }
            }
        }
    });
    println!("{name:<44} {ours:>10.1} {theirs:>12.1}");
}

fn encoding() {
    for (name, version, payload, properties) in [
        ("encode PUBLISH 3.1.1 QoS 1, 256 B", Version::V311, 256, false),
        ("encode PUBLISH 5 QoS 1, 256 B", Version::V5, 256, false),
        ("encode PUBLISH 5 QoS 1, 256 B, 4 properties", Version::V5, 256, true),
    ] {
        let message = message(payload, properties);
        let cost = best(TRAINS * TRAIN, || {
            for _ in 0..TRAINS * TRAIN {
                let encoded = publish(black_box(&message), version, QoS::AtLeastOnce, false, &[], None);
                let _ = black_box(encoded);
            }
        });
        println!("{name:<44} {cost:>10.1} {:>12}", "-");
    }
    let encoded = publish(&message(256, false), Version::V5, QoS::AtLeastOnce, false, &[], None).expect("it fits");
    out("copy an encoded PUBLISH, 256 B, to an output", |out| encoded.write(out, 7, false));
    let encoder = Encoder::new(Version::V5);
    let reply = Reply::PubAck(Ack { packet_id: 7, reason: Reason::Success }, None);
    out("encode PUBACK", |out| encoder.encode(black_box(&reply), out).expect("it fits"));
}

fn out(name: &str, mut write: impl FnMut(&mut BytesMut)) {
    let mut out = BytesMut::with_capacity(64 * 1024);
    let cost = best(TRAINS * TRAIN, || {
        for _ in 0..TRAINS {
            out.clear();
            for _ in 0..TRAIN {
                write(&mut out);
            }
            black_box(&out);
        }
    });
    println!("{name:<44} {cost:>10.1} {:>12}", "-");
}

/// Nanoseconds per packet, the best of many rounds after a warm-up.
fn best(packets: usize, mut round: impl FnMut()) -> f64 {
    round();
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64()
    });
    rounds.fold(f64::INFINITY, f64::min) * 1e9 / packets as f64
}
