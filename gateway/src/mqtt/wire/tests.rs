//! The wire against the codec of another project: what one writes, the other must read the same.

mod decoding;
mod encoding;
mod generated;

use bytes::BytesMut;

use super::*;

const LIMITS: Limits =
    Limits { packet_bytes: 1 << 20, filters: 100, user_properties: 32, topic_bytes: 1_000, topic_levels: 20 };

/// A packet of a first byte and a short body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).expect("a short body")], body].concat()
}

/// A decoder that has read a plain CONNECT and was admitted.
fn connected(version: Version) -> Decoder {
    connected_with(match version {
        Version::V311 => b"\0\x04MQTT\x04\x02\0\0\0\x01c",
        Version::V5 => b"\0\x04MQTT\x05\x02\0\0\0\0\x01c",
    })
}

fn connected_with(connect: &[u8]) -> Decoder {
    let mut decoder = Decoder::new(LIMITS);
    let mut bytes = BytesMut::from(packet(0x10, connect).as_slice());
    assert!(matches!(decoder.next(&mut bytes), Ok(Some(Packet::Connect(_)))));
    decoder.admit(LIMITS, 4);
    decoder
}

/// Reads the only packet in `bytes`.
fn read(decoder: &mut Decoder, bytes: &[u8]) -> Packet {
    let mut buf = BytesMut::from(bytes);
    let packet = decoder.next(&mut buf).expect("a legal packet").expect("a whole packet");
    assert!(buf.is_empty(), "bytes are left: {buf:?}");
    packet
}

fn connect(body: &[u8]) -> Connect {
    match read(&mut Decoder::new(LIMITS), &packet(0x10, body)) {
        Packet::Connect(connect) => *connect,
        other => panic!("not a CONNECT: {other:?}"),
    }
}

fn encoded(encoder: &Encoder, reply: &Reply) -> BytesMut {
    let mut out = BytesMut::new();
    encoder.encode(reply, &mut out).expect("it fits");
    out
}
