//! The subscription trie: which subscribers does a topic reach?
//!
//! A pure data structure over topic levels (MQTT5 4.7). Filters are checked before they come here, matching allocates
//! nothing, and a node without subscribers and children is removed, so that filters of the past cost nothing.

use std::collections::HashMap;

const ROOT: usize = 0;

/// A set of `(filter, key) -> value`, matched by topic.
#[derive(Debug)]
pub struct Trie<K, V> {
    nodes: Vec<Node<K, V>>,
    free: Vec<usize>,
    len: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    children: HashMap<Box<str>, usize>,
    /// The child for `+`.
    plus: Option<usize>,
    /// Subscribers of the filter that ends here.
    here: Vec<(K, V)>,
    /// Subscribers of this level with a trailing `#`, which also match the level itself (MQTT5 4.7.1.2).
    rest: Vec<(K, V)>,
}

impl<K, V> Node<K, V> {
    fn new() -> Self {
        Self { children: HashMap::new(), plus: None, here: Vec::new(), rest: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

impl<K: Eq, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq, V> Trie<K, V> {
    /// An empty trie.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: vec![Node::new()], free: Vec::new(), len: 0 }
    }

    /// The number of `(filter, key)` pairs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no subscriber at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds or replaces the value of `key` at `filter`; returns the value that it replaces.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Option<V> {
        let (levels, rest) = split(filter);
        let mut at = ROOT;
        for level in levels.into_iter().flat_map(|levels| levels.split('/')) {
            at = self.child_or_new(at, level);
        }
        let node = self.nodes.get_mut(at)?;
        let list = if rest { &mut node.rest } else { &mut node.here };
        if let Some((_, old)) = list.iter_mut().find(|(k, _)| *k == key) {
            return Some(std::mem::replace(old, value));
        }
        list.push((key, value));
        self.len += 1;
        None
    }

    /// Removes `key` from `filter`; nodes that become empty are freed.
    pub fn remove(&mut self, filter: &str, key: &K) -> Option<V> {
        let (levels, rest) = split(filter);
        let mut path = vec![(ROOT, "")];
        for level in levels.into_iter().flat_map(|levels| levels.split('/')) {
            let (at, _) = *path.last()?;
            path.push((self.child(at, level)?, level));
        }
        let (at, _) = *path.last()?;
        let node = self.nodes.get_mut(at)?;
        let list = if rest { &mut node.rest } else { &mut node.here };
        let index = list.iter().position(|(k, _)| k == key)?;
        let (_, value) = list.swap_remove(index);
        if list.is_empty() {
            *list = Vec::new();
        }
        self.len -= 1;
        self.prune(&path);
        Some(value)
    }

    /// Calls `found` for each subscriber whose filter matches `topic`, once per filter.
    pub fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a K, &'a V)) {
        // Topics that begin with `$` are not matched by a leading wildcard (MQTT5 4.7.2).
        self.walk(ROOT, Some(topic), topic.starts_with('$'), &mut found);
    }

    fn walk<'a>(&'a self, at: usize, topic: Option<&str>, dollar: bool, found: &mut impl FnMut(&'a K, &'a V)) {
        let Some(node) = self.nodes.get(at) else { return };
        if !dollar {
            node.rest.iter().for_each(|(key, value)| found(key, value));
        }
        let Some(topic) = topic else {
            node.here.iter().for_each(|(key, value)| found(key, value));
            return;
        };
        let (level, next) = match topic.split_once('/') {
            Some((level, next)) => (level, Some(next)),
            None => (topic, None),
        };
        if let Some(&child) = node.children.get(level) {
            self.walk(child, next, false, found);
        }
        if let (Some(child), false) = (node.plus, dollar) {
            self.walk(child, next, false, found);
        }
    }

    fn child(&self, at: usize, level: &str) -> Option<usize> {
        let node = self.nodes.get(at)?;
        if level == "+" { node.plus } else { node.children.get(level).copied() }
    }

    fn child_or_new(&mut self, at: usize, level: &str) -> usize {
        if let Some(child) = self.child(at, level) {
            return child;
        }
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::new());
            self.nodes.len() - 1
        });
        if let Some(node) = self.nodes.get_mut(at) {
            if level == "+" {
                node.plus = Some(child);
            } else {
                node.children.insert(level.into(), child);
            }
        }
        child
    }

    /// Frees the empty nodes at the end of `path`.
    fn prune(&mut self, path: &[(usize, &str)]) {
        for pair in path.windows(2).rev() {
            let [(parent, _), (child, level)] = pair else { return };
            if !self.nodes.get(*child).is_some_and(Node::is_empty) {
                return;
            }
            self.free.push(*child);
            if let Some(node) = self.nodes.get_mut(*child) {
                *node = Node::new();
            }
            if let Some(node) = self.nodes.get_mut(*parent) {
                if *level == "+" {
                    node.plus = None;
                } else {
                    node.children.remove(*level);
                    if node.children.is_empty() {
                        node.children = HashMap::new();
                    }
                }
            }
        }
    }
}

/// A filter's levels without a trailing `#`, and whether it had one; no levels at all for `#` alone.
fn split(filter: &str) -> (Option<&str>, bool) {
    match filter.strip_suffix('#') {
        Some("") => (None, true),
        Some(levels) => (Some(levels.strip_suffix('/').unwrap_or(levels)), true),
        None => (Some(filter), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reached(trie: &Trie<u32, ()>, topic: &str) -> Vec<u32> {
        let mut keys = Vec::new();
        trie.matches(topic, |key, ()| keys.push(*key));
        keys.sort_unstable();
        keys
    }

    fn check(filter: &str, topic: &str, expected: bool) {
        let mut trie = Trie::new();
        trie.insert(filter, 1, ());
        assert_eq!(reached(&trie, topic), if expected { vec![1] } else { vec![] }, "{filter} against {topic}");
    }

    #[test]
    fn wildcards_follow_the_specification() {
        check("a/b", "a/b", true);
        check("a/b", "a/c", false);
        check("a/+", "a/b", true);
        check("a/+", "a", false);
        check("a/+", "a/b/c", false);
        check("+", "a", true);
        check("+", "/a", false);
        check("/+", "/a", true);
        check("+/+", "/a", true);
        check("a/#", "a", true);
        check("a/#", "a/b/c", true);
        check("a/#", "ab", false);
        check("#", "a/b", true);
        check("#", "/", true);
        check("+/b/#", "a/b", true);
        check("a//b", "a//b", true);
        check("a/+/b", "a//b", true);
        check("/", "/", true);
        check("/#", "/", true);
        check("/#", "a", false);
    }

    #[test]
    fn a_leading_wildcard_does_not_match_a_dollar_topic() {
        check("#", "$SYS/a", false);
        check("+/a", "$SYS/a", false);
        check("$SYS/#", "$SYS/a", true);
        check("$SYS/+", "$SYS/a", true);
    }

    #[test]
    fn removed_filters_leave_no_nodes_behind() {
        let mut trie = Trie::new();
        for round in 0..10u32 {
            let filter = format!("a/{round}/+/c/#");
            trie.insert(&filter, round, ());
            assert_eq!(trie.remove(&filter, &round), Some(()));
        }
        assert!(trie.is_empty());
        assert!(trie.nodes.len() <= 6, "{} nodes", trie.nodes.len());
        assert_eq!(trie.remove("a/1", &1), None);
    }

    #[test]
    fn a_second_insert_replaces_the_value() {
        let mut trie = Trie::new();
        assert_eq!(trie.insert("a/#", 1, 'x'), None);
        assert_eq!(trie.insert("a/#", 1, 'y'), Some('x'));
        assert_eq!(trie.len(), 1);
    }

    /// Level by level, as the specification's text reads.
    fn oracle(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => oracle(filter, topic),
            ([level, filter @ ..], [name, topic @ ..]) if level == name => oracle(filter, topic),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_a_level_by_level_oracle(
            filters in proptest::collection::vec("(a|b|[+]|)(/(a|b|[+]|)){0,3}(/#)?", 1..8),
            topic in "(a|b|)(/(a|b|)){0,4}",
        ) {
            let mut trie = Trie::new();
            for (key, filter) in (0u32..).zip(&filters) {
                trie.insert(filter, key, ());
            }
            let levels: Vec<&str> = topic.split('/').collect();
            let expected: Vec<u32> = (0u32..)
                .zip(&filters)
                .filter(|(_, filter)| oracle(&filter.split('/').collect::<Vec<_>>(), &levels))
                .map(|(key, _)| key)
                .collect();
            prop_assert_eq!(reached(&trie, &topic), expected);
            for (key, filter) in (0u32..).zip(&filters) {
                prop_assert_eq!(trie.remove(filter, &key), Some(()));
            }
            prop_assert_eq!(trie.nodes.len(), trie.free.len() + 1);
        }
    }
}
