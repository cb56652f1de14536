//! Routes of the device registry.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::devices::import::{self, Format};
use crate::devices::{Change, ChangeError, Device, Filter, Refusal};

const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 100_000;

/// The devices in the order of their ids, page by page.
pub(super) async fn list(context: Context, call: Call) -> Result<Json, Refused> {
    let filter = Filter {
        group: call.query.get("group").cloned(),
        parent: call.query.get("parent").cloned(),
        enabled: call.asked("enabled")?,
        after: call.query.get("after").cloned(),
        limit: Some(call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)),
        ..Filter::default()
    };
    Ok(context.devices.list(&filter).iter().map(|device| shown(device)).collect())
}

/// One device, its sessions and its last refusals.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    let id = call.parameter("id");
    let device = context.devices.get(id).ok_or_else(|| unknown(id))?;
    let mut answer = shown(&device);
    if let Some(answer) = answer.as_object_mut() {
        let sessions = (context.views.sessions)().into_iter().filter(|session| session.device == id);
        answer.insert("sessions".to_owned(), json!(sessions.collect::<Vec<_>>()));
        answer.insert("refusals".to_owned(), context.devices.refusals(id).iter().rev().map(refusal).collect());
    }
    Ok(answer)
}

/// The last refusals, newest first; those of a client that is no device too.
pub(super) async fn refusals(context: Context, call: Call) -> Result<Json, Refused> {
    Ok(context.devices.refusals(call.parameter("id")).iter().rev().map(refusal).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: String,
    enabled: Option<bool>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    groups: Option<Vec<String>>,
    identities: Option<Vec<String>>,
    parent: Option<String>,
}

/// Adds a device.
pub(super) async fn add(context: Context, call: Call) -> Result<Json, Refused> {
    let added: Added = call.json()?;
    let change = Change {
        enabled: added.enabled,
        attributes: added.attributes.into_iter().map(|(name, value)| (name, Some(value))).collect(),
        groups: added.groups,
        identities: added.identities,
        parent: added.parent.map(Some),
    };
    let device = context.devices.add(&added.id, change).await.map_err(refused)?;
    Ok(shown(&device))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    enabled: Option<bool>,
    #[serde(default)]
    attributes: BTreeMap<String, Option<String>>,
    groups: Option<Vec<String>>,
    identities: Option<Vec<String>>,
    #[serde(default, deserialize_with = "written")]
    parent: Option<Option<String>>,
}

/// Tells `null` from a key that is not there.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes a device.
pub(super) async fn set(context: Context, call: Call) -> Result<Json, Refused> {
    let Changed { enabled, attributes, groups, identities, parent } = call.json()?;
    let change = Change { enabled, attributes, groups, identities, parent };
    let device = context.devices.set(call.parameter("id"), change).await.map_err(refused)?;
    Ok(shown(&device))
}

/// Removes a device.
pub(super) async fn remove(context: Context, call: Call) -> Result<Json, Refused> {
    context.devices.remove(call.parameter("id")).await.map_err(refused)?;
    Ok(json!({ "removed": call.parameter("id") }))
}

/// Adds and changes many devices, all or none.
pub(super) async fn import(context: Context, call: Call) -> Result<Json, Refused> {
    let format = call.query.get("format").map_or("yaml", String::as_str);
    let format = Format::of_file(&format!(".{format}"))
        .ok_or_else(|| Refused::invalid(format!("`{format}` is not a format: csv, jsonl or yaml")))?;
    let text = str::from_utf8(&call.body).map_err(|error| Refused::invalid(format!("the body: {error}")))?;
    let entries = import::parse(format, text).map_err(|problems| {
        let problems: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect();
        Refused::invalid("the list has problems and nothing was imported").with(json!({ "problems": problems }))
    })?;
    let done = context.devices.import(entries).await.map_err(refused)?;
    Ok(json!({ "added": done.added, "updated": done.updated, "unchanged": done.unchanged }))
}

fn unknown(id: &str) -> Refused {
    Refused::unknown(ChangeError::Unknown(id.to_owned()).to_string())
}

fn refused(error: ChangeError) -> Refused {
    match error {
        ChangeError::Unknown(id) => unknown(&id),
        ChangeError::Store(_) => Refused::internal(error),
        ChangeError::Exists(_) | ChangeError::IdentityTaken { .. } | ChangeError::HasChildren { .. } => {
            Refused::new(StatusCode::CONFLICT, error.to_string())
        }
        ChangeError::Grammar(_) | ChangeError::NoParent(_) | ChangeError::Parent { .. } | ChangeError::Full(_) => {
            Refused::invalid(error.to_string())
        }
    }
}

fn shown(device: &Device) -> Json {
    json!({
        "id": device.id,
        "enabled": device.enabled,
        "identities": device.identities,
        "attributes": device.attributes,
        "groups": device.groups,
        "parent": device.parent,
        "first_seen_ms": device.first_seen_ms,
        "last_seen_ms": device.last_seen_ms,
        "certificate_expiry_ms": device.certificate_expiry_ms,
        "revision": device.revision,
    })
}

fn refusal(refusal: &Refusal) -> Json {
    json!({
        "at_ms": refusal.at_ms,
        "action": refusal.action,
        "topic": refusal.topic,
        "reason": refusal.reason,
    })
}
