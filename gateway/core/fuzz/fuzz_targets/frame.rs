//! The strict check of packets: no bytes make it panic or read past the packet, and whatever follows changes nothing.
//!
//! The first byte of the input chooses the state of the connection.

#![no_main]

use causeway_core::frame::{Limits, Packet, Version, announced_version, check, properties};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits =
    Limits { packet_bytes: 64 * 1024, filters: 16, user_properties: 16, topic_bytes: 512, topic_levels: 32 };

fuzz_target!(|input: &[u8]| {
    let Some((&state, bytes)) = input.split_first() else { return };
    let version = match state % 3 {
        0 => None,
        1 => Some(Version::V311),
        _ => Some(Version::V5),
    };
    let _ = announced_version(bytes);
    let _ = properties(bytes).count();
    if let Ok(Some((length, packet))) = check(bytes, version, &LIMITS) {
        let alone = &bytes[..length];
        assert!(length <= LIMITS.packet_bytes);
        assert_eq!(check(alone, version, &LIMITS), Ok(Some((length, packet))));
        assert_eq!(check(&alone[..length - 1], version, &LIMITS), Ok(None));
        if let Packet::Publish(publish) = packet {
            assert!(alone.ends_with(publish.payload));
            assert!(properties(publish.properties).count() <= LIMITS.user_properties + 6);
        }
    }
});
