//! The list of segments and cursors: which file holds a position, how far behind a cursor is, what can go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Position;
use super::cursor::Place;
use super::segment::{RECORDS, Segment};

#[derive(Default)]
pub(super) struct Log {
    /// In order; the ranges follow one another without a hole, and only the last one is written to.
    segments: VecDeque<Arc<Segment>>,
    cursors: BTreeMap<String, Arc<Place>>,
    /// Nothing is removed before all owners of cursors have registered them.
    pub(super) trimming: bool,
}

impl Log {
    pub(super) fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        let mut log = Self { segments: segments.into_iter().collect(), ..Self::default() };
        log.rebase();
        log
    }

    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.segments.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn cursors(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.cursors.values()
    }

    pub(super) fn insert_cursor(&mut self, place: Arc<Place>) {
        self.cursors.insert(place.name.clone(), place);
    }

    pub(super) fn remove_cursor(&mut self, name: &str) {
        self.cursors.remove(name);
    }

    /// Returns the segment whose range holds `position`, or the last one when it is above all of them.
    pub(super) fn find(&self, position: Position) -> Option<Arc<Segment>> {
        let behind = self.segments.partition_point(|segment| segment.header.after < position);
        self.segments.get(behind.checked_sub(1)?).cloned()
    }

    /// Returns the segment behind the one that begins at `first`.
    pub(super) fn following(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let behind = self.segments.partition_point(|other| other.header.first <= segment.header.first);
        self.segments.get(behind).cloned()
    }

    /// The last position that has been removed from the front.
    pub(super) fn trimmed(&self) -> Position {
        self.segments.front().map_or(0, |segment| segment.header.after)
    }

    /// Adds the segment that is written from now on. An active segment without a record is replaced: the new file has
    /// taken its name.
    pub(super) fn push(&mut self, segment: Arc<Segment>) {
        match self.segments.back() {
            Some(active) if active.header.first >= segment.header.first => {
                segment.base.store(active.base.load(Ordering::Relaxed), Ordering::Relaxed);
                self.segments.pop_back();
            }
            Some(active) => {
                active.seal(segment.header.after);
                segment.base.store(end_of(active), Ordering::Relaxed);
            }
            None => {}
        }
        self.segments.push_back(segment);
    }

    /// Removes the segments that every cursor has passed, but never the last one.
    pub(super) fn trim(&mut self) -> Vec<Arc<Segment>> {
        let mut removed = Vec::new();
        if !self.trimming {
            return removed;
        }
        let floor = self.cursors.values().map(|place| place.position()).min().unwrap_or(Position::MAX);
        while self.segments.len() > 1 && self.segments.front().is_some_and(|segment| segment.upto() <= floor) {
            removed.extend(self.segments.pop_front());
        }
        removed
    }

    /// Tells whether the neighbours `segments` are all still part of the log.
    pub(super) fn holds(&self, segments: &[Arc<Segment>]) -> bool {
        self.place_of(segments).is_some()
    }

    fn place_of(&self, segments: &[Arc<Segment>]) -> Option<usize> {
        let first = segments.first()?;
        let at = self.segments.iter().position(|segment| Arc::ptr_eq(segment, first))?;
        let there = self.segments.iter().skip(at).zip(segments).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        (there == segments.len()).then_some(at)
    }

    /// Puts `output` into the place of the neighbours `inputs`, which stood for the same range.
    pub(super) fn replace(&mut self, inputs: &[Arc<Segment>], output: Arc<Segment>) {
        let Some(at) = self.place_of(inputs) else { return };
        self.segments.drain(at..at + inputs.len());
        self.segments.insert(at, output);
        self.rebase();
        self.cursors.values().for_each(|place| place.forget_offset());
    }

    /// Counts the bytes before each segment again, from the end, which stays where it is.
    fn rebase(&mut self) {
        let Some(active) = self.segments.back() else { return };
        let total: u64 = self.segments.iter().rev().skip(1).map(|segment| content(segment)).sum();
        let mut base = active.base.load(Ordering::Relaxed).max(total) - total;
        for segment in &self.segments {
            segment.base.store(base, Ordering::Relaxed);
            base += content(segment);
        }
    }

    /// Bytes on disk, without what the last segment has been prepared for and not used yet.
    pub(super) fn used(&self) -> u64 {
        self.sealed() + self.segments.back().map_or(0, |active| active.end())
    }

    /// Bytes on disk.
    pub(super) fn footprint(&self) -> u64 {
        self.sealed() + self.segments.back().map_or(0, |active| active.size().max(active.end()))
    }

    fn sealed(&self) -> u64 {
        self.segments.iter().rev().skip(1).map(|segment| segment.size().max(segment.end())).sum()
    }

    /// The journal's end, in bytes since it was opened.
    pub(super) fn end(&self) -> u64 {
        self.segments.back().map_or(0, |active| end_of(active))
    }
}

fn content(segment: &Segment) -> u64 {
    segment.end().saturating_sub(RECORDS)
}

fn end_of(segment: &Segment) -> u64 {
    segment.base.load(Ordering::Relaxed) + content(segment)
}
