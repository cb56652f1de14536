//! What plugin bindings want of the messages, as the front door has to know it.
//!
//! A topic that a durable binding wants must be journalled before its publisher is acknowledged; a live binding is
//! handed its messages as they come. What a binding does with them is [`crate::dispatch`]'s.

use std::sync::Arc;

use causeway_core::message::Message;
use causeway_core::trie::Trie;

/// A durable binding, seen from the front door.
pub struct DurableInterest {
    /// The topics that it handles.
    pub filters: Vec<String>,
    /// Whether it is so far behind that further messages for it are refused.
    pub over_budget: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A live binding, seen from the front door.
pub struct LiveInterest {
    /// The topics that it handles.
    pub filters: Vec<String>,
    /// Takes a message without waiting.
    pub offer: Box<dyn Fn(&Message) + Send + Sync>,
}

/// The wants of all bindings.
#[derive(Default)]
pub struct Interest {
    durable: Trie<usize, Arc<DurableInterest>>,
    live: Trie<usize, Arc<LiveInterest>>,
}

/// The answer for one topic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// A durable binding wants it.
    pub durable: bool,
    /// One of them has no room for it.
    pub over_budget: bool,
}

impl Interest {
    /// The wants of these bindings.
    #[must_use]
    pub fn new(durable: Vec<DurableInterest>, live: Vec<LiveInterest>) -> Self {
        let mut interest = Self::default();
        for (index, binding) in durable.into_iter().map(Arc::new).enumerate() {
            for filter in &binding.filters {
                interest.durable.insert(filter, index, binding.clone());
            }
        }
        for (index, binding) in live.into_iter().map(Arc::new).enumerate() {
            for filter in &binding.filters {
                interest.live.insert(filter, index, binding.clone());
            }
        }
        interest
    }

    /// What durable bindings want of a topic.
    #[must_use]
    pub fn durable(&self, topic: &str) -> Wanted {
        let mut wanted = Wanted::default();
        self.durable.matches(topic, |_, binding| {
            wanted.durable = true;
            wanted.over_budget |= (binding.over_budget)();
        });
        wanted
    }

    /// Hands a message to each live binding that wants it, once.
    pub fn offer(&self, message: &Message) {
        let mut offered = Vec::new();
        self.live.matches(&message.topic, |index, binding| {
            // Two filters of one binding may match.
            if !offered.contains(index) {
                (binding.offer)(message);
                offered.push(*index);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_topic_that_a_full_binding_wants_is_refused_and_others_are_not() {
        let full = Arc::new(AtomicBool::new(true));
        let seen = full.clone();
        let binding = |filter: &str, over_budget: Box<dyn Fn() -> bool + Send + Sync>| DurableInterest {
            filters: vec![filter.to_owned()],
            over_budget,
        };
        let blocked = binding("a/+", Box::new(move || seen.load(Ordering::Relaxed)));
        let interest = Interest::new(vec![blocked, binding("b", Box::new(|| false))], Vec::new());
        assert_eq!(interest.durable("a/1"), Wanted { durable: true, over_budget: true });
        assert_eq!(interest.durable("b"), Wanted { durable: true, over_budget: false });
        assert_eq!(interest.durable("c"), Wanted::default());
        full.store(false, Ordering::Relaxed);
        assert_eq!(interest.durable("a/1"), Wanted { durable: true, over_budget: false });
    }

    #[test]
    fn a_live_binding_gets_a_message_once_whatever_matches() {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        let offer = move |_: &Message| {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        let filters = vec!["a/#".to_owned(), "a/+".to_owned()];
        let interest = Interest::new(Vec::new(), vec![LiveInterest { filters, offer: Box::new(offer) }]);
        interest.offer(&Message { topic: "a/b".into(), ..Message::default() });
        interest.offer(&Message { topic: "b".into(), ..Message::default() });
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
