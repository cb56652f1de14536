//! Routes for the firmware that devices can be updated to.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::artifacts::Digest;
use crate::firmware::{Firmware, Known, Listed, Unready};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    reference: String,
    digest: Option<String>,
}

/// The releases that are known.
pub(super) async fn list(context: Context, _: Call) -> Result<Json, Refused> {
    let listed = work(&context, Firmware::list).await?;
    Ok(listed.iter().map(shown).collect())
}

/// Has a release fetched; answers at once how far that is.
pub(super) async fn pull(context: Context, call: Call) -> Result<Json, Refused> {
    let Asked { reference } = call.json()?;
    let (state, release, problem) = match context.firmware.insist(&reference) {
        Ok(release) => ("ready", Some(release), None),
        Err(why) => (word(&why), None, Some(why.to_string())),
    };
    Ok(json!({
        "reference": reference,
        "state": state,
        "name": release.as_ref().map(|release| release.name.clone()),
        "version": release.as_ref().map(|release| release.version.clone()),
        "image": release.as_ref().map(|release| release.image.clone()),
        "bytes": release.as_ref().map(|release| release.size),
        "problem": problem,
    }))
}

/// Says what a tag stands for from now on.
pub(super) async fn pin(context: Context, call: Call) -> Result<Json, Refused> {
    let Pin { reference, digest } = call.json()?;
    let digest = digest.map(|digest| digest.parse::<Digest>()).transpose();
    let digest = digest.map_err(|error| Refused::invalid(error.to_string()))?;
    let named = reference.clone();
    let pinned = work(&context, move |firmware| firmware.pin(&named, digest)).await?.map_err(|why| match why {
        Unready::Unknown => Refused::unknown(why.to_string()),
        Unready::Refused(_) => Refused::new(StatusCode::CONFLICT, why.to_string()),
        Unready::Unavailable(_) | Unready::Fetching => Refused::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
    })?;
    let mut answer = release(&pinned);
    answer["reference"] = reference.into();
    Ok(answer)
}

/// What may have to wait for a registry or the disk waits on a thread of its own.
async fn work<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Firmware) -> T + Send + 'static,
) -> Result<T, Refused> {
    let firmware = context.firmware.clone();
    tokio::task::spawn_blocking(move || work(&firmware)).await.map_err(Refused::internal)
}

const fn word(why: &Unready) -> &'static str {
    match why {
        Unready::Fetching => "fetching",
        Unready::Unavailable(_) => "unavailable",
        Unready::Refused(_) => "refused",
        Unready::Unknown => "unknown",
    }
}

fn shown(listed: &Listed) -> Json {
    let state = match (&listed.known, &listed.problem) {
        (Some(_), _) => "ready",
        (None, Some(why)) => word(why),
        (None, None) => "fetching",
    };
    let mut shown = listed.known.as_ref().map_or_else(|| json!({}), |known| release(known));
    shown["reference"] = listed.reference.clone().into();
    shown["state"] = state.into();
    shown["asked"] = listed.asked.into();
    shown["cached"] = listed.cached.into();
    shown["open"] = listed.open.into();
    shown["followed"] = listed.followed.into();
    shown["problem"] = listed.problem.as_ref().map(ToString::to_string).into();
    shown["waiting"] = listed.waiting.as_ref().map(|known| release(known)).into();
    shown
}

fn release(known: &Known) -> Json {
    let release = &known.release;
    json!({
        "name": release.name,
        "version": release.version,
        "bytes": release.size,
        "from": release.from,
        "digest": known.digest().to_string(),
        "image": release.image,
        "signed_by": known.signed_by,
        "source": known.wanted.reference.to_string(),
        "layout": known.said.source.word(),
    })
}
