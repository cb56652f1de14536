//! Cuts the power at every operation on the disk, and checks that a journal which is opened after that still has
//! everything it had promised.

use std::collections::BTreeMap;
use std::ops::Range;

use super::double::{Dice, Double, Lie, Operation, Promise, State};
use super::*;

pub(super) fn tiny() -> JournalConfig {
    JournalConfig { segment_bytes: Size::kib(8), max_bytes: Size::mib(1), ..JournalConfig::default() }
}

pub(super) fn open_double(disk: &Arc<Double>) -> (Journal, Recovered) {
    let disk: Arc<dyn Disk> = Arc::clone(disk) as _;
    let clock = |known_ms: u64| Box::new(move || known_ms.max(1_700_000_000_000)) as Now;
    Journal::open_on(disk, &tiny(), JournalMetrics::default(), clock).unwrap()
}

/// Waits until the keeper has prepared a segment and synced it.
fn await_spare(disk: &Double) {
    eventually("the next segment is prepared", || {
        let inner = locked(&disk.inner);
        let mut spares = inner.state.names.iter().filter(|(name, _)| name.starts_with("spare"));
        spares.any(|(_, node)| inner.state.nodes[*node].synced.len() == 8192)
    });
}

/// The body of the record that the `life`th process has appended at `position`.
fn lived(life: u64, position: Position) -> Bytes {
    let mut dice = Dice::new(position << 8 | life);
    let len = match dice.below(20) {
        0 => 5000,
        1 => 0,
        2..6 => dice.below(1500),
        _ => dice.below(200),
    };
    Bytes::from(
        format!("{life}/{position}").into_bytes().into_iter().cycle().take(len as usize + 8).collect::<Vec<_>>(),
    )
}

/// Reads all that is there, passing over what was trimmed.
pub(super) fn served(journal: &Journal) -> Vec<Entry> {
    let mut reader = journal.reader(1);
    let mut all = Vec::new();
    loop {
        match reader.next(1000, 1 << 20) {
            Ok(entries) if entries.is_empty() => return all,
            Ok(entries) => all.extend(entries),
            Err(ReadError::Trimmed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Two processes' worth of appending, trimming and compacting; returns every operation on the disk.
fn workload(lie: Lie) -> Vec<(Promise, Operation)> {
    let mut dice = Dice::new(1);
    let (mut state, mut promise, mut trace) = (State::default(), Promise::default(), Vec::new());
    for _ in 0..2 {
        let disk = Double::with(state, promise, lie);
        let (journal, recovered) = open_double(&disk);
        disk.durable.set(journal.durable()).unwrap();
        let cursor = journal.cursor("consumer", Some(promise.consumed), NO_BUDGET, Overflow::Refuse);
        journal.allow_trimming();
        let mut next = recovered.next;
        for round in 1..=90 {
            for _ in 0..=dice.below(4) {
                assert_eq!(journal.append(Kind::Publish, lived(0, next)), Ok(next));
                next += 1;
            }
            settled(&journal, next - 1);
            if round % 8 == 0 {
                let consumed = (next - 1).saturating_sub(30);
                disk.promise(|promise| promise.consumed = promise.consumed.max(consumed));
                cursor.advance(consumed);
            }
            if round % 30 == 0 {
                disk.promise(|promise| promise.compacted = next - 1);
                journal.compact(|position, _, _| position % 2 == 1).unwrap();
            }
        }
        drop(journal);
        let mut inner = locked(&disk.inner);
        state = inner.state.clone();
        promise = inner.promise;
        trace.append(&mut inner.trace);
    }
    trace
}

/// Opens what a crash has left, compares it with what had been promised, and appends; returns the disk as it is then.
fn survives(crashed: State, promise: Promise, later: &mut Range<Position>, life: u64) -> Result<State, String> {
    let disk = Double::new(crashed);
    let (journal, recovered) = open_double(&disk);
    let entries = served(&journal);
    if !entries.windows(2).all(|pair| pair[0].position < pair[1].position) {
        return Err("records are out of order".to_owned());
    }
    let there: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.position, entry.body)).collect();
    for (position, body) in &there {
        let allowed = if later.contains(position) { 1 } else { 0 };
        if *body != lived(allowed, *position) {
            return Err(format!("position {position} has a body that was never appended there"));
        }
    }
    if let Some(lost) = promise.holds().chain(later.clone()).find(|position| !there.contains_key(position)) {
        return Err(format!("position {lost} was acknowledged and is gone ({recovered:?})"));
    }
    if journal.status().damaged > 0 {
        return Err("the crash was taken for damage".to_owned());
    }
    if recovered.next <= promise.published || recovered.next < later.end {
        return Err(format!("position {} is given out twice", recovered.next));
    }
    let mut next = recovered.next;
    for _ in 0..3 {
        let position = put(&journal, lived(life, next));
        if position != next || journal.get(position).is_none_or(|entry| entry.body != lived(life, next)) {
            return Err(format!("position {next} is not what was appended after the crash"));
        }
        next += 1;
    }
    *later = recovered.next..next;
    // The power goes again: the journal does not get to its shutdown.
    Ok(disk.state())
}

/// Cuts the power at every operation of the workload, `seeds` times each, and once more in the life after that.
fn survives_all(lie: Lie, seeds: u64) -> Result<u64, String> {
    let mut state = State::default();
    let mut points = 0;
    for (at, (promise, operation)) in workload(lie).into_iter().enumerate() {
        state.apply(&operation);
        for seed in 0..seeds {
            let seed = at as u64 * 1000 + seed;
            let context = |error| format!("operation {at}, seed {seed}: {error}");
            let mut later = 0..0;
            let second = survives(state.crash(seed), promise, &mut later, 1).map_err(context)?;
            if seed.is_multiple_of(2) {
                let context = |error| format!("operation {at}, seed {seed}, second crash: {error}");
                survives(second.crash(!seed), promise, &mut later, 2).map_err(context)?;
                points += 1;
            }
            points += 1;
        }
    }
    Ok(points)
}

#[test]
fn whatever_was_acknowledged_is_there_after_a_power_cut() {
    let points = survives_all(Lie::None, 3).unwrap_or_else(|error| panic!("{error}"));
    assert!(points >= 2000, "only {points} crash points");
}

#[test]
fn the_check_finds_what_is_lost_on_a_disk_that_does_not_sync_its_files() {
    assert!(survives_all(Lie::Files, 2).is_err());
}

#[test]
fn the_check_finds_what_is_lost_on_a_disk_that_does_not_sync_its_names() {
    assert!(survives_all(Lie::Names, 2).is_err());
}

#[test]
fn a_spare_that_an_earlier_process_left_is_not_prepared_again_while_it_becomes_a_segment() {
    let earlier = Double::new(State::default());
    let (_earlier, _) = open_double(&earlier);
    await_spare(&earlier);
    let disk = Double::new(earlier.state());
    locked(&disk.inner).slow_naming = true;
    let (journal, _) = open_double(&disk);
    assert_eq!(put(&journal, lived(0, 1)), 1);
    let promise = Promise { published: 1, ..Promise::default() };
    survives(disk.state().crash(1), promise, &mut (0..0), 1).unwrap();
}

#[test]
fn a_full_disk_costs_no_acknowledged_record_and_service_returns_with_space() {
    let disk = Double::new(State::default());
    let (journal, _) = open_double(&disk);
    (1..=20).for_each(|n| assert_eq!(put(&journal, lived(0, n)), n));
    disk.limit(disk.state().size() + 3000);
    let mut accepted = 20;
    eventually("the disk gets full", || match journal.append(Kind::Publish, lived(0, accepted + 1)) {
        Ok(position) => {
            accepted = position;
            false
        }
        Err(error) => {
            assert_eq!(error, AppendError::Full);
            journal.status().state == JournalState::DiskFull
        }
    });
    let durable = journal.status().durable;
    assert!(durable >= 20 && durable < accepted, "{durable} of {accepted}");
    assert_eq!(served(&journal).len() as u64, durable);
    // What a power cut leaves now is what was acknowledged, or more.
    survives(disk.state().crash(7), Promise { published: durable, ..Promise::default() }, &mut (0..0), 1).unwrap();

    disk.limit(u64::MAX);
    settled(&journal, accepted);
    eventually("the journal is open again", || journal.status().state == JournalState::Open);
    assert_eq!(put(&journal, lived(0, accepted + 1)), accepted + 1);
    let entries = served(&journal);
    assert!(entries.iter().zip(1..).all(|(entry, n)| entry.position == n && entry.body == lived(0, n)));
    assert_eq!(entries.len() as u64, accepted + 1);
    let promise = Promise { published: accepted + 1, ..Promise::default() };
    survives(disk.state().crash(8), promise, &mut (0..0), 1).unwrap();
}

#[test]
fn a_sync_that_fails_publishes_nothing_until_the_records_are_on_disk_elsewhere() {
    for seed in 0..3 {
        let disk = Double::new(State::default());
        let (journal, _) = open_double(&disk);
        (1..=10).for_each(|n| assert_eq!(put(&journal, lived(0, n)), n));
        await_spare(&disk);
        let mut durable = journal.durable();
        durable.mark_unchanged();
        disk.fail_syncs(1);
        assert_eq!(journal.append(Kind::Publish, lived(0, 11)), Ok(11));
        eventually("the journal says something", || durable.has_changed().unwrap());
        assert_eq!(*durable.borrow_and_update(), Durable::Failed);
        assert_eq!(journal.append(Kind::Publish, lived(0, 12)), Err(AppendError::Failed));
        let promise = Promise { published: 10, ..Promise::default() };
        survives(disk.state().crash(seed), promise, &mut (0..0), 1).unwrap();
        settled(&journal, 11);
        assert_eq!(put(&journal, lived(0, 12)), 12);
        let entries = served(&journal);
        assert!(entries.iter().zip(1..).all(|(entry, n)| entry.position == n && entry.body == lived(0, n)));
        assert_eq!(entries.len(), 12);
        let promise = Promise { published: 12, ..Promise::default() };
        survives(disk.state().crash(seed), promise, &mut (0..0), 1).unwrap();
    }
}
