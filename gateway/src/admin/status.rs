//! Routes that look at the gateway as a whole.

use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::store::collections;

/// One page that says how the gateway is.
pub(super) async fn status(context: Context, _: Call) -> Result<Json, Refused> {
    let sessions = (context.views.sessions)();
    let connected = sessions.iter().filter(|session| session.connection.is_some()).count();
    Ok(json!({
        "gateway": context.gateway_id,
        "version": env!("CARGO_PKG_VERSION"),
        "started_ms": context.started_ms,
        "clock": { "now_ms": context.clock.now_ms(), "confirmed": context.clock.confirmed() },
        "listeners": (context.views.listeners)(),
        "sessions": { "connected": connected, "all": sessions.len() },
        "bindings": (context.views.bindings)(),
        "journal": (context.views.journal)(),
        "store": store(&context).await?,
        "policies": { "generation": context.policies.generation() },
        "last_reload": context.reloads.last(),
    }))
}

/// Every key of the configuration as it applies since the last reload.
pub(super) async fn config(context: Context, _: Call) -> Result<Json, Refused> {
    Ok((context.views.configuration)())
}

/// This API.
pub(super) async fn openapi(_: Context, _: Call) -> Result<Json, Refused> {
    Ok(super::openapi::document())
}

/// The listeners.
pub(super) async fn listeners(context: Context, _: Call) -> Result<Json, Refused> {
    Ok(json!((context.views.listeners)()))
}

/// The journal and who reads it.
pub(super) async fn journal(context: Context, _: Call) -> Result<Json, Refused> {
    Ok(json!((context.views.journal)()))
}

/// The sessions, of one device or of all.
pub(super) async fn sessions(context: Context, call: Call) -> Result<Json, Refused> {
    let device = call.query.get("device");
    let mut sessions = (context.views.sessions)();
    sessions.retain(|session| device.is_none_or(|device| *device == session.device));
    sessions.sort_by(|left, right| (&left.device, &left.client).cmp(&(&right.device, &right.client)));
    Ok(json!(sessions))
}

async fn store(context: &Context) -> Result<Json, Refused> {
    let totals = context.store.read(collections::list).await.map_err(Refused::internal)?;
    let totals: Vec<Json> = totals
        .iter()
        .map(|total| json!({ "name": total.collection.name(), "rows": total.rows, "bytes": total.bytes }))
        .collect();
    Ok(json!({ "bytes": context.store.bytes(), "collections": totals }))
}
