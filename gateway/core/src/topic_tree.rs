//! A map of topics that is searched by filter: which retained messages does a subscription get?
//!
//! The counterpart of [`crate::trie`]: there filters are kept and a topic asks, here topics are kept and a filter asks.

use std::collections::BTreeMap;

/// A map from topics to values.
#[derive(Debug)]
pub struct TopicTree<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Debug)]
struct Node<V> {
    value: Option<V>,
    children: BTreeMap<Box<str>, Self>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { value: None, children: BTreeMap::new() }
    }
}

impl<V> Default for TopicTree<V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<V> TopicTree<V> {
    /// The number of topics.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no topic.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the value of a topic; returns the one that it replaces.
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        let node = topic.split('/').fold(&mut self.root, |node, level| node.children.entry(level.into()).or_default());
        let old = node.value.replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// The value of a topic.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&V> {
        topic.split('/').try_fold(&self.root, |node, level| node.children.get(level))?.value.as_ref()
    }

    /// Removes a topic with the levels that only it needed.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let removed = self.root.remove(Some(topic));
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `found` for the value of each topic that the filter matches, in the order of topics.
    pub fn matching<'a>(&'a self, filter: &str, mut found: impl FnMut(&'a V)) {
        self.root.matching(Some(filter), true, &mut found);
    }
}

impl<V> Node<V> {
    fn remove(&mut self, topic: Option<&str>) -> Option<V> {
        let Some(topic) = topic else { return self.value.take() };
        let (level, rest) = split(topic);
        let child = self.children.get_mut(level)?;
        let removed = child.remove(rest);
        if child.value.is_none() && child.children.is_empty() {
            self.children.remove(level);
        }
        removed
    }

    fn matching<'a>(&'a self, filter: Option<&str>, first: bool, found: &mut impl FnMut(&'a V)) {
        let Some(filter) = filter else {
            self.value.iter().for_each(found);
            return;
        };
        let (level, rest) = split(filter);
        match level {
            "#" => self.all(first, found),
            "+" => {
                for (name, child) in &self.children {
                    // A leading wildcard does not match a topic that begins with `$` (MQTT5 4.7.2).
                    if !(first && name.starts_with('$')) {
                        child.matching(rest, false, found);
                    }
                }
            }
            level => {
                if let Some(child) = self.children.get(level) {
                    child.matching(rest, false, found);
                }
            }
        }
    }

    /// This level and everything below it.
    fn all<'a>(&'a self, first: bool, found: &mut impl FnMut(&'a V)) {
        self.value.iter().for_each(&mut *found);
        for (name, child) in &self.children {
            if !(first && name.starts_with('$')) {
                child.all(false, found);
            }
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::filter_matches;
    use proptest::prelude::*;

    #[test]
    fn a_removed_topic_takes_its_levels_with_it() {
        let mut tree = TopicTree::default();
        tree.insert("a/b/c", 1);
        tree.insert("a/b", 2);
        assert_eq!(tree.remove("a/b/c"), Some(1));
        assert_eq!(tree.remove("a/b/c"), None);
        assert_eq!(tree.get("a/b"), Some(&2));
        assert_eq!(tree.remove("a/b"), Some(2));
        assert!(tree.is_empty() && tree.root.children.is_empty());
    }

    proptest! {
        #[test]
        fn a_filter_finds_exactly_the_topics_that_it_matches(
            topics in proptest::collection::btree_set("([$]S|a|b|)(/(a|b|)){0,3}", 1..12),
            filter in "([$]S|a|b|[+]|)(/(a|b|[+]|)){0,3}(/#)?|#",
        ) {
            let mut tree = TopicTree::default();
            for topic in &topics {
                tree.insert(topic, topic.clone());
            }
            let mut found = Vec::new();
            tree.matching(&filter, |topic| found.push(topic.clone()));
            found.sort();
            let expected: Vec<String> = topics.iter().filter(|topic| filter_matches(&filter, topic)).cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
