//! A disk in memory that forgets what was not synced: it drops, reorders and tears writes as a power cut does, and it
//! lies about syncs when it is told to. What a journal has to show after that is checked elsewhere.

use std::collections::BTreeMap;
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

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

#[derive(Clone)]
pub(super) enum Change {
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
pub(super) struct Node {
    /// What a reader sees.
    pub(super) live: Vec<u8>,
    pub(super) synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Naming {
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
pub(super) enum Operation {
    Change(usize, Change),
    Sync(usize),
    Name(Naming),
    SyncNames,
}

/// Everything that is on the disk and in front of it.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
}

impl State {
    pub(super) fn apply(&mut self, operation: &Operation) {
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
    pub(super) fn crash(&self, seed: u64) -> Self {
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

    pub(super) fn size(&self) -> u64 {
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
pub(super) enum Lie {
    None,
    Files,
    Names,
}

/// What had been promised when an operation began.
#[derive(Clone, Copy, Default)]
pub(super) struct Promise {
    /// Published as durable.
    pub(super) published: Position,
    /// The consumer is done with everything up to here.
    pub(super) consumed: Position,
    /// Even positions up to here were not wanted in a compaction.
    pub(super) compacted: Position,
}

impl Promise {
    pub(super) fn holds(&self) -> impl Iterator<Item = Position> {
        let compacted = self.compacted;
        (self.consumed + 1..=self.published).filter(move |position| position % 2 == 1 || *position > compacted)
    }
}

pub(super) struct Inner {
    pub(super) state: State,
    pub(super) trace: Vec<(Promise, Operation)>,
    pub(super) promise: Promise,
    limit: u64,
    failing_syncs: u32,
    /// A segment gets its name only after another file has been synced.
    pub(super) slow_naming: bool,
    lie: Lie,
}

/// The disk.
pub(super) struct Double {
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) durable: Arc<OnceLock<watch::Receiver<Durable>>>,
}

impl Double {
    pub(super) fn new(state: State) -> Arc<Self> {
        Self::with(state, Promise::default(), Lie::None)
    }

    pub(super) fn with(state: State, promise: Promise, lie: Lie) -> Arc<Self> {
        let inner =
            Inner { state, trace: Vec::new(), promise, limit: u64::MAX, failing_syncs: 0, slow_naming: false, lie };
        Arc::new(Self { inner: Arc::new(Mutex::new(inner)), durable: Arc::default() })
    }

    pub(super) fn state(&self) -> State {
        locked(&self.inner).state.clone()
    }

    pub(super) fn limit(&self, bytes: u64) {
        locked(&self.inner).limit = bytes;
    }

    pub(super) fn fail_syncs(&self, times: u32) {
        locked(&self.inner).failing_syncs = times;
    }

    pub(super) fn promise(&self, change: impl FnOnce(&mut Promise)) {
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
