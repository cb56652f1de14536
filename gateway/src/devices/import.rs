//! Lists of devices as people have them: CSV, JSON lines, or YAML (and with it a JSON list).
//!
//! In each format `id` is the device, `identities` (or `identity`), `groups` (or `group`), `parent` and `enabled` are
//! what they are in [`Change`], and everything else is an attribute, in JSON and YAML also under `attributes`. What
//! an entry does not mention stays as it is.

mod csv;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::{Change, grammar};

/// Problems of one file that are reported at most.
const MAX_PROBLEMS: usize = 100;

/// One device of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// What the list says about it.
    pub change: Change,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A header line and a line per device; lists in a cell are separated by `|` or `;`.
    Csv,
    /// A JSON object per line.
    JsonLines,
    /// A list of mappings, alone or under `devices`. JSON is YAML.
    Yaml,
}

/// What is wrong with a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportProblem {
    /// Line of the file, or for YAML the number of the entry, from 1.
    pub place: usize,
    /// What is wrong there.
    pub message: String,
}

impl Format {
    /// The format by the end of a file's name.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "yaml" | "yml" | "json" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// Reads a list; all its problems are reported together.
pub fn parse(format: Format, text: &str) -> Result<Vec<Entry>, Vec<ImportProblem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reading = Reading::default();
    match format {
        Format::Csv => reading.csv(text),
        Format::JsonLines => reading.json_lines(text),
        Format::Yaml => reading.yaml(text),
    }
    if reading.problems.is_empty() {
        Ok(reading.entries)
    } else {
        reading.problems.truncate(MAX_PROBLEMS);
        Err(reading.problems)
    }
}

#[derive(Default)]
struct Reading {
    entries: Vec<Entry>,
    ids: HashSet<String>,
    problems: Vec<ImportProblem>,
}

impl Reading {
    fn csv(&mut self, text: &str) {
        let mut records = match csv::records(text) {
            Ok(records) => records.into_iter(),
            Err((line, message)) => return self.problem(line, message),
        };
        let Some((_, heads)) = records.next() else {
            return;
        };
        for (line, cells) in records {
            if cells.len() != heads.len() {
                let message = format!("{} cells under {} heads", cells.len(), heads.len());
                self.problem(line, message);
                continue;
            }
            let named = heads.iter().map(|head| head.trim().to_owned());
            // An empty cell says nothing.
            let object = named
                .zip(cells)
                .filter(|(_, cell)| !cell.is_empty())
                .map(|(head, cell)| (head, Value::String(cell)))
                .collect();
            self.entry(line, object);
        }
    }

    fn json_lines(&mut self, text: &str) {
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            match serde_json::from_str(text) {
                Ok(Value::Object(object)) => self.entry(line, object),
                Ok(_) => self.problem(line, "not a JSON object".to_owned()),
                Err(error) => self.problem(line, error.to_string()),
            }
        }
    }

    fn yaml(&mut self, text: &str) {
        let list = match serde_yaml::from_str(text) {
            Ok(Value::Array(list)) => list,
            Ok(Value::Object(mut object)) => match object.remove("devices") {
                Some(Value::Array(list)) => list,
                _ => return self.problem(1, "neither a list nor a mapping with a list `devices`".to_owned()),
            },
            Ok(Value::Null) => return,
            Ok(_) => return self.problem(1, "not a list of devices".to_owned()),
            Err(error) => {
                let line = error.location().map_or(1, |location| location.line());
                return self.problem(line, error.to_string());
            }
        };
        for (number, entry) in (1..).zip(list) {
            match entry {
                Value::Object(object) => self.entry(number, object),
                _ => self.problem(number, "not a mapping".to_owned()),
            }
        }
    }

    fn entry(&mut self, place: usize, object: Map<String, Value>) {
        match entry(object) {
            Ok(entry) if !self.ids.insert(entry.id.clone()) => {
                self.problem(place, format!("device `{}` is in the list twice", entry.id));
            }
            Ok(entry) => self.entries.push(entry),
            Err(message) => self.problem(place, message),
        }
    }

    fn problem(&mut self, place: usize, message: String) {
        self.problems.push(ImportProblem { place, message });
    }
}

fn entry(object: Map<String, Value>) -> Result<Entry, String> {
    let mut change = Change::default();
    let mut id = None;
    for (key, value) in object {
        match key.as_str() {
            "id" => id = Some(scalar(&key, value)?),
            "identities" | "identity" => change.identities = Some(list(&key, value)?),
            "groups" | "group" => change.groups = Some(list(&key, value)?),
            "parent" if value.is_null() => change.parent = Some(None),
            "parent" => change.parent = Some(Some(scalar(&key, value)?)),
            "enabled" => change.enabled = Some(truth(value)?),
            "attributes" => change.attributes.extend(attributes(value)?),
            _ => {
                let value = optional(&key, value)?;
                change.attributes.insert(key, value);
            }
        }
    }
    let id = id.ok_or("`id` is missing")?;
    grammar::check_id(&id).map_err(|error| error.to_string())?;
    Ok(Entry { id, change })
}

fn attributes(value: Value) -> Result<BTreeMap<String, Option<String>>, String> {
    let Value::Object(object) = value else {
        return Err("`attributes` is not a mapping".to_owned());
    };
    object.into_iter().map(|(name, value)| optional(&name, value).map(|value| (name, value))).collect()
}

/// An attribute's value; null removes it.
fn optional(key: &str, value: Value) -> Result<Option<String>, String> {
    if value.is_null() { Ok(None) } else { scalar(key, value).map(Some) }
}

fn scalar(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(format!("`{key}` is not a plain value")),
    }
}

fn list(key: &str, value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) => values.into_iter().map(|value| scalar(key, value)).collect(),
        value => {
            let parts = scalar(key, value)?;
            let parts = parts.split(['|', ';']).map(str::trim);
            Ok(parts.filter(|part| !part.is_empty()).map(str::to_owned).collect())
        }
    }
}

fn truth(value: Value) -> Result<bool, String> {
    match scalar("enabled", value)?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        other => Err(format!("`enabled` is `{other}`, neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device() -> Entry {
        Entry {
            id: "d1".to_owned(),
            change: Change {
                enabled: Some(false),
                attributes: BTreeMap::from([("vin".to_owned(), Some("V1".to_owned()))]),
                groups: Some(vec!["a".to_owned(), "b".to_owned()]),
                identities: Some(vec!["car one".to_owned()]),
                parent: Some(Some("d0".to_owned())),
            },
        }
    }

    fn check(format: Format, text: &str) {
        assert_eq!(parse(format, text), Ok(vec![device()]), "{text}");
    }

    fn refused(format: Format, text: &str, place: usize, message: &str) {
        let problems = parse(format, text).unwrap_err();
        assert_eq!(problems[0].place, place, "{problems:?}");
        assert!(problems[0].message.contains(message), "{problems:?}");
    }

    #[test]
    fn the_same_device_reads_the_same_in_each_format() {
        check(Format::Csv, "id,identities,groups,parent,enabled,vin,type\nd1,car one,a|b,d0,no,V1,\n");
        check(Format::Csv, "\u{feff}id;identity;group;parent;enabled;vin\r\nd1;car one;\"a;b\";d0;False;V1\r\n");
        check(
            Format::JsonLines,
            r#"{"id": "d1", "identities": ["car one"], "groups": ["a", "b"], "parent": "d0", "enabled": false, "vin": "V1"}"#,
        );
        check(
            Format::Yaml,
            "- id: d1\n  identities: [car one]\n  groups: [a, b]\n  parent: d0\n  enabled: false\n  attributes: {vin: V1}\n",
        );
        check(
            Format::Yaml,
            r#"{"devices": [{"id": "d1", "identity": "car one", "groups": "a|b", "parent": "d0", "enabled": false, "vin": "V1"}]}"#,
        );
    }

    #[test]
    fn null_removes_and_silence_keeps() {
        let entries = parse(Format::Yaml, "- {id: d1, vin: null, parent: null}").unwrap();
        let change = &entries[0].change;
        assert_eq!(change.attributes["vin"], None);
        assert_eq!(change.parent, Some(None));
        assert_eq!((change.enabled, &change.groups), (None, &None));
    }

    #[test]
    fn problems_name_their_place() {
        refused(Format::Csv, "id,vin\nd1,V1\nd2\n", 3, "1 cells under 2 heads");
        refused(Format::Csv, "id\n\"d1\n", 2, "quote");
        refused(Format::Csv, "vin\nV1\n", 2, "`id` is missing");
        refused(Format::JsonLines, "{\"id\": \"d1\"}\n\n{\"id\": \"a/b\"}\n", 3, "no device id");
        refused(Format::JsonLines, "{\"id\": \"d1\"}\n{\"id\": \"d1\"}\n", 2, "twice");
        refused(Format::JsonLines, "[]", 1, "not a JSON object");
        refused(Format::Yaml, "- id: d1\n- id: [d2]\n", 2, "plain value");
        refused(Format::Yaml, "- id: d1\n  enabled: maybe\n", 1, "neither true nor false");
        refused(Format::Yaml, "- id: d1\n bad", 2, "");
        refused(Format::Yaml, "devices: 7", 1, "list");
    }

    #[test]
    fn an_empty_list_is_a_list() {
        for format in [Format::Csv, Format::JsonLines, Format::Yaml] {
            assert_eq!(parse(format, ""), Ok(Vec::new()));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}", format in 0..3) {
            let format = [Format::Csv, Format::JsonLines, Format::Yaml][format as usize];
            let _ = parse(format, &text);
        }
    }
}
