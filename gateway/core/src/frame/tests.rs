//! The check by value: what is malformed is refused with its reason, what is legal passes, and nothing panics.

mod accepted;
mod generated;
mod refused;

use super::*;

/// Limits that no case reaches by accident.
const LIMITS: Limits =
    Limits { packet_bytes: 1 << 20, filters: 8, user_properties: 8, topic_bytes: 1_000, topic_levels: 20 };

/// A packet of a first byte and a body, with its remaining length in the shortest form.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let more = length >= 0x80;
        out.push((length & 0x7f) as u8 | u8::from(more) << 7);
        length >>= 7;
        if !more {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn check_one(version: Option<Version>, bytes: &[u8]) -> Result<Option<(usize, Packet<'_>)>, FrameError> {
    check(bytes, version, &LIMITS)
}
