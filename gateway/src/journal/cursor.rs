//! A consumer's place in the journal, and what happens when the consumer falls behind.
//!
//! The place itself is kept by its owner, in the same transaction as the effects. The journal only remembers it while
//! the process runs, so as to know which segments nobody needs any more.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::shared::Shared;
use super::{CursorStatus, Kind, Position, locked};

/// How far a consumer may fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of journal behind the cursor. At most half of the journal's own budget counts, so that one cursor
    /// alone never fills it.
    pub bytes: u64,
    /// Age of the oldest record behind the cursor.
    pub age: Duration,
}

/// What happens when a consumer is further behind than its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Nothing is given up; whoever appends for this consumer asks [`Cursor::over_budget`] and refuses.
    Refuse,
    /// The cursor is moved forward; what it passes is counted by [`Cursor::gap`].
    DropOldest,
    /// The owner puts [`Cursor::excess`] into the dead letters and advances.
    /// When the lag reaches twice the budget all the same, the cursor is moved as with `DropOldest`.
    Park,
}

/// How far a consumer is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of journal behind the cursor.
    pub bytes: u64,
    /// Age of the oldest record behind the cursor; zero when there is none.
    pub age: Duration,
}

type Wants = Box<dyn Fn(Kind, &Bytes) -> bool + Send + Sync>;

/// The record that the consumer gets next.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextRecord {
    /// The cursor's position at the time of looking.
    pub(super) behind: Position,
    /// Where it begins, in bytes since the journal was opened.
    pub(super) offset: u64,
    /// Unix seconds at which it was accepted.
    pub(super) seconds: u64,
}

/// A cursor as the journal knows it.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) budget: Budget,
    pub(super) overflow: Overflow,
    position: AtomicU64,
    /// The record behind `position`, once it has been looked up.
    next: Mutex<Option<NextRecord>>,
    gap: AtomicU64,
    wants: OnceLock<Wants>,
}

impl Place {
    pub(super) fn new(name: String, position: Position, budget: Budget, overflow: Overflow, gap: u64) -> Self {
        let (position, gap) = (AtomicU64::new(position), AtomicU64::new(gap));
        Self { name, budget, overflow, position, next: Mutex::default(), gap, wants: OnceLock::new() }
    }

    pub(super) fn position(&self) -> Position {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn gap(&self) -> u64 {
        self.gap.load(Ordering::Relaxed)
    }

    /// Tells whether the consumer still needs the record; without a stated interest it needs everything.
    pub(super) fn wants(&self, position: Position, kind: Kind, body: &Bytes) -> bool {
        position > self.position() && self.wants.get().is_none_or(|wants| wants(kind, body))
    }

    pub(super) fn states_wants(&self) -> bool {
        self.wants.get().is_some()
    }

    /// Moves forward; returns the position before, or `None` when that is not forward.
    pub(super) fn advance(&self, position: Position) -> Option<Position> {
        let before = self.position.fetch_max(position, Ordering::AcqRel);
        (before < position).then_some(before)
    }

    /// Moves forward over records that the consumer has not seen.
    pub(super) fn give_up(&self, position: Position) -> u64 {
        let lost = self.advance(position).map_or(0, |before| position - before);
        self.gap.fetch_add(lost, Ordering::Relaxed);
        lost
    }

    /// The journal's bytes have been counted again.
    pub(super) fn forget_offset(&self) {
        *locked(&self.next) = None;
    }

    pub(super) fn lag(&self, shared: &Shared) -> Lag {
        let none = Lag { bytes: 0, age: Duration::ZERO };
        let position = self.position();
        if position >= shared.durable_position() {
            return none;
        }
        let mut next = locked(&self.next);
        if next.is_none_or(|next| next.behind != position) {
            *next = shared.record_after(position);
        }
        next.map_or(none, |next| Lag {
            bytes: shared.end().saturating_sub(next.offset),
            age: Duration::from_secs(shared.now_seconds().saturating_sub(next.seconds)),
        })
    }

    pub(super) fn is_over(&self, shared: &Shared) -> bool {
        self.exceeded_by(self.lag(shared))
    }

    fn exceeded_by(&self, lag: Lag) -> bool {
        lag.bytes > self.budget.bytes || lag.age > self.budget.age
    }

    pub(super) fn status(&self, shared: &Shared) -> CursorStatus {
        let lag = self.lag(shared);
        let over_budget = self.exceeded_by(lag);
        CursorStatus { name: self.name.clone(), position: self.position(), lag, over_budget, gap: self.gap() }
    }
}

/// A consumer's place in the journal.
///
/// Dropping the handle does not release the cursor: what it has not passed stays until [`Cursor::remove`].
#[derive(Clone)]
pub struct Cursor {
    pub(super) place: Arc<Place>,
    pub(super) shared: Arc<Shared>,
}

impl Cursor {
    /// States which records the consumer needs, so that [compaction](super::Journal::compact) can remove the others
    /// when the consumer is stuck. To be said once, before trimming is allowed; a second interest is ignored.
    #[must_use]
    pub fn wanting(self, wants: impl Fn(Kind, &Bytes) -> bool + Send + Sync + 'static) -> Self {
        let _ = self.place.wants.set(Box::new(wants));
        self
    }

    /// The name it was registered with.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// The last position that the consumer is done with.
    pub fn position(&self) -> Position {
        self.place.position()
    }

    /// Moves forward to `position`. Only to be called when the owner has that position on disk: the journal removes
    /// what all cursors have passed. Moving backwards has no effect.
    pub fn advance(&self, position: Position) {
        if let Some(before) = self.place.advance(position) {
            self.shared.moved(&self.place, before);
        }
    }

    /// How far the consumer is behind what is on disk.
    pub fn lag(&self) -> Lag {
        self.place.lag(&self.shared)
    }

    /// Tells whether the consumer is further behind than its budget.
    pub fn over_budget(&self) -> bool {
        self.place.is_over(&self.shared)
    }

    /// How many positions the journal has given up for this consumer since it was registered.
    pub fn gap(&self) -> u64 {
        self.place.gap()
    }

    /// The position up to which the backlog has to go for the lag to be three quarters of the budget again;
    /// `None` while the consumer is within its budget.
    pub fn excess(&self) -> Option<Position> {
        self.shared.excess(&self.place)
    }

    /// Takes the cursor away: it pins nothing any more.
    pub fn remove(self) {
        self.shared.remove_cursor(&self.place.name);
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("name", &self.name()).field("position", &self.position()).finish()
    }
}
