//! Damages what is on disk: a flipped bit, a file that ends too early. The journal opens, says so, and serves the rest.

use super::double::{Double, State};
use super::power_cut::{open_double, served};
use super::*;
use causeway_core::record::{HEAD_LEN, SegmentHeader, read_head};

const RECORDS_AT: usize = causeway_core::record::RECORDS_AT;

fn small_body(n: u64) -> Bytes {
    Bytes::from(format!("record {n} ").repeat(3 + n as usize % 12))
}

/// Forty records, shut down properly.
fn forty() -> State {
    let disk = Double::new(State::default());
    let (journal, _) = open_double(&disk);
    (1..=40).for_each(|n| assert_eq!(put(&journal, small_body(n)), n));
    drop(journal);
    disk.state()
}

fn segments(state: &State) -> Vec<String> {
    state.names().into_iter().filter(|name| name.ends_with(".seg")).collect()
}

/// Where a record stands: the offset of its head, the end of its body, and its position.
struct Spot {
    start: usize,
    body_end: usize,
    position: Position,
}

fn spots(state: &State, name: &str) -> Vec<Spot> {
    let content = state.content(name);
    let epoch = SegmentHeader::decode(content).unwrap().epoch;
    let (mut at, mut spots) = (RECORDS_AT, Vec::new());
    while let Some(head) = content.get(at..).and_then(|bytes| read_head(bytes, epoch)) {
        spots.push(Spot { start: at, body_end: at + HEAD_LEN + head.len as usize, position: head.position });
        at += head.frame_len();
    }
    spots
}

/// Whatever is served is what was appended; returns the positions that are not.
fn missing(journal: &Journal) -> Vec<Position> {
    let entries = served(journal);
    assert!(entries.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert!(entries.iter().all(|entry| entry.body == small_body(entry.position)));
    (1..=40).filter(|n| !entries.iter().any(|entry| entry.position == *n)).collect()
}

#[test]
fn a_flipped_bit_costs_at_most_the_record_that_it_hit_and_is_counted() {
    let whole = forty();
    let segments = segments(&whole);
    assert!(segments.len() >= 2);
    let mut flips = 0;
    for name in &segments {
        let newest = Some(name) == segments.last();
        let spots = spots(&whole, name);
        for (nth, spot) in spots.iter().enumerate() {
            let last = nth + 1 == spots.len();
            let every_byte = nth < 3 || last;
            for at in (spot.start..spot.body_end).step_by(if every_byte { 1 } else { 5 }) {
                let mut state = whole.clone();
                state.edit(name, |content| content[at] ^= 1 << (at % 8));
                let (journal, recovered) = open_double(&Double::new(state));
                let context = format!("{name}, byte {at}, record {}", spot.position);
                assert_eq!(missing(&journal), [spot.position], "{context}");
                if newest && last {
                    // Nothing tells it from a write that the power has interrupted; its position is not used again.
                    assert!(recovered.interrupted && recovered.next > 40, "{context}");
                } else if !last {
                    // Behind a file's last record no later one says that it had been synced: it is not counted.
                    assert!(journal.status().damaged > 0, "{context}");
                }
                flips += 1;
            }
        }
    }
    assert!(flips >= 500, "{flips}");
}

#[test]
fn a_file_that_ends_within_its_last_record_costs_only_that_record() {
    let whole = forty();
    let name = segments(&whole).pop().unwrap();
    let last = spots(&whole, &name).pop().unwrap();
    for len in last.start..whole.content(&name).len() {
        let mut state = whole.clone();
        state.edit(&name, |content| content.truncate(len));
        let (journal, recovered) = open_double(&Double::new(state));
        let lost: &[Position] = if len < last.body_end { &[40] } else { &[] };
        assert_eq!(missing(&journal), lost, "{len} bytes");
        // At the very start of the record nothing says that there ever was one.
        assert!(recovered.next > 40 || len == last.start, "{len} bytes: {recovered:?}");
        let position = put(&journal, Bytes::from_static(b"after"));
        assert_eq!(position, recovered.next);
        assert_eq!(journal.get(position).unwrap().body, "after");
        assert_eq!(journal.get(39).unwrap().body, small_body(39));
    }
}
