//! The routes for the canary of a binding: how it is, which one it is to be, and an end to it.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::bindings::{LOOK, PATIENCE, answer, unknown, view};
use super::route::{Call, Refused};
use super::{CanaryOrder, Context};

/// The canary of a binding, and of which inputs it did not make the same.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    let name = call.parameter("name");
    if let Some(canary) = (context.views.canary)(name) {
        return Ok(json!(canary));
    }
    view(&context, name)?;
    Err(Refused::unknown(format!(
        "binding `{name}` has no canary: `bindings[].canary` gives it one, and `causeway plugin set {name} REFERENCE --shadow`"
    )))
}

/// The body of [`set`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reference: String,
    signed_as: Option<String>,
}

/// Has a binding try another canary.
pub(super) async fn set(context: Context, call: Call) -> Result<Json, Refused> {
    let Asked { reference, signed_as } = call.json()?;
    shadow(&context, call.parameter("name"), Some(CanaryOrder { reference, signed_as })).await
}

/// Takes the canary of a binding away.
pub(super) async fn end(context: Context, call: Call) -> Result<Json, Refused> {
    shadow(&context, call.parameter("name"), None).await
}

/// Gives the order and waits until the canary sees what its binding sees.
async fn shadow(context: &Context, name: &str, order: Option<CanaryOrder>) -> Result<Json, Refused> {
    let outcome = if order.is_some() { "watched" } else { "taken away" };
    let shadowing = (context.orders.shadow)(name, order).ok_or_else(|| unknown(name))?;
    let deadline = Instant::now() + context.config.admin.request_timeout.mul_f64(PATIENCE);
    let Ok(shadowed) = tokio::time::timeout_at(deadline, shadowing).await else {
        return answer(context, name, "preparing");
    };
    shadowed.map_err(|problem| Refused::new(StatusCode::CONFLICT, problem))?;
    while view(context, name)?.canary.is_some_and(|canary| canary.state == "preparing") {
        if Instant::now() >= deadline {
            return answer(context, name, "preparing");
        }
        tokio::time::sleep(LOOK).await;
    }
    answer(context, name, outcome)
}
