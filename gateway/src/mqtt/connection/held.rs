//! Replies and messages that may leave only when the journal has what they stand on.
//!
//! One queue keeps the order of acknowledgements that MQTT asks for (MQTT5 4.6): a reply that waits for nothing still
//! waits for the replies before it.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::journal::Position;
use crate::mqtt::wire::Reply;

/// What waits.
#[derive(Debug)]
pub(super) enum Waiting {
    /// An answer to the client.
    Reply(Reply),
    /// The PUBLISH of an inflight packet id.
    Publish(u16),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Held {
    queue: VecDeque<(Position, Instant, Waiting)>,
    /// How many of them are messages.
    messages: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether messages wait: later ones must not overtake them.
    pub(super) fn has_messages(&self) -> bool {
        self.messages > 0
    }

    /// Since when the oldest entry waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|(_, since, _)| *since)
    }

    /// Adds an entry; gives it back when it need not wait.
    pub(super) fn push(&mut self, position: Option<Position>, waiting: Waiting) -> Option<Waiting> {
        let last = self.queue.back().map(|(position, _, _)| *position);
        let Some(position) = position.max(last) else { return Some(waiting) };
        self.messages += usize::from(matches!(waiting, Waiting::Publish(_)));
        self.queue.push_back((position, Instant::now(), waiting));
        None
    }

    /// The oldest entry, if the journal is on disk up to its position.
    pub(super) fn pop(&mut self, durable: Position) -> Option<Waiting> {
        let (position, ..) = self.queue.front()?;
        if *position > durable {
            return None;
        }
        let (_, _, waiting) = self.queue.pop_front()?;
        self.messages -= usize::from(matches!(waiting, Waiting::Publish(_)));
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(waiting)
    }

    /// Whether the PUBREC of a packet id waits: a repeated PUBLISH gets no second answer then.
    pub(super) fn has_pubrec(&self, id: u16) -> bool {
        self.queue
            .iter()
            .any(|(_, _, waiting)| matches!(waiting, Waiting::Reply(Reply::PubRec(ack, _)) if ack.packet_id == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_order_and_not_before_their_position() {
        let mut held = Held::default();
        assert!(held.push(None, Waiting::Publish(1)).is_some(), "nothing to wait for");
        assert!(held.push(Some(7), Waiting::Publish(2)).is_none());
        assert!(held.push(None, Waiting::Publish(3)).is_none(), "it waits for the one before it");
        assert!(held.push(Some(5), Waiting::Publish(4)).is_none());
        assert!(held.pop(6).is_none());
        let ids: Vec<u16> = std::iter::from_fn(|| held.pop(7))
            .map(|waiting| match waiting {
                Waiting::Publish(id) => id,
                Waiting::Reply(_) => 0,
            })
            .collect();
        assert_eq!(ids, [2, 3, 4]);
        assert!(held.oldest().is_none());
    }
}
