//! What a binding's plugin is asked and answers, while it happens, for a thread that wants to hold another version against
//! it. The binding never waits: an input that finds no room is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};

use super::format::Input;
use super::queue::{Queue, Queued, size};
use super::tap::Slots;

/// A version of a binding's plugin, as one of its threads called it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Version {
    /// Its digest.
    pub digest: String,
    /// Later ones have higher numbers.
    pub number: u64,
}

/// An input, and which version gave its outcome.
#[derive(Debug)]
pub struct Fed {
    /// The input.
    pub input: Input,
    /// Who answered.
    pub version: Arc<Version>,
}

/// What may wait for the thread.
#[derive(Clone, Copy, Debug)]
pub struct FeedBounds {
    /// Inputs.
    pub inputs: usize,
    /// Their bytes in memory.
    pub bytes: usize,
}

/// The binding's end.
#[derive(Debug)]
pub(super) struct Feed {
    queue: Queue<Fed>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    offered: AtomicU64,
    taken: AtomicU64,
    dropped: AtomicU64,
}

impl Feed {
    pub(super) fn new(bounds: FeedBounds) -> (Arc<Self>, Receiver<Queued<Fed>>) {
        let (queue, taken) = Queue::new(bounds.inputs, bounds.bytes);
        (Arc::new(Self { queue, counts: Arc::default() }), taken)
    }

    /// Takes an input, or counts it as dropped.
    pub(super) fn offer(&self, input: Input, version: Arc<Version>) {
        let size = size(&input);
        let taken = self.queue.offer(Fed { input, version }, size);
        let count = if taken { &self.counts.offered } else { &self.counts.dropped };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The other end; with it the feed ends.
#[derive(Debug)]
pub struct Feeding {
    queue: Receiver<Queued<Fed>>,
    handle: FeedHandle,
}

/// Looks at a feed and ends it from another thread.
#[derive(Clone, Debug)]
pub struct FeedHandle {
    feed: Weak<Feed>,
    counts: Arc<Counts>,
    slots: Arc<Slots>,
}

/// An input that waited; its room is free again when this is dropped.
pub struct Waited(Queued<Fed>);

impl Waited {
    /// The input.
    #[must_use]
    pub const fn fed(&self) -> &Fed {
        &self.0.item
    }
}

impl Feeding {
    /// Puts a feed behind the tap of a binding, in place of one that was there.
    pub(super) fn begin(slots: Arc<Slots>, bounds: FeedBounds) -> Self {
        let (feed, queue) = Feed::new(bounds);
        let handle = FeedHandle { feed: Arc::downgrade(&feed), counts: Arc::clone(&feed.counts), slots };
        handle.slots.shadow.store(Some(feed));
        Self { queue, handle }
    }

    /// The next input, as soon as there is one; none when the feed has ended.
    #[must_use]
    pub fn next(&self) -> Option<Waited> {
        self.queue.recv().ok().map(|queued| self.taken(queued))
    }

    /// The next input, if it is there.
    #[must_use]
    pub fn try_next(&self) -> Option<Waited> {
        self.queue.try_recv().ok().map(|queued| self.taken(queued))
    }

    fn taken(&self, queued: Queued<Fed>) -> Waited {
        self.handle.counts.taken.fetch_add(1, Ordering::Relaxed);
        Waited(queued)
    }

    /// What looks at the feed and ends it from another thread.
    #[must_use]
    pub fn handle(&self) -> FeedHandle {
        self.handle.clone()
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.handle.end();
    }
}

impl FeedHandle {
    /// Inputs that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Inputs that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let offered = self.counts.offered.load(Ordering::Relaxed);
        offered.saturating_sub(self.counts.taken.load(Ordering::Relaxed))
    }

    /// Takes the feed away from its binding, unless another one is in its place already. What has been offered is still
    /// handed out.
    pub fn end(&self) {
        if let Some(own) = self.feed.upgrade() {
            self.slots.shadow.compare_and_swap(&Some(own), None);
        }
    }
}
