//! Routes for what devices run, and what becomes of their updates.

use causeway_core::dfu::By;
use causeway_core::dfu::update::{End, State};
use serde_json::{Map, Value as Json, json};

use super::Context;
use super::route::{Call, Refused};
use crate::dfu::{DeviceView, Filter};
use crate::store::dfu::{self as rows, Kept};

const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 10_000;

/// How many devices are where.
pub(super) async fn summary(context: Context, _: Call) -> Result<Json, Refused> {
    let (states, stalled) = context.fleet.states(context.clock.now_ms());
    let states: Map<String, Json> =
        states.into_iter().map(|(state, devices)| (state.word().to_owned(), devices.into())).collect();
    Ok(json!({ "devices": states, "stalled": stalled }))
}

/// Devices in the order of their ids, page by page.
pub(super) async fn list(context: Context, call: Call) -> Result<Json, Refused> {
    let state = match call.query.get("state") {
        None => None,
        Some(word) => Some(State::of_word(word).ok_or_else(|| {
            let words = State::ALL.map(State::word).join(", ");
            Refused::invalid(format!("`{word}` is not a state: one of {words}"))
        })?),
    };
    let query = match call.query.get("query") {
        None => None,
        Some(text) => Some(text.parse().map_err(|error| Refused::invalid(format!("the query `{text}`: {error}")))?),
    };
    let filter = Filter { query, state, stalled: call.asked("stalled")?, after: call.query.get("after").cloned() };
    let limit = call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    Ok(context.fleet.devices(&filter, limit, context.clock.now_ms()).iter().map(shown).collect())
}

/// One device with its history.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    let id = call.parameter("id").to_owned();
    let view = context.fleet.device(&id, context.clock.now_ms()).ok_or_else(|| silent(&context, &id))?;
    let filter = rows::Filter { device: Some(id), ..rows::Filter::default() };
    let mut shown = shown(&view);
    shown["history"] = history_of(&context, filter, DEFAULT_LIMIT).await?;
    Ok(shown)
}

/// Attempts that are over, the latest first, page by page.
pub(super) async fn history(context: Context, call: Call) -> Result<Json, Refused> {
    let filter = rows::Filter {
        device: call.query.get("device").cloned(),
        outcome: call.query.get("outcome").cloned(),
        before: call.asked("before")?,
    };
    let limit = call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    history_of(&context, filter, limit).await
}

/// Lets a device have again what it failed at.
pub(super) async fn forgive(context: Context, call: Call) -> Result<Json, Refused> {
    let id = call.parameter("id");
    let now_ms = context.clock.now_ms();
    context.fleet.device(id, now_ms).ok_or_else(|| silent(&context, id))?;
    let forgiven = context.fleet.forgive(id, now_ms).await.map_err(Refused::internal)?;
    Ok(json!({ "device": id, "forgiven": forgiven }))
}

fn silent(context: &Context, id: &str) -> Refused {
    let known = context.devices.get(id).is_some();
    let why = if known { "has said nothing about its firmware yet" } else { "is not known" };
    Refused::unknown(format!("device `{id}` {why}"))
}

async fn history_of(context: &Context, filter: rows::Filter, limit: usize) -> Result<Json, Refused> {
    let read = context.store.read(move |connection| rows::history(connection, &filter, limit)).await;
    Ok(read.map_err(Refused::internal)?.iter().map(ended).collect())
}

fn shown(view: &DeviceView) -> Json {
    let attempts = view.attempts.iter().map(|attempt| {
        json!({
            "version": attempt.version,
            "made": attempt.made,
            "until_ms": attempt.until_ms,
            "quarantined": attempt.quarantined,
        })
    });
    let (problem, problem_ms) = view.problem.clone().unzip();
    let mut shown = json!({
        "device": view.device,
        "running": view.running,
        "state": view.state.word(),
        "since_ms": view.since_ms,
        "heard_ms": view.heard_ms,
        "stalled": view.stalled,
        "why": view.why,
        "reason": view.reason,
        "problem": problem,
        "problem_ms": problem_ms,
        "attempts": attempts.collect::<Json>(),
        "target": null,
    });
    if let Some(target) = &view.target {
        let (kind, name) = by(&target.by);
        shown["target"] = json!({
            "name": target.name,
            "version": target.version,
            "by": { kind: name },
            "from": target.from,
            "attempt": target.attempt,
            "offset": target.offset,
            "size": target.size,
            "percent": target.percent,
            "patch": target.patch,
            "blocks": target.blocks,
            "bytes": target.bytes,
            "restarts": target.restarts,
            "rate": target.rate,
            "left_ms": target.left_ms,
        });
    }
    shown
}

fn ended(kept: &Kept) -> Json {
    let (ended, target) = (&kept.ended, &kept.ended.target);
    let (kind, name) = by(&target.by);
    let (outcome, reason) = match &ended.end {
        End::Confirmed => ("confirmed", None),
        End::Failed(reason) => ("failed", Some(reason)),
        End::Superseded => ("superseded", None),
    };
    json!({
        "id": kept.id,
        "device": kept.device,
        "name": target.name,
        "from": target.from,
        "version": target.version,
        "size": target.size,
        "by": { kind: name },
        "patch": target.tally.patch,
        "started_ms": target.started_ms,
        "ended_ms": ended.at_ms,
        "duration_ms": target.started_ms.map(|started_ms| ended.at_ms.saturating_sub(started_ms)),
        "blocks": target.tally.blocks,
        "bytes": target.tally.bytes,
        "restarts": target.tally.restarts,
        "attempt": ended.attempt,
        "outcome": outcome,
        "reason": reason,
    })
}

fn by(by: &By) -> (&'static str, &str) {
    match by {
        By::Campaign(id) => ("campaign", id),
        By::Rule(name) => ("rule", name),
    }
}
