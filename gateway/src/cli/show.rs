//! Turns values of the admin API into texts for people.

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{Size, show_duration};

/// The value under a key as a text; `-` if there is none.
pub(super) fn text(value: &Json, key: &str) -> String {
    match value.get(key) {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Json::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Some(other) => other.to_string(),
    }
}

/// The value itself as a text.
pub(super) fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time in Unix milliseconds, as an operator reads it; 0 is none.
pub(super) fn time(value: &Json, key: &str) -> String {
    let moment = value.get(key).and_then(Json::as_u64).filter(|ms| *ms > 0).and_then(|ms| {
        let seconds = i64::try_from(ms / 1_000).ok()?;
        OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
    });
    moment.unwrap_or_else(|| "-".to_owned())
}

/// A number of bytes, with two or more digits before the unit.
pub(super) fn bytes(value: &Json, key: &str) -> String {
    let bytes = value.get(key).and_then(Json::as_u64).unwrap_or_default();
    let unit = match bytes {
        0..0x2800 => 1,
        0x2800..0xA0_0000 => 1 << 10,
        0xA0_0000..0x2_8000_0000 => 1 << 20,
        _ => 1 << 30,
    };
    Size(bytes / unit * unit).to_string()
}

/// A number of milliseconds, in whole seconds when there are many.
pub(super) fn millis(value: &Json, key: &str) -> String {
    let ms = value.get(key).and_then(Json::as_u64).unwrap_or_default();
    let rounded = if ms < 10_000 { ms } else { ms / 1_000 * 1_000 };
    show_duration(std::time::Duration::from_millis(rounded))
}

/// The canary of a binding in a few words; `-` without one.
pub(super) fn canary(binding: &Json) -> String {
    let Some(canary) = binding.get("canary").filter(|canary| canary.is_object()) else { return "-".to_owned() };
    let [state, inputs, differing] = ["state", "inputs", "differing"].map(|key| text(canary, key));
    let chosen = if canary["chosen"] == true { " (chosen)" } else { "" };
    format!("{state}, {differing} of {inputs} differ{chosen}")
}

/// The items of a list under a key; none if there is no list.
pub(super) fn items<'j>(value: &'j Json, key: &str) -> &'j [Json] {
    value.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// Rows of a table: each key of each item.
pub(super) fn rows(items: &[Json], cell: impl Fn(&Json) -> Vec<String>) -> Vec<Vec<String>> {
    items.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_short_and_readable() {
        let value = json!({
            "at": 1_700_000_000_123_u64, "small": 9_000, "big": 52_430_000_u64, "lag": 83_400, "list": ["a", "b"],
            "never": 0,
        });
        assert_eq!(time(&value, "at"), "2023-11-14T22:13:20Z");
        assert_eq!((bytes(&value, "small"), bytes(&value, "big")), ("9000B".to_owned(), "50MiB".to_owned()));
        assert_eq!((millis(&value, "lag"), text(&value, "list")), ("83s".to_owned(), "a b".to_owned()));
        assert_eq!((time(&value, "none"), text(&value, "none")), ("-".to_owned(), "-".to_owned()));
        assert_eq!(time(&value, "never"), "-");
    }
}
