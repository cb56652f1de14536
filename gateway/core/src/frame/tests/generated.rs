//! The check against bytes that nobody chose: it ends, it never panics, and it never reads past the packet.

use proptest::prelude::*;

use super::*;

fn seeds() -> Vec<(Option<Version>, Vec<u8>)> {
    let v311 = Some(Version::V311);
    let v5 = Some(Version::V5);
    vec![
        (None, packet(0x10, b"\0\x04MQTT\x04\xf6\0\x3c\0\x01c\0\x01t\0\x01w\0\x01u\0\x01p")),
        (
            None,
            packet(
                0x10,
                b"\0\x04MQTT\x05\xc6\0\0\x08\x21\0\x01\x11\0\0\0\x01\0\x01c\x05\x02\0\0\0\0\0\x01t\0\0\0\x01u\0\x01p",
            ),
        ),
        (v311, packet(0x32, b"\0\x03a/b\0\x01payload")),
        (v5, packet(0x34, b"\0\x01a\0\x01\x14\x01\x01\x02\0\0\0\x07\x08\0\x01r\x23\0\x05\x26\0\x01n\0\0text")),
        (v5, packet(0x40, b"\0\x01\x97\x04\x1f\0\x01r")),
        (v5, packet(0x62, b"\0\x01\x92\0")),
        (v311, packet(0x82, b"\0\x01\0\x01#\x02\0\x03a/+\x01")),
        (v5, packet(0x82, b"\0\x01\x02\x0b\x01\0\x0a$share/g/#\x02\0\x01+\x2e")),
        (v5, packet(0xa2, b"\0\x01\x05\x26\0\0\0\0\0\x01#")),
        (v5, packet(0xe0, b"\0\x05\x11\0\0\0\0")),
        (v5, packet(0xf0, b"\x18\x08\x15\0\x01m\x16\0\x01d")),
    ]
}

/// Checks `bytes` in every state and that what passes is a prefix that passes on its own with the same outcome.
fn probe(bytes: &[u8]) {
    for version in [None, Some(Version::V311), Some(Version::V5)] {
        if let Ok(Some((length, passed))) = check_one(version, bytes) {
            let alone = bytes.get(..length).expect("a packet lies within its buffer");
            assert_eq!(check_one(version, alone), Ok(Some((length, passed))));
            if let Packet::Publish(publish) = passed {
                assert!(properties(publish.properties).count() <= LIMITS.user_properties + 6);
                assert!(alone.ends_with(publish.payload));
            }
        }
    }
    let _ = announced_version(bytes);
    let _ = properties(bytes).count();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        probe(&bytes);
    }

    #[test]
    fn mutated_packets_are_judged_without_a_panic(
        seed in prop::sample::select(seeds()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..6),
    ) {
        let (_, mut bytes) = seed;
        for (place, value, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value % 8),
                2 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        probe(&bytes);
    }

    #[test]
    fn a_whole_packet_passes_or_not_whatever_follows_it(
        seed in prop::sample::select(seeds()),
        tail in prop::collection::vec(any::<u8>(), 0..16),
    ) {
        let (version, bytes) = seed;
        let alone = check_one(version, &bytes);
        prop_assert!(matches!(alone, Ok(Some(_))), "{alone:?}");
        let followed = [bytes.as_slice(), &tail].concat();
        prop_assert_eq!(alone, check_one(version, &followed));
    }
}
