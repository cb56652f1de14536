//! Finds the line of a key in a YAML text.
//!
//! Values carry no position once they are parsed. So the text is read again with a visitor that walks
//! to the key and fails there on purpose: the YAML reader adds the position to the failure. That costs
//! one pass for each problem and is exact for every style of YAML, anchors and flow style included.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The value of a key of a mapping.
    Key(String),
    /// An item of a list, counted from 0.
    Index(usize),
}

/// Writes a path as an operator would: `listeners[0].tls.key`.
pub(crate) fn show(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => text.extend([".", key]),
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Returns the line of the last part of `path` that exists, or none when not even the first does.
pub(crate) fn line(text: &str, path: &[Segment]) -> Option<usize> {
    (1..=path.len()).rev().find_map(|length| {
        let probe = Probe(path.get(..length)?);
        let failure = probe.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        failure.to_string().contains(FOUND).then(|| failure.location().map(|at| at.line()))?
    })
}

const FOUND: &str = "found the key that was looked for";

/// Walks down the path and fails when it has arrived.
#[derive(Clone, Copy)]
struct Probe<'p>(&'p [Segment]);

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a list on the way to the key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Segment::Key(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom(if self.0.is_empty() { FOUND } else { "a list was expected" }));
        };
        while let Some(matches) = map.next_key_seed(KeyProbe { wanted, last: rest.is_empty() })? {
            if matches {
                map.next_value_seed(Probe(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Segment::Index(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom(if self.0.is_empty() { FOUND } else { "a mapping was expected" }));
        };
        for _ in 0..*wanted {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        list.next_element_seed(Probe(rest))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

impl Probe<'_> {
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom(FOUND)) } else { Ok(()) }
    }
}

/// Compares a key, and fails at the last one of the path so that the key's own line is reported.
struct KeyProbe<'p> {
    wanted: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyProbe<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.last => Err(E::custom(FOUND)),
            same => Ok(same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &[Segment], expected: Option<usize>) {
        assert_eq!(line(text, path), expected, "{} in\n{text}", show(path));
    }

    fn key(name: &str) -> Segment {
        Segment::Key(name.to_owned())
    }

    const TEXT: &str = "\
# a comment
mqtt:
  write_timeout: 3s
  'quoted': 1
listeners:
- name: a
  tls: {certificate: x,
    key: y}
- name: b
plain: [1,
  2]
";

    #[test]
    fn keys_of_block_mappings_are_found() {
        check(TEXT, &[key("mqtt")], Some(2));
        check(TEXT, &[key("mqtt"), key("write_timeout")], Some(3));
        check(TEXT, &[key("mqtt"), key("quoted")], Some(4));
    }

    #[test]
    fn items_and_flow_style_are_found() {
        check(TEXT, &[key("listeners"), Segment::Index(1), key("name")], Some(9));
        check(TEXT, &[key("listeners"), Segment::Index(0), key("tls"), key("key")], Some(8));
        check(TEXT, &[key("plain"), Segment::Index(1)], Some(11));
    }

    #[test]
    fn a_missing_key_is_reported_at_its_parent() {
        check(TEXT, &[key("listeners"), Segment::Index(1), key("bind")], Some(9));
        check(TEXT, &[key("mqtt"), key("write_timeout"), key("deeper")], Some(3));
        check(TEXT, &[key("nowhere")], None);
    }

    proptest::proptest! {
        #[test]
        fn every_generated_key_is_found_at_the_line_it_was_written(
            names in proptest::collection::vec("[a-z]{1,8}", 1..20), target in 0usize..20,
        ) {
            // Each key is unique by its number, nests or returns by its length, and has its own line.
            let mut text = String::new();
            let mut path: Vec<Segment> = Vec::new();
            let mut expected = Vec::new();
            for (number, name) in names.iter().enumerate() {
                path.truncate(name.len() % 4);
                let name = format!("{name}{number}");
                text.push_str(&format!("{}{name}:\n", "  ".repeat(path.len())));
                path.push(key(&name));
                expected.push(path.clone());
            }
            let target = target % expected.len();
            proptest::prop_assert_eq!(line(&text, &expected[target]), Some(target + 1));
        }
    }
}
