//! The route that reads the audit log; `gate.rs` writes it.

use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::store::audit;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

/// The newest entries, newest first.
pub(super) async fn list(context: Context, call: Call) -> Result<Json, Refused> {
    let before = call.asked("before")?;
    let limit = call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let read = context.store.read(move |connection| audit::list(connection, before, limit)).await;
    Ok(read.map_err(Refused::internal)?.iter().map(shown).collect())
}

fn shown(kept: &audit::Kept) -> Json {
    let entry = &kept.entry;
    json!({
        "id": kept.id,
        "at_ms": entry.at_ms,
        "operator": entry.operator,
        "action": entry.action,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "detail": serde_json::from_str::<Json>(&entry.detail).unwrap_or_default(),
    })
}
