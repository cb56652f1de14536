//! What differs between two outcomes, told without what is in them: kinds of effects, names and JSON pointers, no values.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::format::{Effect, Outcome};
use super::show::{parsed, same_effect};

/// Lines about one input, at most.
const MOST_LINES: usize = 16;

/// Bytes of one line, at most.
const MOST_BYTES: usize = 200;

/// Pointers into one document, at most.
const MOST_POINTERS: usize = 8;

/// What `other` does otherwise than `one`, in a few short lines; none if both achieve the same.
#[must_use]
pub fn differing(one: &Outcome, other: &Outcome) -> Vec<String> {
    let mut lines = match (one, other) {
        (Outcome::Effects(one), Outcome::Effects(other)) => effects(one, other),
        (Outcome::Trap { limit: one, .. }, Outcome::Trap { limit: other, .. }) if one == other => Vec::new(),
        (one, other) if one == other => Vec::new(),
        (one, other) => match (word(one), word(other)) {
            (one, other) if one == other => vec![format!("{one}: another text")],
            (one, other) => vec![format!("{other} instead of {one}")],
        },
    };
    if lines.len() > MOST_LINES {
        let more = lines.len() - (MOST_LINES - 1);
        lines.truncate(MOST_LINES - 1);
        lines.push(format!("{more} more"));
    }
    for line in &mut lines {
        line.truncate(line.floor_char_boundary(MOST_BYTES));
    }
    lines
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Effects(_) => "effects".to_owned(),
        Outcome::Malformed(_) => "malformed".to_owned(),
        Outcome::Rejected(_) => "rejected".to_owned(),
        Outcome::Unavailable(_) => "unavailable".to_owned(),
        Outcome::Trap { limit, .. } => format!("a trap ({limit})"),
    }
}

fn effects(one: &[Effect], other: &[Effect]) -> Vec<String> {
    let pairs = (0..one.len().max(other.len())).map(|index| (index + 1, one.get(index), other.get(index)));
    pairs
        .filter_map(|(number, one, other)| {
            let said = match (one, other) {
                (Some(one), Some(other)) if same_effect(one, other) => return None,
                (Some(one), Some(other)) => between(one, other),
                (Some(one), None) => format!("no {}", name(one)),
                (None, Some(other)) => format!("{} besides", name(other)),
                (None, None) => return None,
            };
            Some(format!("effect {number}: {said}"))
        })
        .collect()
}

fn between(one: &Effect, other: &Effect) -> String {
    let parts = match (one, other) {
        (Effect::Put { collection, document }, Effect::Put { collection: others, document: another })
            if collection == others =>
        {
            pointers(&parsed(document), &parsed(another))
        }
        (
            Effect::Publish { topic, payload, qos, retain },
            Effect::Publish { topic: others, payload: another, qos: level, retain: kept },
        ) if topic == others => {
            let parts = [("payload", payload != another), ("qos", qos != level), ("retain", retain != kept)];
            parts.iter().filter(|(_, differs)| *differs).map(|(part, _)| (*part).to_owned()).collect()
        }
        (Effect::SetState { name: one, .. }, Effect::SetState { name: other, .. }) if one == other => {
            vec!["value".to_owned()]
        }
        _ => return format!("{} instead of {}", name(other), name(one)),
    };
    format!("{}: {}", name(one), parts.join(", "))
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::Put { collection, .. } => format!("put {collection:?}"),
        Effect::Publish { topic, .. } => format!("publish {topic:?}"),
        Effect::SetState { name, .. } => format!("set-state {name:?}"),
    }
}

/// Where two documents differ.
fn pointers(one: &Json, other: &Json) -> Vec<String> {
    let mut found = Vec::new();
    walk(Some(one), Some(other), &mut String::new(), &mut found);
    if found.len() > MOST_POINTERS {
        found.truncate(MOST_POINTERS);
        found.push("...".to_owned());
    }
    found
}

fn walk(one: Option<&Json>, other: Option<&Json>, at: &mut String, found: &mut Vec<String>) {
    if found.len() > MOST_POINTERS || one == other {
        return;
    }
    let mut below = |step: &str, one: Option<&Json>, other: Option<&Json>| {
        let length = at.len();
        at.push('/');
        at.push_str(step);
        walk(one, other, at, found);
        at.truncate(length);
    };
    match (one, other) {
        (Some(Json::Object(one)), Some(Json::Object(other))) => {
            for name in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                let step = name.replace('~', "~0").replace('/', "~1").escape_debug().to_string();
                below(&step, one.get(name), other.get(name));
            }
        }
        (Some(Json::Array(one)), Some(Json::Array(other))) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                below(&index.to_string(), Some(one), Some(other));
            }
        }
        _ => found.push(if at.is_empty() { "the document".to_owned() } else { at.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Blob;
    use super::*;

    fn put(document: &str) -> Effect {
        Effect::Put { collection: "rows".to_owned(), document: document.to_owned() }
    }

    fn publish(payload: &[u8], retain: bool) -> Effect {
        Effect::Publish { topic: "out/x".to_owned(), payload: Blob(payload.to_vec()), qos: 1, retain }
    }

    fn set(value: &[u8]) -> Effect {
        Effect::SetState { name: "n".to_owned(), value: Some(Blob(value.to_vec())) }
    }

    fn check(one: Vec<Effect>, other: Vec<Effect>, expected: &[&str]) {
        assert_eq!(differing(&Outcome::Effects(one), &Outcome::Effects(other)), expected);
    }

    #[test]
    fn effects_that_differ_are_named_by_their_parts_and_not_by_what_they_hold() {
        check(vec![put(r#"{"a":1,"b":2}"#), set(b"1")], vec![put(r#"{"b":2,"a":1}"#), set(b"1")], &[]);
        check(
            vec![put(r#"{"a":1,"b":{"c":[1,2]},"d":null}"#)],
            vec![put(r#"{"a":1,"b":{"c":[1,3]},"e/f":7}"#)],
            &[r#"effect 1: put "rows": /b/c/1, /d, /e~1f"#],
        );
        check(
            vec![publish(b"secret", true)],
            vec![publish(b"other", false)],
            &[r#"effect 1: publish "out/x": payload, retain"#],
        );
        check(
            vec![set(b"1")],
            vec![set(b"2"), put("{}")],
            &[r#"effect 1: set-state "n": value"#, r#"effect 2: put "rows" besides"#],
        );
        check(vec![set(b"1")], vec![], &[r#"effect 1: no set-state "n""#]);
        check(vec![set(b"1")], vec![put("{}")], &[r#"effect 1: put "rows" instead of set-state "n""#]);
        check(vec![put("1")], vec![put("no json")], &[r#"effect 1: put "rows": the document"#]);
    }

    #[test]
    fn other_kinds_of_outcomes_are_named() {
        let malformed = |text: &str| Outcome::Malformed(text.to_owned());
        let trap = Outcome::Trap { limit: "memory".to_owned(), reason: "at 0x1".to_owned() };
        assert_eq!(differing(&malformed("a"), &malformed("b")), ["malformed: another text"]);
        assert_eq!(differing(&Outcome::Effects(Vec::new()), &trap), ["a trap (memory) instead of effects"]);
        assert!(
            differing(&trap, &Outcome::Trap { limit: "memory".to_owned(), reason: "at 0x2".to_owned() }).is_empty()
        );
    }

    #[test]
    fn what_is_told_is_bounded() {
        let members = |value: u32| (0..100).map(|n| format!("\"{n:0>50}\":{value}")).collect::<Vec<_>>().join(",");
        let many = |value: u32| vec![put(&format!("{{{}}}", members(value))); 50];
        let lines = differing(&Outcome::Effects(many(1)), &Outcome::Effects(many(2)));
        assert_eq!((lines.len(), lines[MOST_LINES - 1].as_str()), (MOST_LINES, "35 more"));
        assert!(lines.iter().all(|line| line.len() <= MOST_BYTES));
    }
}
