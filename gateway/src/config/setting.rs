//! How one setting is read from YAML, printed and described.
//!
//! A reader never stops at the first problem: it notes it and goes on, so that an operator sees all of
//! them at once. Plain values implement [`Setting`] here; sections do so through the macro in `section.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;
use serde_yaml::Value;

use super::locate::Segment;
use super::reference::{Row, Rows};
use super::units::{Size, parse_duration, parse_size, show_duration};

/// A value at its place in the file.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: Vec<Segment>,
    /// The folder that relative paths start from.
    pub(crate) base: &'a Path,
}

impl<'a> Node<'a> {
    pub(crate) fn key(&self, key: &str, value: &'a Value) -> Self {
        self.child(Segment::Key(key.to_owned()), value)
    }

    fn child(&self, segment: Segment, value: &'a Value) -> Self {
        let mut path = self.path.clone();
        path.push(segment);
        Self { value, path, base: self.base }
    }
}

/// What was found wrong so far, before lines are looked up.
#[derive(Debug, Default)]
pub(crate) struct Notes(pub(crate) Vec<Note>);

#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) path: Vec<Segment>,
    pub(crate) value: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Notes {
    /// Notes a problem with the value at `node`, which is quoted.
    pub(crate) fn value(&mut self, node: &Node<'_>, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Note {
            path: node.path.clone(),
            value: quote(node.value),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes a problem at a path, without a value.
    pub(crate) fn at(&mut self, path: Vec<Segment>, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Note { path, value: String::new(), message: message.into(), remedy: remedy.into() });
    }
}

/// Something an operator can write as the value of a key.
pub(crate) trait Setting: Sized {
    /// What to write, for the reference and for remedies: "a duration, for example `10s`".
    fn kind() -> String;

    /// Reads the value, or notes what is wrong with it.
    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self>;

    /// The value as the effective configuration shows it.
    fn show(&self) -> Json;

    /// Adds this key, or the keys below it, to the reference.
    fn describe(own: Row, rows: &mut Rows) {
        rows.push(own);
    }
}

/// Notes that a value has the wrong type.
pub(crate) fn wrong<T: Setting>(node: &Node<'_>, notes: &mut Notes) -> Option<T> {
    notes.value(node, "has the wrong type", format!("write {}", T::kind()));
    None
}

/// Notes a value outside its bounds; `None` bounds allow everything.
pub(crate) fn bounded<T: Setting + PartialOrd>(
    value: T,
    bounds: &RangeInclusive<T>,
    node: &Node<'_>,
    notes: &mut Notes,
) -> Option<T> {
    if bounds.contains(&value) {
        return Some(value);
    }
    notes.value(node, "is out of bounds", format!("write a value from {}", show_bounds(bounds)));
    None
}

/// Prints bounds for a reader.
pub(crate) fn show_bounds<T: Setting>(bounds: &RangeInclusive<T>) -> String {
    format!("{} to {}", plain(&bounds.start().show()), plain(&bounds.end().show()))
}

/// Prints a JSON value without quotes around a text.
pub(crate) fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn quote(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "nothing".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim_end().to_owned(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Setting for $ty {
            fn kind() -> String {
                "a whole number".to_owned()
            }

            fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
                match node.value.as_u64().and_then(|value| Self::try_from(value).ok()) {
                    Some(value) => Some(value),
                    None => wrong(node, notes),
                }
            }

            fn show(&self) -> Json {
                Json::from(*self)
            }
        }
    )*};
}
integers!(u16, u32, u64, usize);

impl Setting for bool {
    fn kind() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
        node.value.as_bool().map_or_else(|| wrong(node, notes), Some)
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }
}

/// Implements [`Setting`] for a type that is written as a text.
macro_rules! texts {
    ($($ty:ty, $kind:literal, $parse:expr, $show:expr;)*) => {$(
        impl Setting for $ty {
            fn kind() -> String {
                $kind.to_owned()
            }

            fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
                let parse: fn(&str, &Node<'_>) -> Option<Self> = $parse;
                node.value.as_str().and_then(|text| parse(text, node)).map_or_else(|| wrong(node, notes), Some)
            }

            fn show(&self) -> Json {
                let show: fn(&Self) -> String = $show;
                Json::from(show(self))
            }
        }
    )*};
}
texts! {
    String, "a text", |text, _| (!text.is_empty()).then(|| text.to_owned()), Clone::clone;
    Duration, "a duration, for example `10s` or `500ms`", |text, _| parse_duration(text), |own| show_duration(*own);
    Size, "a size, for example `64MiB`", |text, _| parse_size(text), ToString::to_string;
    SocketAddr, "an address with its port, for example `127.0.0.1:9464` or `[::]:8883`",
        |text, _| text.parse().ok(), ToString::to_string;
    PathBuf, "a path", |text, node| (!text.is_empty()).then(|| node.base.join(text)),
        |own| own.display().to_string();
}

impl<T: Setting> Setting for Option<T> {
    fn kind() -> String {
        T::kind()
    }

    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
        T::read(node, notes).map(Some)
    }

    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::show)
    }

    fn describe(own: Row, rows: &mut Rows) {
        T::describe(own, rows);
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn kind() -> String {
        format!("a list of: {}", T::kind())
    }

    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
        let Some(items) = node.value.as_sequence() else { return wrong(node, notes) };
        let read = |(index, value)| T::read(&node.child(Segment::Index(index), value), notes);
        let read: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        read.into_iter().collect()
    }

    fn show(&self) -> Json {
        self.iter().map(T::show).collect()
    }

    fn describe(own: Row, rows: &mut Rows) {
        rows.list::<T>(own);
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn kind() -> String {
        format!("a mapping from a name to {}", T::kind())
    }

    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
        let Some(entries) = node.value.as_mapping() else { return wrong(node, notes) };
        let mut read = Some(Self::new());
        for (key, value) in entries {
            let entry = match key {
                Value::String(name) => T::read(&node.key(name, value), notes).map(|value| (name.clone(), value)),
                // A user id is a natural name to write and YAML reads it as a number.
                Value::Number(name) => {
                    T::read(&node.key(&name.to_string(), value), notes).map(|value| (name.to_string(), value))
                }
                _ => {
                    notes.value(node, "has a key that is not a name", format!("write {}", Self::kind()));
                    None
                }
            };
            read = read.zip(entry).map(|(mut map, (name, value))| {
                map.insert(name, value);
                map
            });
        }
        read
    }

    fn show(&self) -> Json {
        Json::Object(self.iter().map(|(name, value)| (name.clone(), value.show())).collect())
    }
}

/// Any mapping: handed on as it is to the plugin it is meant for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Free(pub serde_json::Map<String, Json>);

impl Setting for Free {
    fn kind() -> String {
        "a mapping that the plugin defines".to_owned()
    }

    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
        match serde_json::to_value(node.value) {
            Ok(Json::Object(entries)) => Some(Self(entries)),
            _ => wrong(node, notes),
        }
    }

    fn show(&self) -> Json {
        Json::Object(self.0.clone())
    }
}

/// Declares an enumeration whose cases are written as fixed words.
macro_rules! choice {
    ($(#[$attribute:meta])* $name:ident { $($(#[doc = $doc:literal])* $case:ident = $word:literal),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $doc])* $case),* }

        impl $name {
            /// The word an operator writes.
            pub fn word(self) -> &'static str {
                match self { $(Self::$case => $word),* }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn kind() -> String {
                ["one of", $(concat!(" `", $word, "`")),*].concat()
            }

            fn read(
                node: &$crate::config::setting::Node<'_>,
                notes: &mut $crate::config::setting::Notes,
            ) -> Option<Self> {
                match node.value.as_str() {
                    $(Some($word) => Some(Self::$case),)*
                    _ => $crate::config::setting::wrong(node, notes),
                }
            }

            fn show(&self) -> serde_json::Value {
                self.word().into()
            }
        }
    };
}
pub(crate) use choice;
