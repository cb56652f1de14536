//! The route that shows the canary of a binding.

use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};

/// The canary of a binding, and of which inputs it did not make the same.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    let name = call.parameter("name");
    if let Some(canary) = (context.views.canary)(name) {
        return Ok(json!(canary));
    }
    let known = (context.views.bindings)().iter().any(|binding| binding.name == name);
    Err(Refused::unknown(match known {
        true => format!("binding `{name}` has no canary: `bindings[].canary` gives it one"),
        false => format!("there is no binding `{name}`"),
    }))
}
