//! Dead letters that an operator sends again: they take the way of any other input, between two batches of the journal.
//!
//! A letter is deleted in the transaction of its effects, or gets its newest reason in one. The next letters are read
//! when that is committed, so none is handled twice.

use bytestring::ByteString;
use causeway_core::message::Message;

use super::super::calls::Reason;
use super::super::intake::{Input, Taken};
use super::Running;
use crate::store::dead_letters::{self, Kept};

/// Letters that are read at once.
const PAGE: usize = 64;

/// Where a walk over the waiting letters stands: behind this position and number.
type Place = (u64, i64);

/// The walk over the letters that wait for a partition.
#[derive(Debug)]
pub(super) struct Replay {
    /// None when every letter has been seen since the last order.
    walk: Option<Place>,
    orders: u64,
    /// Nothing newer is handled before the walk has ended.
    first: bool,
}

impl Replay {
    /// The first walk finds what the last run left.
    pub(super) const fn new() -> Self {
        Self { walk: Some((0, 0)), orders: 0, first: false }
    }

    /// Begins anew; `first` when letters of a version that is gone have to take effect before anything newer.
    pub(super) const fn again(&mut self, first: bool) {
        (self.walk, self.first) = (Some((0, 0)), first);
    }

    /// Whether nothing newer is to be handled before the walk has ended.
    pub(super) const fn comes_first(&self) -> bool {
        self.first && self.walk.is_some()
    }

    /// Begins anew when there was an order since the last time.
    fn hear(&mut self, orders: u64) {
        if orders > self.orders {
            (self.walk, self.orders) = (Some((0, 0)), orders);
        }
    }
}

impl Running {
    /// Handles the next letters that are to be handled again; says whether there may be more.
    pub(super) fn replay(&mut self) -> bool {
        self.replay.hear(self.orders.borrow().replays);
        let Some(after) = self.replay.walk else { return false };
        if self.parked || self.signals.draining.is_cancelled() {
            return false;
        }
        let name = self.worker.binding.config.name.clone();
        let read = self.worker.parts.store.read_blocking(|store| dead_letters::next(store, &name, after, PAGE));
        let letters = match read {
            Ok(letters) => letters,
            Err(error) => {
                tracing::error!(binding = name, %error, "dead letters cannot be read; they are sent again at the next order");
                self.replay.walk = None;
                return false;
            }
        };
        self.replay.walk = letters.last().map(|last| (last.letter.position.unwrap_or(0), last.id));
        let inputs = letters.into_iter().filter_map(|kept| self.input(kept)).collect();
        let assigned = self.assigned.number;
        self.handle(Taken::of(inputs), None);
        self.commit();
        if self.assigned.number != assigned {
            // Another version was asked to begin anew.
            return true;
        }
        self.replay.walk.is_some()
    }

    /// The message of a letter, if this partition handles it.
    fn input(&mut self, kept: Kept) -> Option<Input> {
        let (position, letter) = (kept.letter.position, Some(kept.id));
        match Message::decode(&kept.letter.message.into()) {
            Ok(message) => {
                let key = self.worker.binding.key(&message);
                let mine = self.worker.binding.partition(&key) == self.worker.partition;
                mine.then_some(Input { position, key, letter, message })
            }
            Err(error) => {
                let input = Input { position: None, key: ByteString::new(), letter, message: Message::default() };
                self.dead_letter(&input, &Reason::new("malformed", format!("the letter is not readable: {error}")));
                None
            }
        }
    }
}
