//! Routes of campaigns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use causeway_core::dfu::Release;
use causeway_core::dfu::campaign::{Command, MAX_WAVES, OnError, Plan, Standing, Start, Tally, Target};
use causeway_core::dfu::query::Query;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Context;
use super::route::{Call, Refused};
use crate::dfu::CampaignError;
use crate::dfu::campaigns::{Drawn, Order, Shown};
use crate::firmware::Unready;
use crate::store::campaigns::{Asked, Page};

/// How long a new campaign waits for its release to be fetched.
const PATIENCE: Duration = Duration::from_secs(10);

const DEFAULT_LIMIT: u64 = 1_000;
const MAX_LIMIT: u64 = 100_000;
const MAX_WINDOWS: usize = 32;

/// The campaigns, in the order in which they were made.
pub(super) async fn list(context: Context, _: Call) -> Result<Json, Refused> {
    let campaigns = context.desired.campaigns().list().await.map_err(refused)?;
    Ok(campaigns.iter().map(shown).collect())
}

/// One campaign.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    let campaign = context.desired.campaigns().show(call.parameter("id")).await.map_err(refused)?;
    Ok(shown(&campaign))
}

/// Its devices, in the order of the campaign, page by page.
pub(super) async fn devices(context: Context, call: Call) -> Result<Json, Refused> {
    let (id, campaigns) = (call.parameter("id"), context.desired.campaigns());
    campaigns.show(id).await.map_err(refused)?;
    let standing = |word: &String| {
        Standing::of_word(word).ok_or_else(|| {
            let words = Standing::ALL.map(Standing::word).join(", ");
            Refused::invalid(format!("`{word}` is not a state: one of {words}"))
        })
    };
    let page = Page {
        standing: call.query.get("state").map(standing).transpose()?,
        wave: call.asked("wave")?,
        offset: call.asked::<u64>("offset")?.unwrap_or(0).min(u64::from(u32::MAX)),
        limit: call.asked("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
    };
    let devices = campaigns.devices(id, page).await.map_err(refused)?;
    Ok(devices.iter().map(|(device, target)| with_target(json!({ "device": device }), target)).collect())
}

/// What an operator asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asking {
    name: String,
    release: String,
    devices: DevicesAsked,
    #[serde(default)]
    waves: Vec<Size>,
    success: Option<u32>,
    error: Option<u32>,
    on_error: Option<String>,
    start: Option<String>,
    #[serde(default)]
    approval: bool,
    #[serde(default)]
    windows: Vec<String>,
    #[serde(default)]
    preload: bool,
    #[serde(default)]
    downgrade: bool,
    attempts: Option<u32>,
    device_timeout: Option<u32>,
}

/// A query or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum DevicesAsked {
    Query(String),
    List(Vec<String>),
}

/// `5` or `"10%"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Count(u32),
    Text(String),
}

/// What would be made, device by device.
pub(super) async fn preview(context: Context, call: Call) -> Result<Json, Refused> {
    let order = order(&context, &call).await?;
    let running = |device: &str| context.fleet.running(device).map(|running| running.to_string());
    let drawn = context.desired.campaigns().draw(&order, &running, context.clock.now_ms()).map_err(refused)?;
    let devices: Vec<Json> = drawn.iter().map(device_drawn).collect();
    let waves: std::collections::BTreeSet<u32> = drawn.iter().map(|drawn| drawn.target.wave).collect();
    Ok(json!({
        "name": order.id,
        "release": release(&order.release),
        "reference": order.reference,
        "waves": waves.iter().filter(|wave| **wave > 0).count(),
        "devices": devices,
    }))
}

/// Makes a campaign.
pub(super) async fn create(context: Context, call: Call) -> Result<Json, Refused> {
    let order = order(&context, &call).await?;
    make(&context, order).await
}

/// Makes what was ordered, and shows it.
pub(super) async fn make(context: &Context, order: Order) -> Result<Json, Refused> {
    let running = |device: &str| context.fleet.running(device).map(|running| running.to_string());
    let (id, campaigns) = (order.id.clone(), context.desired.campaigns());
    campaigns.create(order, &running, context.clock.now_ms()).await.map_err(refused)?;
    campaigns.show(&id).await.map(|campaign| shown(&campaign)).map_err(refused)
}

/// Deletes a campaign that is over.
pub(super) async fn remove(context: Context, call: Call) -> Result<Json, Refused> {
    let id = call.parameter("id");
    context.desired.campaigns().delete(id).await.map_err(refused)?;
    Ok(json!({ "removed": id }))
}

/// Lets a campaign begin that needs an approval.
pub(super) async fn approve(context: Context, call: Call) -> Result<Json, Refused> {
    command(context, call, Command::Approve).await
}

/// Begins a campaign.
pub(super) async fn start(context: Context, call: Call) -> Result<Json, Refused> {
    command(context, call, Command::Start).await
}

/// Stops a campaign until it is resumed.
pub(super) async fn pause(context: Context, call: Call) -> Result<Json, Refused> {
    command(context, call, Command::Pause).await
}

/// Lets a campaign go on.
pub(super) async fn resume(context: Context, call: Call) -> Result<Json, Refused> {
    command(context, call, Command::Resume).await
}

/// Ends a campaign.
pub(super) async fn abort(context: Context, call: Call) -> Result<Json, Refused> {
    command(context, call, Command::Abort).await
}

async fn command(context: Context, call: Call, command: Command) -> Result<Json, Refused> {
    let (id, campaigns) = (call.parameter("id"), context.desired.campaigns());
    campaigns.command(id, command, context.clock.now_ms()).await.map_err(refused)?;
    campaigns.show(id).await.map(|campaign| shown(&campaign)).map_err(refused)
}

async fn order(context: &Context, call: &Call) -> Result<Order, Refused> {
    let asking: Asking = call.json()?;
    let plan = plan(&asking)?;
    let running = |device: &str| context.fleet.running(device).map(|running| running.to_string());
    let campaigns = context.desired.campaigns();
    let (asked, devices) = match &asking.devices {
        DevicesAsked::Query(text) => {
            let query: Query = text.parse().map_err(|error| Refused::invalid(format!("`devices`: {error}")))?;
            (Asked::Query(query.to_string()), campaigns.matching(&query, &running))
        }
        DevicesAsked::List(ids) => (Asked::List(ids.len()), campaigns.named(ids).map_err(refused)?),
    };
    let release = found(context, &asking.release).await?;
    let operator = call.caller.name.clone();
    Ok(Order { id: asking.name, release, reference: asking.release, asked, devices, plan, operator })
}

/// The release of a reference; a new one is fetched first.
pub(super) async fn found(context: &Context, reference: &str) -> Result<Arc<Release>, Refused> {
    context.desired.release(reference, PATIENCE).await.map_err(|unready| {
        let message = format!("release `{}`: {unready}", reference.escape_debug());
        match unready {
            Unready::Fetching => Refused::new(StatusCode::CONFLICT, format!("{message}; try again")),
            Unready::Unavailable(_) => Refused::new(StatusCode::CONFLICT, message),
            Unready::Refused(_) | Unready::Unknown => Refused::invalid(message),
        }
    })
}

fn plan(asking: &Asking) -> Result<Plan, Refused> {
    let usual = Plan::default();
    if asking.waves.len() > MAX_WAVES || asking.windows.len() > MAX_WINDOWS {
        return Err(Refused::invalid(format!("there are more than {MAX_WAVES} waves or {MAX_WINDOWS} windows")));
    }
    let wrong = |key: &str, error: &dyn std::fmt::Display| Refused::invalid(format!("`{key}`: {error}"));
    let size = |size: &Size| match size {
        Size::Count(count) => count.to_string().parse().map_err(|error| wrong("waves", &error)),
        Size::Text(text) => text.parse().map_err(|error| wrong("waves", &error)),
    };
    let percent = |key: &str, value: Option<u32>| match value {
        None | Some(1..=100) => Ok(value),
        Some(value) => Err(Refused::invalid(format!("`{key}`: {value} is no number of a hundred; write 1 to 100"))),
    };
    let window = |window: &String| window.parse().map_err(|error| wrong("windows", &error));
    Ok(Plan {
        waves: asking.waves.iter().map(size).collect::<Result<_, _>>()?,
        success: percent("success", asking.success)?.unwrap_or(usual.success),
        error: percent("error", asking.error)?.or(usual.error),
        on_error: match asking.on_error.as_deref() {
            None | Some("pause") => OnError::Pause,
            Some("abort") => OnError::Abort,
            Some(_) => return Err(Refused::invalid("`on_error` is `pause` or `abort`")),
        },
        start: starting(asking.start.as_deref())?,
        approval: asking.approval,
        windows: asking.windows.iter().map(window).collect::<Result<_, _>>()?,
        preload: asking.preload,
        downgrade: asking.downgrade,
        attempts: match asking.attempts {
            Some(0) => return Err(Refused::invalid("`attempts`: write at least 1, or leave it out")),
            attempts => attempts,
        },
        device_timeout: match asking.device_timeout {
            Some(0) => return Err(Refused::invalid("`device_timeout`: write at least 1 minute, or leave it out")),
            minutes => minutes,
        },
    })
}

fn starting(start: Option<&str>) -> Result<Start, Refused> {
    match start {
        None | Some("by-hand") => Ok(Start::ByHand),
        Some("now") => Ok(Start::Now),
        Some(time) => {
            let parsed = OffsetDateTime::parse(time, &Rfc3339).ok();
            let at_ms = parsed.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
            at_ms.map(Start::At).ok_or_else(|| {
                Refused::invalid("`start` is `by-hand`, `now`, or a time with an offset such as 2026-12-01T22:00:00Z")
            })
        }
    }
}

pub(super) fn refused(error: CampaignError) -> Refused {
    match error {
        CampaignError::Unknown(_) => Refused::unknown(error.to_string()),
        CampaignError::Store(_) => Refused::internal(error),
        CampaignError::Exists(_)
        | CampaignError::Used { .. }
        | CampaignError::Command { .. }
        | CampaignError::NotOver { .. } => Refused::new(StatusCode::CONFLICT, error.to_string()),
        CampaignError::Name(_)
        | CampaignError::Devices(_)
        | CampaignError::NoDevices
        | CampaignError::Full(_)
        | CampaignError::TooManyDevices { .. } => Refused::invalid(error.to_string()),
    }
}

fn release(release: &Release) -> Json {
    json!({ "name": release.name, "version": release.version, "image": release.image, "size": release.size })
}

fn device_drawn(drawn: &Drawn) -> Json {
    with_target(json!({ "device": drawn.device, "running": drawn.running }), &drawn.target)
}

fn with_target(mut shown: Json, target: &Target) -> Json {
    let Target { wave, standing, failures, attempt, reason, at_ms } = target;
    if let Some(shown) = shown.as_object_mut() {
        // Those that were done or skipped from the beginning are in no wave.
        shown.insert("wave".to_owned(), if *wave == 0 { Json::Null } else { (*wave).into() });
        shown.insert("state".to_owned(), standing.word().into());
        shown.insert("reason".to_owned(), json!(reason));
        shown.insert("failures".to_owned(), (*failures).into());
        shown.insert("attempt".to_owned(), (*attempt).into());
        shown.insert("at_ms".to_owned(), (*at_ms).into());
    }
    shown
}

fn shown(shown: &Shown) -> Json {
    let (campaign, progress) = (&shown.campaign, &shown.campaign.progress);
    let mut total = Tally::default();
    shown.tallies.iter().for_each(|tally| total.join(tally));
    let waves = (1_u32..).zip(shown.tallies.iter().skip(1)).map(|(wave, tally)| {
        json!({ "wave": wave, "open": wave <= progress.wave, "devices": tally.devices(), "counts": counts(tally) })
    });
    json!({
        "name": campaign.id,
        "state": progress.state.word(),
        "why": progress.why,
        "release": release(&campaign.release),
        "reference": campaign.reference,
        "asked": asked(&campaign.asked),
        "operator": campaign.operator,
        "approved": progress.approved,
        "wave": progress.wave,
        "waves": waves.collect::<Vec<_>>(),
        "devices": total.devices(),
        "counts": counts(&total),
        "plan": shown_plan(&campaign.plan),
        "created_ms": campaign.created_ms,
        "started_ms": progress.started_ms,
        "ended_ms": progress.ended_ms,
    })
}

fn counts(tally: &Tally) -> Json {
    let counts: Map<String, Json> =
        Standing::ALL.iter().map(|standing| (standing.word().to_owned(), tally.count(*standing).into())).collect();
    counts.into()
}

fn asked(asked: &Asked) -> Json {
    match asked {
        Asked::Query(query) => json!({ "query": query }),
        Asked::List(devices) => json!({ "list": devices }),
        Asked::Job(job) => json!({ "job": serde_json::from_str::<Json>(job).unwrap_or_default() }),
    }
}

fn shown_plan(plan: &Plan) -> Json {
    let texts = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>();
    let (start, start_ms) = match plan.start {
        Start::ByHand => ("by-hand", None),
        Start::Now => ("now", None),
        Start::At(at_ms) => ("at", Some(at_ms)),
    };
    let plain: BTreeMap<&str, bool> =
        [("approval", plan.approval), ("preload", plan.preload), ("downgrade", plan.downgrade)].into();
    let mut shown = json!({
        "waves": texts(&mut plan.waves.iter().map(ToString::to_string)),
        "success": plan.success,
        "error": plan.error,
        "on_error": if plan.on_error == OnError::Abort { "abort" } else { "pause" },
        "start": start,
        "start_ms": start_ms,
        "windows": texts(&mut plan.windows.iter().map(ToString::to_string)),
        "attempts": plan.attempts,
        "device_timeout": plan.device_timeout,
    });
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(plain.into_iter().map(|(key, value)| (key.to_owned(), value.into())));
    }
    shown
}
