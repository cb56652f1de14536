//! The file against damage of every kind, and recordings from the first input to each of their ends.

mod feeds;
mod files;
pub(crate) mod plays;
mod taps;
mod trials;

use super::*;

/// An input that nothing is known of but its topic.
pub(crate) fn input(topic: &str) -> Input {
    Input {
        topic: topic.to_owned(),
        variables: Vec::new(),
        sender: "d1".to_owned(),
        attributes: Vec::new(),
        payload: Blob::default(),
        qos: 1,
        retain: false,
        received_ms: 1,
        content_type: None,
        user_properties: Vec::new(),
        key: "d1".to_owned(),
        answers: Vec::new(),
        outcome: Outcome::Effects(Vec::new()),
    }
}

fn header() -> Header {
    Header {
        binding: "alarm".to_owned(),
        kind: "telemetry".to_owned(),
        plugin: "file://alarm.wasm".to_owned(),
        digest: "sha256:00".to_owned(),
        gateway: "edge-1".to_owned(),
        config: "{}".to_owned(),
        started_ms: 7,
    }
}

#[test]
fn outcomes_are_the_same_when_they_achieve_the_same() {
    let put = |document: &str| {
        Outcome::Effects(vec![Effect::Put { collection: "c".to_owned(), document: document.to_owned() }])
    };
    let trap = |reason: &str| Outcome::Trap { limit: "trap".to_owned(), reason: reason.to_owned() };
    assert!(same(&put(r#"{"a":1,"b":2}"#), &put(r#"{"b":2,"a":1}"#)));
    assert!(!same(&put(r#"{"a":1}"#), &put(r#"{"a":2}"#)));
    assert!(!same(&put("no json"), &put("no JSON")));
    assert!(same(&trap("at 0x1"), &trap("at 0x2")));
    assert!(!same(&trap("at 0x1"), &Outcome::Malformed("at 0x1".to_owned())));
}

#[test]
fn outcomes_are_shown_as_text_where_they_are_text() {
    let effects = vec![
        Effect::Put { collection: "c".to_owned(), document: r#"{"a":1}"#.to_owned() },
        Effect::Publish { topic: "t".to_owned(), payload: Blob(b"hi".to_vec()), qos: 1, retain: false },
        Effect::SetState { name: "n".to_owned(), value: Some(Blob(vec![0xff])) },
        Effect::SetState { name: "n".to_owned(), value: None },
    ];
    let shown = Outcome::Effects(effects).json();
    let expected = serde_json::json!({ "effects": [
        { "put": { "collection": "c", "document": { "a": 1 } } },
        { "publish": { "topic": "t", "payload": "hi", "qos": 1, "retain": false } },
        { "set-state": { "name": "n", "value_base64": "/w==" } },
        { "set-state": { "name": "n", "value": null } },
    ] });
    assert_eq!(shown, expected);
}
