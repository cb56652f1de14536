//! Routes for bindings: how they are, and an end to their being parked.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::route::{Call, Refused};
use super::{BindingView, Context};
use crate::store::versions;

/// How long a binding may take to look its plugin up; it goes on when nobody waits any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The bindings and how far behind they are.
pub(super) async fn list(context: Context, _: Call) -> Result<Json, Refused> {
    Ok(json!((context.views.bindings)()))
}

/// Forgives the versions of a binding that trapped too often and has it choose anew.
pub(super) async fn resume(context: Context, call: Call) -> Result<Json, Refused> {
    let name = call.parameter("name").to_owned();
    let before = view(&context, &name)?;
    let forgiven = name.clone();
    let written = context.store.write_synced(move |tx| versions::forgive(tx, &forgiven)).await;
    written.map_err(Refused::internal)?;
    (context.orders.resume)(&name);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = view(&context, &name)?;
        if now.resumed > before.resumed || Instant::now() >= deadline {
            return Ok(json!(now));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn view(context: &Context, name: &str) -> Result<BindingView, Refused> {
    let found = (context.views.bindings)().into_iter().find(|binding| binding.name == name);
    found.ok_or_else(|| Refused::unknown(format!("there is no binding `{name}`")))
}
