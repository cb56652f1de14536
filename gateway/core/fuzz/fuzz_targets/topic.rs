//! Topics and filters: the checks and the match never panic, and the trie and the tree find what the match finds.
//!
//! The input is lines: a topic, then filters.

#![no_main]

use causeway_core::topic::{check_filter, check_topic, filter_matches, has_wildcard};
use causeway_core::topic_tree::TopicTree;
use causeway_core::trie::Trie;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let Some(topic) = lines.next().filter(|topic| check_topic(topic).is_ok()) else { return };
    let filters: Vec<&str> = lines.take(32).filter(|filter| check_filter(filter).is_ok()).collect();
    let mut tree = TopicTree::default();
    tree.insert(topic, ());
    let mut trie = Trie::new();
    for (key, filter) in filters.iter().enumerate() {
        trie.insert(filter, key, ());
        let mut matching = false;
        tree.matching(filter, |()| matching = true);
        assert_eq!(matching, filter_matches(filter, topic));
        if !has_wildcard(filter) {
            assert_eq!(filter_matches(filter, topic), *filter == topic);
        }
    }
    let mut found = Vec::new();
    trie.matches(topic, |&key, ()| found.push(key));
    found.sort_unstable();
    let matching = filters.iter().enumerate().filter(|(_, filter)| filter_matches(filter, topic));
    assert_eq!(found, matching.map(|(key, _)| key).collect::<Vec<_>>());
});
