//! Declares a section of the configuration once: fields, defaults, bounds and reference come from it.
//!
//! A line reads `name: Type = default => live|restart, required "example", in low..=high, hit "metric";`
//! with the last three optional and in that order. `live` means that a reload picks the change up.

use serde_yaml::Value;

use super::locate::Segment;
use super::setting::{Node, Notes};

/// What a section knows of itself.
pub(crate) trait Section: Default {
    /// The names of its keys.
    const KEYS: &'static [&'static str];
}

/// Notes keys that a section does not have, each with the nearest that it has.
pub(crate) fn unknown_keys(node: &Node<'_>, known: &[&str], notes: &mut Notes) {
    for (key, value) in node.value.as_mapping().into_iter().flatten() {
        let name = super::setting::plain(&serde_json::to_value(key).unwrap_or_default());
        if !known.contains(&name.as_str()) {
            let remedy = match nearest(&name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys here: {}", known.join(", ")),
            };
            notes.value(&node.key(&name, value), "is not a known key", remedy);
        }
    }
}

/// Returns the value of a key; a key without a value (`mqtt:`) counts as not written.
pub(crate) fn written<'a>(node: &Node<'a>, key: &str) -> Option<Node<'a>> {
    let value = node.value.as_mapping()?.get(key)?;
    (!matches!(value, Value::Null)).then(|| node.key(key, value))
}

/// Notes a key that has to be there.
pub(crate) fn missing(node: &Node<'_>, key: &str, example: &str, notes: &mut Notes) {
    let mut path = node.path.clone();
    path.push(Segment::Key(key.to_owned()));
    notes.at(path, "is missing", format!("add it, for example `{key}: {example}`"));
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    const MOST_EDITS: usize = 3;
    let scored = known.iter().map(|key| (edits(name, key), *key)).min()?;
    (scored.0 <= MOST_EDITS.min(name.chars().count() / 2)).then_some(scored.1)
}

/// The number of insertions, deletions and replacements between two words.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, left) in left.chars().enumerate() {
        let mut diagonal = at;
        let mut previous = at + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = *cell;
            previous = replaced.min(diagonal + 1).min(previous + 1);
            *cell = previous;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $ty:ty = $default:expr => $change:ident
                    $(, required $example:literal)? $(, in $bounds:expr)? $(, hit $metric:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $crate::config::section::Section for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl $crate::config::setting::Setting for $name {
            fn kind() -> String {
                "a mapping".to_owned()
            }

            fn read(
                node: &$crate::config::setting::Node<'_>,
                notes: &mut $crate::config::setting::Notes,
            ) -> Option<Self> {
                use $crate::config::section::{Section, unknown_keys, written};
                if !node.value.is_mapping() {
                    return $crate::config::setting::wrong(node, notes);
                }
                unknown_keys(node, Self::KEYS, notes);
                let mut own = Self::default();
                $(
                    match written(node, stringify!($field)) {
                        Some(value) => {
                            let read = <$ty as $crate::config::setting::Setting>::read(&value, notes);
                            $(let read = read.and_then(
                                |read| $crate::config::setting::bounded(read, &$bounds, &value, notes));)?
                            if let Some(read) = read {
                                own.$field = read;
                            }
                        }
                        None => { $($crate::config::section::missing(node, stringify!($field), $example, notes);)? }
                    }
                )*
                Some(own)
            }

            fn show(&self) -> serde_json::Value {
                let mut shown = serde_json::Map::new();
                $(shown.insert(
                    stringify!($field).to_owned(),
                    $crate::config::setting::Setting::show(&self.$field),
                );)*
                shown.into()
            }

            fn describe(own: $crate::config::reference::Row, rows: &mut $crate::config::reference::Rows) {
                let defaults = Self::default();
                rows.section(&own, concat!($($about),+));
                $(
                    #[allow(unused_mut, reason = "a key without bounds, metric or requirement has nothing to set")]
                    let mut row = own.below(
                        stringify!($field),
                        <$ty as $crate::config::setting::Setting>::kind(),
                        $crate::config::setting::Setting::show(&defaults.$field),
                        stringify!($change),
                        concat!($($doc),+),
                    );
                    $(row.required = $example;)?
                    $(row.bounds = $crate::config::setting::show_bounds::<$ty>(&$bounds);)?
                    $(row.metric = $metric;)?
                    <$ty as $crate::config::setting::Setting>::describe(row, rows);
                )*
            }
        }
    };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        let known = ["max_connections", "ack_timeout", "bind"];
        assert_eq!(nearest("max_conections", &known), Some("max_connections"));
        assert_eq!(nearest("ack-timeout", &known), Some("ack_timeout"));
        assert_eq!(nearest("colour", &known), None);
    }
}
