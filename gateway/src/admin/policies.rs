//! Routes about policies.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Context;
use super::reload::{LastReload, What};
use super::route::{Call, Refused};
use crate::policy::{Principal, Request, Resource};

/// Reads the policies again.
pub(super) async fn reload(context: Context, _: Call) -> Result<Json, Refused> {
    reloaded(context.reloads.run(What::Policies).await)
}

/// Reads certificates and policies again, as SIGHUP does.
pub(super) async fn reload_everything(context: Context, _: Call) -> Result<Json, Refused> {
    reloaded(context.reloads.run(What::Everything).await)
}

/// A reload with problems is the operator's to correct.
pub(super) fn reloaded(done: LastReload) -> Result<Json, Refused> {
    if done.problems.is_empty() {
        return Ok(done.json());
    }
    let message = "the files have problems and the state before stays in force";
    Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, message).with(done.json()))
}

/// A question about a device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    device: String,
    action: String,
    /// A topic, or a filter when the action is `subscribe`, or a listener when it is `connect`.
    resource: String,
}

/// Answers a question against the policies in force and the live registry.
pub(super) async fn explain(context: Context, call: Call) -> Result<Json, Refused> {
    let question: Question = call.json()?;
    let device = context.devices.get(&question.device);
    let device = device.ok_or_else(|| Refused::unknown(format!("there is no device `{}`", question.device)))?;
    let name = question.resource.as_str();
    let invalid = |error: String| Refused::invalid(format!("`{name}`: {error}"));
    let action = question.action.parse().map_err(Refused::invalid)?;
    let resource = Resource::for_action(action, name).map_err(invalid)?;
    let principal = Principal::Device(device);
    Ok(context.policies.explain(&Request { principal: &principal, action, resource }).json())
}
