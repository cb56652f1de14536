//! Routes for bindings: how they are, which plugin they run, and an end to their being parked.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::route::{Call, Refused};
use super::{BindingView, Context, PluginOrder};
use crate::store::versions;

/// The part of the time of a request that is waited for a version to take over; it goes on when nobody waits any more.
pub(super) const PATIENCE: f64 = 0.8;

/// How often a binding is looked at meanwhile.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// The bindings and how far behind they are.
pub(super) async fn list(context: Context, _: Call) -> Result<Json, Refused> {
    Ok(json!((context.views.bindings)()))
}

/// Forgives the versions of a binding that did not do and has it choose anew.
pub(super) async fn resume(context: Context, call: Call) -> Result<Json, Refused> {
    let name = call.parameter("name").to_owned();
    view(&context, &name)?;
    let forgiven = name.clone();
    let written = context.store.write_synced(move |tx| versions::forgive(tx, &forgiven)).await;
    written.map_err(Refused::internal)?;
    swap(&context, &name, PluginOrder::Resume).await
}

/// The body of [`set`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reference: String,
    signed_as: Option<String>,
    #[serde(default)]
    allow_downgrade: bool,
}

/// Has a binding run another plugin.
pub(super) async fn set(context: Context, call: Call) -> Result<Json, Refused> {
    let name = call.parameter("name").to_owned();
    let Asked { reference, signed_as, allow_downgrade } = call.json()?;
    swap(&context, &name, PluginOrder::Set { reference, signed_as, allow_downgrade }).await
}

/// Gives the order and waits until every part of the binding has obeyed.
async fn swap(context: &Context, name: &str, order: PluginOrder) -> Result<Json, Refused> {
    let swapping = (context.orders.swap)(name, order).ok_or_else(|| unknown(name))?;
    let deadline = Instant::now() + context.config.admin.request_timeout.mul_f64(PATIENCE);
    let Ok(swapped) = tokio::time::timeout_at(deadline, swapping).await else {
        return answer(context, name, "preparing");
    };
    let swapped = swapped.map_err(|problem| Refused::new(StatusCode::CONFLICT, problem))?;
    loop {
        let now = view(context, name)?;
        if now.decisions >= swapped.decision {
            return answer(context, name, if swapped.changed { "runs" } else { "ran already" });
        }
        if Instant::now() >= deadline {
            return answer(context, name, "swapping");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The binding, and how far the order has come.
pub(super) fn answer(context: &Context, name: &str, outcome: &str) -> Result<Json, Refused> {
    let mut shown = json!(view(context, name)?);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("outcome".to_owned(), outcome.into());
    }
    Ok(shown)
}

pub(super) fn view(context: &Context, name: &str) -> Result<BindingView, Refused> {
    let found = (context.views.bindings)().into_iter().find(|binding| binding.name == name);
    found.ok_or_else(|| unknown(name))
}

pub(super) fn unknown(name: &str) -> Refused {
    Refused::unknown(format!("there is no binding `{name}`"))
}
