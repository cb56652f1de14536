//! Where the partitions of a binding stand in the journal, also when they are others than at the last start.
//!
//! With another number of partitions, or another key, messages move between partitions that stood at different places.
//! All then begin where the last of them stood, and step over what the partition that a message was in had handled
//! already: nothing is lost, and nothing takes effect twice.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use crate::journal::Position;
use crate::store::cursors;

/// Marks the cursors of a spread that is no longer in use; no variable has a `-`.
const BEFORE: &str = "before-";

/// How a binding's messages are spread over its partitions, and where each of those stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Spread {
    /// The variable that is the key; none for the sender.
    pub(super) key: Option<String>,
    /// One for each partition.
    at: Vec<Position>,
}

impl Spread {
    /// Whether the partition that a message of this key was in had handled the position.
    pub(super) fn handled(&self, key: &str, position: Position) -> bool {
        self.at.get(partition(key, self.at.len())).is_some_and(|at| position <= *at)
    }

    /// Up to where any of its partitions came.
    pub(super) fn last(&self) -> Option<Position> {
        self.at.iter().max().copied()
    }

    /// The names of its cursors with their positions; `before` numbers a spread that is no longer in use.
    fn named(&self, binding: &str, before: Option<usize>) -> Vec<(String, Position)> {
        let prefix = match (before, &self.key) {
            (None, None) => format!("{binding}/"),
            (None, Some(key)) => format!("{binding}/{key}/"),
            (Some(number), key) => format!("{binding}/{BEFORE}{number}/{}/", key.as_deref().unwrap_or_default()),
        };
        self.at.iter().enumerate().map(|(partition, at)| (format!("{prefix}{partition}"), *at)).collect()
    }
}

/// The partition of a key: the same for all messages of the key, in every run.
pub(super) fn partition(key: &str, partitions: usize) -> usize {
    crc32c::crc32c(key.as_bytes()) as usize % partitions.max(1)
}

/// The places of a binding.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Places {
    /// One named cursor for each partition.
    pub(super) cursors: Vec<(String, Position)>,
    /// What earlier spreads had handled beyond the place where the slowest partition stands now.
    pub(super) before: Vec<Spread>,
}

/// Finds the places of a binding and stores what has changed; without partitions it forgets them. A binding that was not
/// there before begins at `end`.
pub(super) fn settle(
    tx: &Transaction<'_>,
    binding: &str,
    key: Option<&str>,
    partitions: u16,
    end: Position,
) -> rusqlite::Result<Places> {
    let prefix = format!("{binding}/");
    let known: Vec<_> = cursors::all(tx)?.into_iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
    let mut spreads = read(&known);
    let current = spreads.remove(&None).unwrap_or_default();
    let mut before: Vec<_> = spreads.into_values().collect();
    let partitions = usize::from(partitions);
    let slowest = current.at.iter().min().copied().unwrap_or(end);
    let spread = if current.at.len() == partitions && current.key.as_deref() == key {
        current
    } else {
        before.push(current);
        Spread { key: key.map(str::to_owned), at: vec![slowest; partitions] }
    };
    before.retain(|spread| partitions > 0 && spread.last().is_some_and(|last| last > slowest));
    let cursors = spread.named(binding, None);
    let passed = before.iter().enumerate().flat_map(|(number, spread)| spread.named(binding, Some(number)));
    let now: Vec<_> = cursors.iter().cloned().chain(passed).collect();
    if now != known {
        known.iter().try_for_each(|(name, _)| cursors::delete(tx, name))?;
        now.iter().try_for_each(|(name, at)| cursors::set(tx, name, *at))?;
    }
    Ok(Places { cursors, before })
}

/// The spread in use, under none, and the earlier ones by their marks, from the names of cursors.
fn read(known: &[(String, Position)]) -> BTreeMap<Option<&str>, Spread> {
    let mut found: BTreeMap<_, BTreeMap<usize, Position>> = BTreeMap::new();
    for (name, at) in known {
        let parts: Vec<_> = name.split('/').skip(1).collect();
        let (mark, key, partition) = match parts.as_slice() {
            [partition] => (None, "", partition),
            [mark, key, partition] if mark.starts_with(BEFORE) => (Some(*mark), *key, partition),
            [key, partition] => (None, *key, partition),
            _ => continue,
        };
        if let Ok(partition) = partition.parse() {
            found.entry((mark, key)).or_default().insert(partition, *at);
        }
    }
    let spread = |((mark, key), at): ((_, &str), BTreeMap<usize, Position>)| {
        let key = (!key.is_empty()).then(|| key.to_owned());
        (mark, Spread { key, at: at.into_values().collect() })
    };
    found.into_iter().map(spread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn at(positions: &[Position]) -> Spread {
        Spread { key: None, at: positions.to_vec() }
    }

    /// Moves the cursors of a binding to these positions.
    fn advance(tx: &Transaction<'_>, places: &Places, positions: &[Position]) -> rusqlite::Result<()> {
        places.cursors.iter().zip(positions).try_for_each(|((name, _), at)| cursors::set(tx, name, *at))
    }

    #[test]
    fn a_new_binding_begins_at_the_end_of_the_journal_and_an_old_one_where_it_stood() {
        scratch(|tx| {
            let places = settle(tx, "b", None, 2, 7)?;
            assert_eq!(places.cursors, [("b/0".to_owned(), 7), ("b/1".to_owned(), 7)]);
            advance(tx, &places, &[9, 8])?;
            let places = settle(tx, "b", None, 2, 100)?;
            assert_eq!(places.cursors, [("b/0".to_owned(), 9), ("b/1".to_owned(), 8)]);
            assert_eq!(places.before, []);
            Ok(())
        });
    }

    #[test]
    fn after_a_change_all_begin_where_the_last_stood_and_know_what_was_handled() {
        scratch(|tx| {
            advance(tx, &settle(tx, "b", None, 2, 1)?, &[9, 5])?;
            let places = settle(tx, "b", Some("device"), 3, 100)?;
            assert!(places.cursors.iter().all(|(name, at)| name.starts_with("b/device/") && *at == 5), "{places:?}");
            assert_eq!(places.before, [at(&[9, 5])]);
            // It still knows after another start, and after another change.
            assert_eq!(settle(tx, "b", Some("device"), 3, 100)?, places);
            advance(tx, &places, &[6, 20, 6])?;
            let places = settle(tx, "b", None, 1, 100)?;
            assert_eq!(places.cursors, [("b/0".to_owned(), 6)]);
            assert_eq!(places.before, [at(&[9, 5]), Spread { key: Some("device".to_owned()), at: vec![6, 20, 6] }]);
            // It forgets what all have passed.
            advance(tx, &places, &[20])?;
            assert_eq!(settle(tx, "b", None, 1, 100)?.before, []);
            assert_eq!(cursors::all(tx)?.len(), 1);
            Ok(())
        });
    }

    #[test]
    fn a_binding_that_is_no_longer_durable_has_no_places() {
        scratch(|tx| {
            advance(tx, &settle(tx, "b", None, 2, 1)?, &[9, 5])?;
            settle(tx, "b2", None, 1, 3)?;
            assert_eq!(settle(tx, "b", None, 0, 100)?, Places::default());
            assert_eq!(cursors::all(tx)?, [("b2/0".to_owned(), 3)]);
            Ok(())
        });
    }

    #[test]
    fn a_spread_says_what_the_partition_of_a_key_had_handled() {
        let spread = at(&[9, 5]);
        let slow = (0..).map(|n| format!("d{n}")).find(|key| partition(key, 2) == 1).unwrap();
        let fast = (0..).map(|n| format!("d{n}")).find(|key| partition(key, 2) == 0).unwrap();
        assert!(spread.handled(&slow, 5) && !spread.handled(&slow, 6));
        assert!(spread.handled(&fast, 9) && !spread.handled(&fast, 10));
    }
}
