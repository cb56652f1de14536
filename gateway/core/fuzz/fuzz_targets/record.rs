//! The framing of the journal: no bytes make the readers panic, and a record is served as it was written or not at all,
//! even when up to three bits of its segment are flipped (CRC32C finds any three flips in a record of this size).
//!
//! The input is six bytes that choose the flips, then what the bodies are made of.

#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use causeway_core::record::{ALIGN, Epoch, HEAD_LEN, Record, SegmentHeader, find_head, read_head};
use libfuzzer_sys::fuzz_target;

/// An epoch that the input cannot know, as the journal's random one: with a known epoch a body may contain the forgery
/// of a record, and libFuzzer writes one within a minute.
fn epoch(input: &[u8]) -> Epoch {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    Epoch(hasher.finish())
}

fuzz_target!(|input: &[u8]| {
    let epoch = epoch(input);
    let _ = SegmentHeader::decode(input);
    let _ = read_head(input, epoch);
    let _ = find_head(input, epoch, 0);
    let Some((flips, content)) = input.split_first_chunk::<6>() else { return };

    let bodies: Vec<&[u8]> = content.chunks(37).collect();
    let mut segment = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        let record = Record { position: at as u64 + 1, seconds: 7, kind: 1, nth: 0, body };
        record.encode(epoch, &mut segment);
    }
    if segment.is_empty() {
        return;
    }
    for flip in flips.chunks_exact(2) {
        let bit = usize::from(u16::from_le_bytes([flip[0], flip[1]])) % (segment.len() * 8);
        segment[bit / 8] ^= 1 << (bit % 8);
    }

    let (mut at, mut after, mut seen) = (0, 0, 0);
    while let Some((offset, head)) = segment.get(at..).and_then(|rest| find_head(rest, epoch, after)) {
        let start = at + offset + HEAD_LEN;
        let body = segment.get(start..start + head.len as usize).unwrap_or_default();
        if head.vouches_for(body, epoch) {
            assert_eq!(bodies.get(head.position as usize - 1), Some(&body));
            seen += 1;
        }
        at += offset + head.frame_len();
        after = head.position;
    }
    assert_eq!(segment.len() % ALIGN, 0);
    // A flip costs the record that it hits and no other.
    assert!(seen + 3 >= bodies.len(), "{seen} of {}", bodies.len());
});
