//! Update jobs as the fleet API has them: a job is a campaign of one wave that begins at once.
//!
//! A job names a version and whom it is for, and nothing else; which firmware that is a version of is configured
//! (`campaigns.ota`). Pausing, resuming and aborting one is a matter of the campaigns' own routes.

use std::num::NonZeroU32;
use std::sync::Arc;

use causeway_core::dfu::campaign::{Plan, Standing, Start, State, Tally, Target};
use causeway_core::dfu::job::{Filters, execution};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Context;
use super::campaigns::{found, make, refused};
use super::route::{Call, Refused};
use crate::devices::Device;
use crate::dfu::campaigns::{Campaigns, Order, REMOVED, Shown};
use crate::store::campaigns::{Asked, Page};

/// Jobs and devices of one page.
const PAGE: usize = 50;

/// Devices whose executions are told at once.
const MAX_IDS: usize = 20;

/// The jobs, the newest first, page by page.
pub(super) async fn list(context: Context, call: Call) -> Result<Json, Refused> {
    let mut jobs = context.desired.campaigns().list().await.map_err(refused)?;
    jobs.retain(is_job);
    jobs.reverse();
    let begin = match call.query.get("token") {
        None => 0,
        Some(token) => {
            let last = jobs.iter().position(|job| job.campaign.id == *token);
            last.ok_or_else(|| Refused::invalid("`token` is not one that was given, or its job was deleted"))? + 1
        }
    };
    let page: Vec<_> = jobs.iter().skip(begin).take(PAGE).collect();
    let more = jobs.len() > begin + page.len();
    let next = page.last().filter(|_| more).map(|job| job.campaign.id.clone());
    Ok(json!({ "jobs": page.into_iter().map(shown).collect::<Vec<_>>(), "nextToken": next }))
}

/// What is sent to make a job. A key that is none is refused: a misspelt `dryRun` would make a real one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobAsked {
    desired_version: String,
    filters: Option<FiltersAsked>,
    timeout_config: Option<TimeoutAsked>,
    /// Makes nothing, and says for which devices the job would be.
    #[serde(default)]
    dry_run: bool,
}

/// How long an execution may be in progress, as in jobs of AWS IoT.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimeoutAsked {
    in_progress_timeout_in_minutes: NonZeroU32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct FiltersAsked {
    trouble_codes: Values,
    anomalies: Values,
    vehicle: VehicleAsked,
    software: SoftwareAsked,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct VehicleAsked {
    vin: Values,
    make: Values,
    model: Values,
    year: Values,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct SoftwareAsked {
    sw_version: Values,
}

/// A list, one value, or nothing; texts or numbers. An empty text is nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Values {
    #[default]
    None,
    One(Value),
    Many(Vec<Value>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Number(i64),
}

impl Values {
    fn texts(self) -> Vec<String> {
        let text = |value| match value {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
        };
        let values = match self {
            Self::None => Vec::new(),
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        };
        values.into_iter().map(text).filter(|text| !text.is_empty()).collect()
    }
}

impl From<FiltersAsked> for Filters {
    fn from(asked: FiltersAsked) -> Self {
        let VehicleAsked { vin, make, model, year } = asked.vehicle;
        Self {
            trouble_codes: asked.trouble_codes.texts(),
            anomalies: asked.anomalies.texts(),
            vin: vin.texts(),
            make: make.texts(),
            model: model.texts(),
            year: year.texts(),
            software: asked.software.sw_version.texts(),
        }
    }
}

/// Makes a job for all devices that its filters mean now.
pub(super) async fn create(context: Context, call: Call) -> Result<Json, Refused> {
    let mut asked: JobAsked = call.json()?;
    let filters = Filters::from(asked.filters.take().unwrap_or_default());
    if filters == Filters::default() {
        return Err(Refused::invalid("`filters` mean every device: name at least one value in them"));
    }
    let types = &context.config.campaigns.ota.types;
    let running = |device: &str| context.fleet.running(device).map(|running| running.to_string());
    let devices = context.desired.campaigns().of_job(filters, types, &running).await.map_err(refused)?;
    if devices.is_empty() {
        return Err(Refused::unknown("the filters mean no device"));
    }
    job(&context, &call, &asked, devices).await
}

/// Makes a job for one device.
pub(super) async fn create_for(context: Context, call: Call) -> Result<Json, Refused> {
    let asked: JobAsked = call.json()?;
    let id = call.parameter("device_id");
    let device = named(&context, id);
    let device = device.ok_or_else(|| Refused::unknown(format!("there is no device `{}`", id.escape_debug())))?;
    let types = &context.config.campaigns.ota.types;
    if !Campaigns::has_jobs(&device, types) {
        let types = types.join(", ");
        return Err(Refused::invalid(format!("jobs are for devices of the type {types} (`campaigns.ota.types`)")));
    }
    job(&context, &call, &asked, vec![device]).await
}

/// The device of that id. The original writes ids in capitals.
fn named(context: &Context, id: &str) -> Option<Arc<Device>> {
    context.devices.get(id).or_else(|| {
        let every = context.devices.list(&Default::default());
        let mut alike = every.into_iter().filter(|device| device.id.eq_ignore_ascii_case(id));
        alike.next().filter(|_| alike.next().is_none())
    })
}

/// Makes a job, or says for whom it would be.
async fn job(context: &Context, call: &Call, asked: &JobAsked, devices: Vec<Arc<Device>>) -> Result<Json, Refused> {
    if asked.dry_run {
        let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
        return Ok(json!({ "devices": ids.len(), "deviceIds": ids }));
    }
    let version = &asked.desired_version;
    let firmware = context.config.campaigns.ota.firmware.as_ref().ok_or_else(|| {
        Refused::invalid("no firmware is configured for jobs: set `campaigns.ota.firmware` to its name")
    })?;
    let reference = format!("{firmware}:{version}");
    let release = found(context, &reference).await?;
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| Refused::internal("the system has no random numbers"))?;
    let id = format!("cdf-{:016x}", u64::from_be_bytes(random));
    // Nobody who makes jobs could let one go on that was stopped.
    let device_timeout = asked.timeout_config.as_ref().map(|timeout| timeout.in_progress_timeout_in_minutes.get());
    let plan = Plan { start: Start::Now, error: None, device_timeout, ..Plan::default() };
    let mut asked: Json = call.json()?;
    if let (Some(asked), Some(device)) = (asked.as_object_mut(), call.path.get("device_id")) {
        asked.insert("deviceId".to_owned(), device.as_str().into());
    }
    let asked = Asked::Job(asked.to_string());
    let operator = call.caller.name.clone();
    make(context, Order { id: id.clone(), release, reference, asked, devices, plan, operator }).await?;
    Ok(json!({ "jobId": id }))
}

/// One job.
pub(super) async fn show(context: Context, call: Call) -> Result<Json, Refused> {
    Ok(shown(&one(&context, &call).await?))
}

/// The devices of a job with their vehicles, page by page.
pub(super) async fn devices(context: Context, call: Call) -> Result<Json, Refused> {
    let job = one(&context, &call).await?;
    let token = call.asked::<u32>("token")?.unwrap_or(0);
    let page = Page { offset: token.into(), limit: PAGE as u64 + 1, ..Page::default() };
    let campaigns = context.desired.campaigns();
    let mut found = campaigns.devices(&job.campaign.id, page).await.map_err(refused)?;
    let next = (found.len() > PAGE).then(|| (u64::from(token) + PAGE as u64).to_string());
    found.truncate(PAGE);
    let ids: Vec<String> = found.into_iter().map(|(device, _)| device).collect();
    let vehicles = campaigns.vehicles(&ids).await.map_err(refused)?;
    let devices = ids.iter().zip(vehicles).map(|(device, vin)| json!({ "deviceId": device, "vin": vin }));
    Ok(json!({ "devices": devices.collect::<Vec<_>>(), "nextToken": next }))
}

/// How some devices of a job stand.
pub(super) async fn executions(context: Context, call: Call) -> Result<Json, Refused> {
    let job = one(&context, &call).await?;
    let ids: Vec<&str> = call.query.get("filters").map_or("", String::as_str).split(',').map(str::trim).collect();
    let ids: Vec<&str> = ids.into_iter().filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > MAX_IDS {
        return Err(Refused::invalid(format!("`filters` names 1 to {MAX_IDS} devices, with commas between them")));
    }
    let mut executions = Vec::new();
    for id in ids {
        // One that left the registry is in the job still.
        let device = named(&context, id);
        let id = device.as_ref().map_or(id, |device| &device.id);
        let target = context.desired.campaigns().target(&job.campaign.id, id).await.map_err(refused)?;
        let target = target.ok_or_else(|| Refused::unknown(format!("`{}` is not in the job", id.escape_debug())))?;
        executions.push(execution_of(id, &target));
    }
    Ok(json!({ "executions": executions }))
}

async fn one(context: &Context, call: &Call) -> Result<Shown, Refused> {
    let id = call.parameter("job_id");
    let unknown = || Refused::unknown(format!("there is no job `{}`", id.escape_debug()));
    let job = context.desired.campaigns().show(id).await.map_err(refused)?;
    if is_job(&job) { Ok(job) } else { Err(unknown()) }
}

fn is_job(shown: &Shown) -> bool {
    matches!(shown.campaign.asked, Asked::Job(_))
}

fn shown(job: &Shown) -> Json {
    let (campaign, progress) = (&job.campaign, &job.campaign.progress);
    let asked = match &campaign.asked {
        Asked::Job(asked) => serde_json::from_str(asked).unwrap_or(Json::Null),
        Asked::Query(_) | Asked::List(_) => Json::Null,
    };
    let mut total = Tally::default();
    job.tallies.iter().for_each(|tally| total.join(tally));
    let mut summary = Map::new();
    for standing in Standing::ALL {
        let word = execution(&Target { standing, ..Target::queued(0, 0) }, REMOVED);
        let count = summary.get(word).and_then(Json::as_u64).unwrap_or(0) + total.count(standing);
        summary.insert(word.to_owned(), count.into());
    }
    let status = match progress.state {
        State::Draft | State::Scheduled => "SCHEDULED",
        State::Running | State::Paused => "IN_PROGRESS",
        State::Finished => "COMPLETED",
        State::Aborted => "CANCELED",
    };
    json!({
        "jobId": campaign.id,
        "type": "snapshot",
        "status": status,
        "comment": progress.why,
        "desiredVersion": campaign.release.version,
        "filters": asked.get("filters"),
        "deviceId": asked.get("deviceId"),
        "devices": total.devices(),
        "executions": summary,
        "createdAt": iso(campaign.created_ms),
        "completedAt": progress.ended_ms.map(iso),
    })
}

fn execution_of(device: &str, target: &Target) -> Json {
    json!({
        "deviceId": device,
        "status": execution(target, REMOVED),
        "reason": target.reason,
        "attempt": target.attempt,
        "lastUpdatedAt": iso(target.at_ms),
    })
}

fn iso(at_ms: u64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).ok()?;
    moment.format(&Rfc3339).ok()
}
