//! Routes that begin, end, list and delete recordings. The files stay where they are: they hold payloads.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::recording::{RecordError, RecordingStatus, Recordings};

/// How long a recording is to be; without a bound it is the configuration's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    messages: Option<u64>,
    bytes: Option<u64>,
}

/// Begins to record a binding.
pub(super) async fn start(context: Context, call: Call) -> Result<Json, Refused> {
    let bounds: Bounds = if call.body.is_empty() { Bounds::default() } else { call.json()? };
    let binding = call.parameter("binding").to_owned();
    let started = work(&context, move |recordings| recordings.start(&binding, bounds.messages, bounds.bytes)).await?;
    Ok(shown(&started))
}

/// Ends the recording of a binding.
pub(super) async fn stop(context: Context, call: Call) -> Result<Json, Refused> {
    let binding = call.parameter("binding").to_owned();
    Ok(shown(&work(&context, move |recordings| recordings.stop(&binding)).await?))
}

/// The recordings that are kept.
pub(super) async fn list(context: Context, _: Call) -> Result<Json, Refused> {
    Ok(work(&context, Recordings::list).await?.iter().map(shown).collect())
}

/// Deletes a recording.
pub(super) async fn remove(context: Context, call: Call) -> Result<Json, Refused> {
    let name = call.parameter("name").to_owned();
    work(&context, move |recordings| recordings.remove(&name)).await?;
    Ok(json!({}))
}

/// Files are waited for on a thread that may block.
async fn work<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Recordings) -> Result<T, RecordError> + Send + 'static,
) -> Result<T, Refused> {
    let recordings = context.recordings.clone();
    let done = tokio::task::spawn_blocking(move || work(&recordings)).await;
    done.map_err(Refused::internal)?.map_err(|error| match error {
        RecordError::Binding(_) | RecordError::File(_) => Refused::unknown(error.to_string()),
        RecordError::Running(_) | RecordError::NotRunning(_) | RecordError::TooMany(_) => {
            Refused::new(StatusCode::CONFLICT, error.to_string())
        }
        RecordError::Bounds { .. } | RecordError::Kind { .. } => Refused::invalid(error.to_string()),
        RecordError::Disk(_) => Refused::internal(error),
    })
}

fn shown(recording: &RecordingStatus) -> Json {
    let state = match (recording.running, recording.ended) {
        (true, _) => "running",
        (false, Some(why)) => why.as_str(),
        // Of an earlier run of the gateway: the file itself says how it ended.
        (false, None) => "kept",
    };
    json!({
        "name": recording.name,
        "file": recording.file,
        "binding": recording.written.as_ref().map(|(binding, _)| binding),
        "inputs": recording.written.as_ref().map(|(_, inputs)| inputs),
        "bytes": recording.bytes,
        "state": state,
    })
}
