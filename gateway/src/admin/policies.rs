//! Routes about policies.

use axum::http::StatusCode;
use causeway_core::topic::{check_filter, check_topic};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Context;
use super::reload::{LastReload, What};
use super::route::{Call, Refused};
use crate::policy::{Action, Asked, Decision, PolicySource, Principal, Request, Resource};

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
    action: Asking,
    /// A topic, or a filter when the action is `subscribe`, or a listener when it is `connect`.
    resource: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Asking {
    Connect,
    Publish,
    Will,
    Subscribe,
    Receive,
}

/// Answers a question against the policies in force and the live registry.
pub(super) async fn explain(context: Context, call: Call) -> Result<Json, Refused> {
    let question: Question = call.json()?;
    let device = context.devices.get(&question.device);
    let device = device.ok_or_else(|| Refused::unknown(format!("there is no device `{}`", question.device)))?;
    let name = question.resource.as_str();
    let invalid = |error: String| Refused::invalid(format!("`{name}`: {error}"));
    let (action, resource) = match question.action {
        Asking::Connect => (Action::Connect, Resource::Listener(name)),
        Asking::Publish => (Action::Publish, Resource::Topic(name)),
        Asking::Will => (Action::Will, Resource::Topic(name)),
        Asking::Receive => (Action::Receive, Resource::Topic(name)),
        Asking::Subscribe => (Action::Subscribe, Resource::Filter(name)),
    };
    match resource {
        Resource::Topic(topic) => check_topic(topic).map_err(|error| invalid(error.to_string()))?,
        Resource::Filter(filter) => check_filter(filter).map_err(|error| invalid(error.to_string()))?,
        Resource::Listener(_) | Resource::Area(_) => {}
    }
    let principal = Principal::Device(device);
    let explanation = context.policies.explain(&Request { principal: &principal, action, resource });
    let mut answer = decision(&explanation.decision);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("asked".to_owned(), explanation.asked.iter().map(asked).collect());
    }
    Ok(answer)
}

fn decision(decision: &Decision) -> Json {
    json!({
        "allowed": decision.allowed,
        "reason": decision.reason.text,
        "template": decision.reason.template,
        "policy": decision.reason.policy.as_deref().map(policy),
    })
}

fn policy(policy: &PolicySource) -> Json {
    json!({ "id": policy.id, "file": policy.file, "line": policy.line })
}

fn asked(asked: &Asked) -> Json {
    let variables: serde_json::Map<String, Json> =
        asked.variables.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "template": asked.template,
        "pattern": asked.pattern,
        "variables": variables,
        "decision": decision(&asked.decision),
        "unmet": asked.unmet.iter().map(policy).collect::<Vec<_>>(),
    })
}
