//! The bounded queue of messages that reach a binding from memory: QoS 0, and everything of a live binding.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use causeway_core::message::Message;
use tokio::sync::Notify;

/// One partition's queue. When it is full, the oldest message makes room: newer telemetry says more.
#[derive(Debug)]
pub(super) struct Inbox {
    messages: Mutex<VecDeque<Message>>,
    room: usize,
    arrived: Notify,
}

impl Inbox {
    pub(super) fn new(room: usize) -> Self {
        Self { messages: Mutex::default(), room: room.max(1), arrived: Notify::new() }
    }

    /// Takes a message without waiting; `false` when the oldest had to go.
    pub(super) fn push(&self, message: Message) -> bool {
        let kept = {
            let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
            let full = messages.len() >= self.room;
            if full {
                messages.pop_front();
            }
            messages.push_back(message);
            !full
        };
        self.arrived.notify_one();
        kept
    }

    /// The oldest messages, `most` at most.
    pub(super) fn take(&self, most: usize) -> Vec<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let count = most.min(messages.len());
        messages.drain(..count).collect()
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Resolves when a message has arrived since the last time.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str) -> Message {
        Message { topic: topic.into(), ..Message::default() }
    }

    #[test]
    fn a_full_queue_drops_its_oldest_message() {
        let inbox = Inbox::new(2);
        assert!(inbox.push(message("a")));
        assert!(inbox.push(message("b")));
        assert!(!inbox.push(message("c")));
        let topics: Vec<_> = inbox.take(10).iter().map(|m| m.topic.to_string()).collect();
        assert_eq!(topics, ["b", "c"]);
        assert_eq!(inbox.len(), 0);
    }
}
