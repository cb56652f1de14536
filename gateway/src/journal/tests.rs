//! The journal on a real directory: what a consumer, an operator and a restart see of it.

mod damage;
mod double;
mod power_cut;

use std::time::Instant;

use super::*;
use crate::config::Size;

const NO_BUDGET: Budget = Budget { bytes: u64::MAX, age: std::time::Duration::MAX };

fn small() -> JournalConfig {
    JournalConfig { segment_bytes: Size::kib(64), max_bytes: Size::mib(1), ..JournalConfig::default() }
}

fn open(dir: &Path) -> (Journal, Recovered) {
    Journal::open(dir, &small(), JournalMetrics::default()).unwrap()
}

fn body(n: u64) -> Bytes {
    Bytes::from(format!("body {n} {}", "x".repeat((n % 700) as usize)))
}

/// Appends, and waits until it is on disk.
fn put(journal: &Journal, body: Bytes) -> Position {
    let position = journal.append(Kind::Publish, body).unwrap();
    settled(journal, position);
    position
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn settled(journal: &Journal, position: Position) {
    let durable = journal.durable();
    eventually("the record gets on disk", || matches!(*durable.borrow(), Durable::Position(p) if p >= position));
}

fn read_all(journal: &Journal, from: Position) -> Vec<Entry> {
    let mut reader = journal.reader(from);
    let mut all = Vec::new();
    loop {
        let entries = reader.next(64, 100_000).unwrap();
        if entries.is_empty() {
            return all;
        }
        all.extend(entries);
    }
}

#[test]
fn what_is_appended_is_read_back_in_order_and_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.last, recovered.next), (0, 1));
    for n in 1..=500 {
        assert_eq!(put(&journal, body(n)), n);
    }
    let entries = read_all(&journal, 1);
    assert_eq!(entries.len(), 500);
    assert!(entries.iter().zip(1..).all(|(entry, n)| entry.position == n && entry.body == body(n)));
    assert_eq!(journal.get(321).unwrap().body, body(321));
    assert_eq!(journal.get(501), None);
    assert!(journal.status().segments > 1);
}

#[test]
fn a_journal_that_was_shut_down_goes_on_with_the_next_position() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    (1..=10).for_each(|n| assert_eq!(put(&journal, body(n)), n));
    drop(journal);
    let (journal, recovered) = open(dir.path());
    assert_eq!((recovered.last, recovered.next, recovered.interrupted), (10, 11, false));
    assert_eq!(put(&journal, body(11)), 11);
    assert_eq!(read_all(&journal, 5).len(), 7);
}

#[test]
fn two_processes_never_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = open(dir.path());
    let second = Journal::open(dir.path(), &small(), JournalMetrics::default());
    assert!(matches!(second, Err(OpenError::InUse)));
}

#[test]
fn the_log_is_trimmed_behind_the_slowest_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let slow = journal.cursor("slow", None, NO_BUDGET, Overflow::Refuse);
    let fast = journal.cursor("fast", None, NO_BUDGET, Overflow::Refuse);
    journal.allow_trimming();
    (1..=600).for_each(|n| assert_eq!(put(&journal, body(n)), n));
    fast.advance(600);
    assert_eq!(journal.status().first, 1);
    slow.advance(500);
    let first = journal.status().first;
    assert!(first > 1 && first <= 501, "{first}");
    assert_eq!(journal.get(501).unwrap().body, body(501));
    assert!(matches!(journal.reader(1).next(1, 1), Err(ReadError::Trimmed { resume }) if resume == first));
}

#[test]
fn a_process_that_is_killed_again_and_again_loses_nothing_and_does_not_use_up_the_budget() {
    let mut dir = tempfile::tempdir().unwrap();
    for _ in 0..8 {
        let (journal, _) = open(dir.path());
        journal.cursor("slow", Some(0), NO_BUDGET, Overflow::Refuse);
        put(&journal, body(1));
        // What a kill leaves: the directory as it is while the process runs.
        let image = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::write(image.path().join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
        }
        drop(journal);
        dir = image;
    }
    let (journal, recovered) = open(dir.path());
    assert_eq!(read_all(&journal, 1).len(), 8);
    // One segment at most is as large as it was prepared.
    assert!(recovered.bytes < small().segment_bytes.bytes() * 2, "{} bytes", recovered.bytes);
}
