//! Routes that read collections.

use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::store::ReadError;
use crate::store::collections::{self, Query, QueryError, Record};

const DEFAULT_LIMIT: usize = 100;

/// The collections and what they hold.
pub(super) async fn collections(context: Context, _: Call) -> Result<Json, Refused> {
    let totals = context.store.read(collections::list).await.map_err(Refused::internal)?;
    let shown = totals.iter().map(|total| {
        let declaration = total.collection.declaration();
        let columns: Vec<&str> = declaration.columns.iter().map(|column| column.name.as_str()).collect();
        let retention = &declaration.retention;
        json!({
            "name": declaration.name,
            "kind": declaration.kind.word(),
            "rows": total.rows,
            "bytes": total.bytes,
            "columns": columns,
            "filling": total.filling,
            "refused": total.refused,
            "retention": {
                "max_age_ms": retention.max_age_ms,
                "max_rows": retention.max_rows,
                "max_bytes": retention.max_bytes,
                "share": retention.share,
            },
        })
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
