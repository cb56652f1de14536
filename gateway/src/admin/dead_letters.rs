//! Routes for what plugins could not handle: look at it, send it again, drop it.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use causeway_core::message::Message;
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::Context;
use super::route::{Call, Refused};
use crate::store::WriteError;
use crate::store::dead_letters::{self, Filter, Kept, Progress};

const DEFAULT_LIMIT: usize = 100;
const MAX_LETTERS: usize = 1_000;

/// Letters that one transaction deletes, so that other writes do not wait long.
const STEP: usize = 500;

/// How long a replay is waited for; what is left then goes on without anybody waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// The newest dead letters, a page at a time.
pub(super) async fn list(context: Context, call: Call) -> Result<Json, Refused> {
    let filter = Filter {
        ids: None,
        binding: call.query.get("binding").cloned(),
        kind: call.query.get("kind").cloned(),
        since_ms: call.asked("since_ms")?,
        before: call.asked("before")?,
    };
    let limit = call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LETTERS);
    let read = context.store.read(move |connection| dead_letters::list(connection, &filter, limit)).await;
    Ok(read.map_err(Refused::internal)?.iter().map(letter).collect())
}

/// One dead letter with its message.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    let unknown = || Refused::unknown(format!("there is no dead letter `{}`", call.parameter("id")));
    let id: i64 = call.parameter("id").parse().map_err(|_| unknown())?;
    let read = context.store.read(move |connection| dead_letters::get(connection, id)).await;
    let kept = read.map_err(Refused::internal)?.ok_or_else(unknown)?;
    let mut shown = letter(&kept);
    let message = Message::decode(&kept.letter.message.into());
    if let (Some(shown), Ok(message)) = (shown.as_object_mut(), message) {
        shown.insert("qos".to_owned(), message.qos.bits().into());
        shown.insert("client".to_owned(), message.client.to_string().into());
        shown.insert("received_ms".to_owned(), message.received_ms.into());
        shown.insert("payload_base64".to_owned(), STANDARD.encode(&message.payload).into());
        if let Ok(text) = str::from_utf8(&message.payload) {
            shown.insert("payload".to_owned(), text.into());
        }
    }
    Ok(shown)
}

fn letter(kept: &Kept) -> Json {
    let letter = &kept.letter;
    json!({
        "id": kept.id,
        "binding": letter.binding,
        "position": letter.position,
        "topic": letter.topic,
        "sender": letter.sender,
        "kind": letter.kind,
        "reason": letter.reason,
        "digest": letter.digest,
        "at_ms": letter.at_ms,
        "attempts": kept.attempts,
        "waiting": kept.waiting,
    })
}

/// Which letters a change means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meant {
    ids: Option<Vec<i64>>,
    binding: Option<String>,
    kind: Option<String>,
    since_ms: Option<u64>,
    #[serde(default)]
    all: bool,
    count: Option<u64>,
}

impl Meant {
    fn read(call: &Call) -> Result<Self, Refused> {
        let meant: Self = call.json()?;
        let said = meant.ids.is_some() || meant.binding.is_some() || meant.kind.is_some() || meant.since_ms.is_some();
        match said != meant.all {
            true => Ok(meant),
            false => Err(Refused::invalid("say which letters: `ids`, `binding`, `kind`, `since_ms`; or `all`")),
        }
    }

    fn filter(self) -> Filter {
        let Self { ids, binding, kind, since_ms, .. } = self;
        Filter { ids, binding, kind, since_ms, before: None }
    }
}

/// Sends letters to their binding again and says what came of it.
pub(super) async fn replay(context: Context, call: Call) -> Result<Json, Refused> {
    let filter = Meant::read(&call)?.filter();
    let served: Vec<String> = (context.views.bindings)().into_iter().map(|binding| binding.name).collect();
    let work = move |tx: &Transaction<'_>| {
        let (all, _) = dead_letters::count(tx, &filter)?;
        dead_letters::request(tx, &filter, &served).map(|requested| (requested, all))
    };
    let (requested, all) = context.store.write_synced(work).await.map_err(failed)?;
    if requested.letters == 0 && all > 0 {
        let message = format!("{all} letters are of bindings that this gateway does not have");
        return Err(Refused::new(StatusCode::CONFLICT, message));
    }
    for binding in &requested.bindings {
        (context.orders.replay)(binding);
    }
    let Progress { waiting, failed } = settled(&context, requested.request).await?;
    let done = requested.letters.saturating_sub(waiting + failed);
    let unserved = all.saturating_sub(requested.letters as u64);
    Ok(
        json!({ "letters": requested.letters, "done": done, "failed": failed, "waiting": waiting, "unserved": unserved }),
    )
}

/// Waits a while until no letter of a request waits.
async fn settled(context: &Context, request: i64) -> Result<Progress, Refused> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = context.store.read(move |connection| dead_letters::progress(connection, request)).await;
        let progress = read.map_err(Refused::internal)?;
        if progress.waiting == 0 || Instant::now() >= deadline {
            return Ok(progress);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Deletes letters: those that were named, or as many as the caller said.
pub(super) async fn drop(context: Context, call: Call) -> Result<Json, Refused> {
    let meant = Meant::read(&call)?;
    let (expected, named) = (meant.count, meant.ids.is_some());
    let filter = meant.filter();
    let counted = filter.clone();
    let read = context.store.read(move |connection| dead_letters::count(connection, &counted)).await;
    let (found, newest) = read.map_err(Refused::internal)?;
    match expected {
        None if named => {}
        Some(expected) if expected == found => {}
        _ => {
            let message = format!("{found} letters are meant: say so with `count` to have them deleted");
            return Err(Refused::new(StatusCode::CONFLICT, message).with(json!({ "count": found })));
        }
    }
    // Letters that came after the count stay.
    let filter = Filter { before: Some(newest.saturating_add(1)), ..filter };
    let mut dropped = 0;
    loop {
        let step = filter.clone();
        let deleted = context.store.write_synced(move |tx| dead_letters::delete(tx, &step, STEP)).await;
        let deleted = deleted.map_err(failed)?;
        dropped += deleted;
        if deleted < STEP {
            return Ok(json!({ "dropped": dropped }));
        }
    }
}

fn failed(error: WriteError<rusqlite::Error>) -> Refused {
    Refused::internal(error)
}
