//! What the framing promises: what goes in comes out, and nothing else does.

use proptest::prelude::*;

use super::*;

const EPOCH: Epoch = Epoch(0x5eed_cafe_f00d_0001);

fn encoded(position: u64, nth: u16, body: &[u8], epoch: Epoch) -> Vec<u8> {
    let mut out = Vec::new();
    Record { position, seconds: 1_700_000_000, kind: 1, nth, body }.encode(epoch, &mut out);
    out
}

fn body_of<'a>(frame: &'a [u8], head: &Head) -> &'a [u8] {
    &frame[HEAD_LEN..HEAD_LEN + head.len as usize]
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was_written(
        position: u64, seconds: u32, kind: u8, nth: u16, epoch: u64, body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = Vec::new();
        Record { position, seconds, kind, nth, body: &body }.encode(Epoch(epoch), &mut frame);
        let head = read_head(&frame, Epoch(epoch)).unwrap();
        prop_assert_eq!((head.position, head.seconds, head.kind, head.nth), (position, seconds, kind, nth));
        prop_assert_eq!(head.frame_len(), frame.len());
        prop_assert_eq!(frame.len() % ALIGN, 0);
        prop_assert_eq!(body_of(&frame, &head), &body[..]);
        prop_assert!(head.vouches_for(&body, Epoch(epoch)));
    }

    #[test]
    fn a_flipped_bit_is_noticed(bit in 0usize..(HEAD_LEN + 40) * 8, body in prop::collection::vec(any::<u8>(), 40)) {
        let mut frame = encoded(7, 0, &body, EPOCH);
        frame[bit / 8] ^= 1 << (bit % 8);
        let intact = read_head(&frame, EPOCH).is_some_and(|head| head.vouches_for(body_of(&frame, &head), EPOCH));
        prop_assert!(!intact);
    }

    #[test]
    fn noise_is_never_a_record(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(find_head(&noise, EPOCH, 0), None);
    }

    #[test]
    fn the_search_finds_the_next_record_behind_damage(
        junk in 0usize..40, filler: u8, body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = vec![filler; junk * ALIGN];
        bytes.extend(encoded(9, 0, &body, EPOCH));
        let (at, head) = find_head(&bytes, EPOCH, 8).unwrap();
        prop_assert_eq!((at, head.position), (junk * ALIGN, 9));
    }

    #[test]
    fn a_segment_header_reads_back_from_either_copy(epoch: u64, range: [u64; 3], seconds: u32, at in 0usize..RECORDS_AT) {
        let header = SegmentHeader { epoch: Epoch(epoch), after: range[0], first: range[1], upto: range[2], seconds };
        let mut page = header.encode();
        prop_assert_eq!(SegmentHeader::decode(&page), Ok(header));
        page[at] ^= 0x10;
        prop_assert_eq!(SegmentHeader::decode(&page), Ok(header));
    }

    #[test]
    fn short_or_random_pages_are_damaged_headers(page in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(SegmentHeader::decode(&page), Err(HeaderError::Damaged));
    }
}

#[test]
fn a_record_of_another_epoch_is_not_a_record() {
    let frame = encoded(7, 0, b"stale", Epoch(1));
    assert!(read_head(&frame, Epoch(1)).is_some());
    assert_eq!(read_head(&frame, Epoch(2)), None);
}

#[test]
fn the_search_passes_over_records_that_are_not_later() {
    let mut bytes = encoded(3, 0, b"old", EPOCH);
    bytes.extend(encoded(5, 0, b"new", EPOCH));
    let (at, head) = find_head(&bytes, EPOCH, 4).unwrap();
    assert_eq!((at, head.position), (32, 5));
}

#[test]
fn a_record_knows_where_its_batch_began() {
    let head = read_head(&encoded(12, 4, b"", EPOCH), EPOCH).unwrap();
    assert_eq!(head.batch_start(), 8);
}

#[test]
fn a_newer_layout_is_told_apart_from_damage() {
    let mut page = SegmentHeader { epoch: EPOCH, after: 0, first: 1, upto: 0, seconds: 0 }.encode();
    for at in [0, COPY_AT] {
        page[at + 7] = 2;
        let crc = crc32c::crc32c(&page[at..at + HEADER_LEN - 4]);
        page[at + HEADER_LEN - 4..at + HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    }
    assert_eq!(SegmentHeader::decode(&page), Err(HeaderError::Newer(2)));
}
