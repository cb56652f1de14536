//! Dead letters, as operators handle them.

use serde_json::json;

use super::*;
use crate::store::dead_letters::{self, DeadLetter};

async fn with_letters() -> Fixture {
    let fixture = fixture();
    for position in 1..=3_u64 {
        let letter = DeadLetter {
            binding: "gone".to_owned(),
            position: Some(position),
            item: 0,
            topic: "t".to_owned(),
            sender: "d1".to_owned(),
            kind: if position == 2 { "trap" } else { "malformed" }.to_owned(),
            reason: "because".to_owned(),
            digest: "sha256:00".to_owned(),
            at_ms: position,
            message: vec![],
        };
        fixture.context.store.write(move |tx| dead_letters::insert(tx, &letter)).await.unwrap();
    }
    fixture
}

async fn ids(fixture: &Fixture, query: &str) -> Json {
    let (status, letters) = fixture.admin("GET", &format!("/v1/dead-letters?{query}"), "").await;
    assert_eq!(status, 200, "{letters}");
    letters.as_array().unwrap().iter().map(|letter| letter["id"].clone()).collect()
}

#[tokio::test]
async fn letters_are_listed_by_kind_time_and_page() {
    let fixture = with_letters().await;
    assert_eq!(ids(&fixture, "").await, json!([3, 2, 1]));
    assert_eq!(ids(&fixture, "kind=trap&binding=gone").await, json!([2]));
    assert_eq!(ids(&fixture, "since_ms=3").await, json!([3]));
    assert_eq!(ids(&fixture, "limit=1&before=3").await, json!([2]));
    let (_, shown) = fixture.admin("GET", "/v1/dead-letters/2", "").await;
    assert_eq!((&shown["digest"], &shown["attempts"]), (&json!("sha256:00"), &json!(0)));
}

#[tokio::test]
async fn letters_are_dropped_by_number_or_by_a_filter_whose_count_is_said() {
    let fixture = with_letters().await;
    let drop = async |body: &str| fixture.admin("POST", "/v1/dead-letters/drop", body).await;
    let (status, answer) = drop(r#"{"kind": "malformed"}"#).await;
    assert_eq!((status, &answer["count"]), (409, &json!(2)), "{answer}");
    assert_eq!(drop(r#"{"kind": "malformed", "count": 3}"#).await.0, 409);
    assert_eq!(drop(r#"{"kind": "malformed", "count": 2}"#).await, (200, json!({ "dropped": 2 })));
    assert_eq!(drop(r#"{"ids": [2, 77]}"#).await, (200, json!({ "dropped": 1 })));
    assert_eq!(ids(&fixture, "").await, json!([]));
    let (_, audit) = fixture.admin("GET", "/v1/audit", "").await;
    assert!(audit.to_string().contains("dead-letters/drop"), "{audit}");
}

#[tokio::test]
async fn letters_of_a_binding_that_is_not_there_cannot_be_sent_again() {
    let fixture = with_letters().await;
    let (status, answer) = fixture.admin("POST", "/v1/dead-letters/replay", r#"{"all": true}"#).await;
    assert_eq!(status, 409, "{answer}");
    let (status, _) = fixture.ask(Some(Role::Viewer), "POST", "/v1/dead-letters/replay", r#"{"all": true}"#).await;
    assert_eq!(status, 403);
}
