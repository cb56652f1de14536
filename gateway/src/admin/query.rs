//! Routes that read collections and dead letters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use causeway_core::message::Message;
use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::store::collections::{self, Query, QueryError, Record};
use crate::store::{ReadError, dead_letters};

const DEFAULT_LIMIT: usize = 100;
const MAX_LETTERS: usize = 1_000;

/// The collections and what they hold.
pub(super) async fn collections(context: Context, _: Call) -> Result<Json, Refused> {
    let totals = context.store.read(collections::list).await.map_err(Refused::internal)?;
    let shown = totals.iter().map(|total| {
        let declaration = total.collection.declaration();
        let columns: Vec<&str> = declaration.columns.iter().map(|column| column.name.as_str()).collect();
        json!({ "name": total.collection.name(), "rows": total.rows, "bytes": total.bytes, "columns": columns })
    });
    Ok(shown.collect())
}

/// The rows of one collection that meet all conditions, newest first.
pub(super) async fn query(context: Context, call: Call) -> Result<Json, Refused> {
    let conditions = call.query.get("where").map_or(Ok(Vec::new()), |text| conditions(text))?;
    let query = Query {
        collection: call.parameter("collection").to_owned(),
        conditions,
        since_ms: call.asked("since_ms")?,
        limit: call.asked("limit")?.unwrap_or(DEFAULT_LIMIT),
    };
    let read = context.store.read(move |connection| collections::query(connection, &query)).await;
    let rows: Vec<Json> = read.map_err(refused)?.iter().map(row).collect();
    Ok(json!(rows))
}

/// Conditions are a JSON object in one query parameter: `where={"sender":"d1"}`.
fn conditions(text: &str) -> Result<Vec<(String, String)>, Refused> {
    let conditions: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| Refused::invalid(format!("`where` is a JSON object of texts: {error}")))?;
    Ok(conditions.into_iter().collect())
}

fn refused(error: ReadError<QueryError>) -> Refused {
    match error {
        ReadError::Refused(QueryError::UnknownCollection(name)) => {
            Refused::unknown(format!("there is no collection `{name}`"))
        }
        ReadError::Refused(
            error @ (QueryError::Value { .. } | QueryError::Path(_) | QueryError::TooManyConditions),
        ) => Refused::invalid(error.to_string()),
        error => Refused::internal(error),
    }
}

fn row(record: &Record) -> Json {
    json!({
        "position": record.position,
        "item": record.item,
        "sender": record.sender,
        "received_ms": record.received_ms,
        "document": serde_json::from_str::<Json>(&record.document).unwrap_or_default(),
    })
}

/// The newest dead letters of one binding or of all.
pub(super) async fn dead_letters(context: Context, call: Call) -> Result<Json, Refused> {
    let binding = call.query.get("binding").cloned();
    let limit = call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LETTERS);
    let read = context.store.read(move |connection| dead_letters::list(connection, binding.as_deref(), limit)).await;
    Ok(read.map_err(Refused::internal)?.iter().map(letter).collect())
}

/// One dead letter with its message.
pub(super) async fn dead_letter(context: Context, call: Call) -> Result<Json, Refused> {
    let unknown = || Refused::unknown(format!("there is no dead letter `{}`", call.parameter("id")));
    let id: i64 = call.parameter("id").parse().map_err(|_| unknown())?;
    let read = context.store.read(move |connection| dead_letters::get(connection, id)).await;
    let kept = read.map_err(Refused::internal)?.ok_or_else(unknown)?;
    let mut shown = letter(&kept);
    let message = Message::decode(&kept.letter.message.clone().into());
    if let (Some(shown), Ok(message)) = (shown.as_object_mut(), message) {
        shown.insert("qos".to_owned(), message.qos.bits().into());
        shown.insert("client".to_owned(), message.client.to_string().into());
        shown.insert("received_ms".to_owned(), message.received_ms.into());
        shown.insert("payload_base64".to_owned(), STANDARD.encode(&message.payload).into());
        if let Ok(text) = str::from_utf8(&message.payload) {
            shown.insert("payload".to_owned(), text.into());
        }
    }
    Ok(shown)
}

fn letter(kept: &dead_letters::Kept) -> Json {
    let letter = &kept.letter;
    json!({
        "id": kept.id,
        "binding": letter.binding,
        "position": letter.position,
        "topic": letter.topic,
        "sender": letter.sender,
        "kind": letter.kind,
        "reason": letter.reason,
        "at_ms": letter.at_ms,
    })
}
