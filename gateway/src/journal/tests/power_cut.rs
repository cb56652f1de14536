//! Cuts the power: a disk in memory that forgets what was not synced, and the check that a journal which is opened
//! after that still has everything it had promised.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::*;
use crate::journal::disk::SegmentFile;

/// What a disk keeps or loses as a whole.
const SECTOR: u64 = 512;

/// Splitmix64: the same seed gives the same accident.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Bytes },
    Cut(u64),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => overwrite(content, *offset, bytes),
            Self::Cut(len) => content.resize(*len as usize, 0),
        }
    }

    /// Some sectors of the write get on disk, others do not.
    fn tear(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { offset, bytes } = self else { return };
        let end = offset + bytes.len() as u64;
        let mut at = *offset;
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            if dice.coin() {
                overwrite(content, at, &bytes[(at - offset) as usize..(next - offset) as usize]);
            }
            at = next;
        }
    }
}

fn overwrite(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let range = offset as usize..offset as usize + bytes.len();
    if content.len() < range.end {
        content.resize(range.end, 0);
    }
    content[range].copy_from_slice(bytes);
}

#[derive(Clone, Default)]
struct Node {
    /// What a reader sees.
    live: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Naming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// One operation that changes something.
#[derive(Clone)]
enum Operation {
    Change(usize, Change),
    Sync(usize),
    Name(Naming),
    SyncNames,
}

/// Everything that is on the disk and in front of it.
#[derive(Clone, Default)]
pub(super) struct State {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
}

impl State {
    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Change(node, change) => {
                let node = &mut self.nodes[*node];
                change.apply(&mut node.live);
                node.unsynced.push(change.clone());
            }
            Operation::Sync(node) => {
                let node = &mut self.nodes[*node];
                node.unsynced.drain(..).for_each(|change| change.apply(&mut node.synced));
            }
            Operation::Name(naming) => {
                if let Naming::Create(_, node) = naming {
                    self.nodes.resize_with(self.nodes.len().max(node + 1), Node::default);
                }
                naming.apply(&mut self.names);
                self.unsynced_names.push(naming.clone());
            }
            Operation::SyncNames => {
                self.unsynced_names.drain(..).for_each(|naming| naming.apply(&mut self.synced_names));
            }
        }
    }

    /// What is there when the power is back: everything synced, and of the rest whatever chance has left.
    fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut names = self.synced_names.clone();
        for naming in &self.unsynced_names {
            if dice.coin() {
                naming.apply(&mut names);
            }
        }
        let nodes = self.nodes.iter().map(|node| crashed(node, &mut dice)).collect();
        Self { nodes, synced_names: names.clone(), names, unsynced_names: Vec::new() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The content of a file, to be damaged.
    pub(super) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let node = &mut self.nodes[self.names[name]];
        change(&mut node.live);
        node.synced = node.live.clone();
        node.unsynced.clear();
    }

    pub(super) fn content(&self, name: &str) -> &[u8] {
        &self.nodes[self.names[name]].live
    }

    fn size(&self) -> u64 {
        self.names.values().map(|node| self.nodes[*node].live.len() as u64).sum()
    }
}

fn crashed(node: &Node, dice: &mut Dice) -> Node {
    let mut content = node.synced.clone();
    let mut changes: Vec<_> = node.unsynced.iter().collect();
    for last in (1..changes.len()).rev() {
        changes.swap(last, dice.below(last as u64 + 1) as usize);
    }
    let torn = dice.below(changes.len() as u64 * 2) as usize;
    for (at, change) in changes.into_iter().enumerate() {
        if at == torn {
            change.tear(&mut content, dice);
        } else if dice.coin() {
            change.apply(&mut content);
        }
    }
    // The new length may be on disk without what was written there.
    if content.len() < node.live.len() && dice.coin() {
        content.resize(node.live.len(), 0);
    }
    Node { live: content.clone(), synced: content, unsynced: Vec::new() }
}

/// In what way the disk lies about being synced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    Files,
    Names,
}

/// What had been promised when an operation began.
#[derive(Clone, Copy, Default)]
struct Promise {
    /// Published as durable.
    published: Position,
    /// The consumer is done with everything up to here.
    consumed: Position,
    /// Even positions up to here were not wanted in a compaction.
    compacted: Position,
}

impl Promise {
    fn holds(&self) -> impl Iterator<Item = Position> {
        let compacted = self.compacted;
        (self.consumed + 1..=self.published).filter(move |position| position % 2 == 1 || *position > compacted)
    }
}

struct Inner {
    state: State,
    trace: Vec<(Promise, Operation)>,
    promise: Promise,
    limit: u64,
    failing_syncs: u32,
    /// A segment gets its name only after another file has been synced.
    slow_naming: bool,
    lie: Lie,
}

/// The disk.
pub(super) struct Double {
    inner: Arc<Mutex<Inner>>,
    durable: Arc<OnceLock<watch::Receiver<Durable>>>,
}

impl Double {
    pub(super) fn new(state: State) -> Arc<Self> {
        Self::with(state, Promise::default(), Lie::None)
    }

    fn with(state: State, promise: Promise, lie: Lie) -> Arc<Self> {
        let inner =
            Inner { state, trace: Vec::new(), promise, limit: u64::MAX, failing_syncs: 0, slow_naming: false, lie };
        Arc::new(Self { inner: Arc::new(Mutex::new(inner)), durable: Arc::default() })
    }

    pub(super) fn state(&self) -> State {
        locked(&self.inner).state.clone()
    }

    fn limit(&self, bytes: u64) {
        locked(&self.inner).limit = bytes;
    }

    fn fail_syncs(&self, times: u32) {
        locked(&self.inner).failing_syncs = times;
    }

    fn promise(&self, change: impl FnOnce(&mut Promise)) {
        change(&mut locked(&self.inner).promise);
    }

    fn file(&self, node: usize) -> Arc<dyn SegmentFile> {
        Arc::new(Handle { inner: Arc::clone(&self.inner), durable: Arc::clone(&self.durable), node })
    }

    fn name(&self, naming: Naming) {
        locked(&self.inner).perform(&self.durable, Operation::Name(naming));
    }
}

impl Inner {
    fn perform(&mut self, durable: &OnceLock<watch::Receiver<Durable>>, operation: Operation) {
        if let Some(durable) = durable.get()
            && let Durable::Position(position) = *durable.borrow()
        {
            self.promise.published = self.promise.published.max(position);
        }
        self.state.apply(&operation);
        self.trace.push((self.promise, operation));
    }
}

impl Disk for Double {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(locked(&self.inner).state.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut inner = locked(&self.inner);
        if let Some(node) = inner.state.names.get(name).copied() {
            // The same file, emptied, also for whoever has it open.
            inner.perform(&self.durable, Operation::Change(node, Change::Cut(0)));
            drop(inner);
            return Ok(self.file(node));
        }
        let node = inner.state.nodes.len();
        inner.perform(&self.durable, Operation::Name(Naming::Create(name.to_owned(), node)));
        drop(inner);
        Ok(self.file(node))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let node = locked(&self.inner).state.names.get(name).copied();
        node.map(|node| self.file(node)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open(from)?;
        let (slow, begun) = {
            let inner = locked(&self.inner);
            (inner.slow_naming && to.ends_with(".seg"), inner.trace.len())
        };
        if slow {
            eventually("another file is synced", || {
                let inner = locked(&self.inner);
                inner.trace[begun..].iter().any(|(_, operation)| matches!(operation, Operation::Sync(_)))
            });
        }
        self.name(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.open(name)?;
        self.name(Naming::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = locked(&self.inner);
        if inner.lie != Lie::Names {
            inner.perform(&self.durable, Operation::SyncNames);
        }
        Ok(())
    }
}

struct Handle {
    inner: Arc<Mutex<Inner>>,
    durable: Arc<OnceLock<watch::Receiver<Durable>>>,
    node: usize,
}

impl Handle {
    fn change(&self, inner: &mut Inner, change: Change) {
        inner.perform(&self.durable, Operation::Change(self.node, change));
    }
}

impl SegmentFile for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.inner).state.nodes[self.node].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = locked(&self.inner);
        let content = inner.state.nodes[self.node].live.get(offset as usize..).unwrap_or_default();
        let read = content.len().min(buffer.len());
        buffer[..read].copy_from_slice(&content[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = locked(&self.inner);
        let grown = (offset + bytes.len() as u64).saturating_sub(inner.state.nodes[self.node].live.len() as u64);
        let lacking = (inner.state.size() + grown).saturating_sub(inner.limit).min(grown);
        let fits = bytes.len().saturating_sub(lacking as usize);
        self.change(&mut inner, Change::Write { offset, bytes: Bytes::copy_from_slice(&bytes[..fits]) });
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(&mut locked(&self.inner), Change::Cut(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = locked(&self.inner);
        if inner.failing_syncs > 0 {
            inner.failing_syncs -= 1;
            // As in the kernel: what was not written is dropped, and the next sync has nothing to complain about.
            inner.state.nodes[self.node].unsynced.clear();
            return Err(io::Error::other("the double fails to sync"));
        }
        if inner.lie != Lie::Files {
            inner.perform(&self.durable, Operation::Sync(self.node));
        }
        Ok(())
    }
}

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
