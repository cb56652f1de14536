//! What became of update jobs, as a cloud would say it: `{jobId, thingArn, status, timestamp, statusDetails}`.
//!
//! Every event is a row of `job_execution`. One that says SUCCEEDED also sets the software of the device, in its own
//! record, in its vehicle's document and in `latest_telemetry`, and clears what the configuration says an update mends.
//! Rows of `cardata` are history and stay as they were.

use causeway_plugin::Failure;
use serde_json::{Map, Value};

use crate::asset::{DEVICES, device_row, member, vin_of};
use crate::json;
use crate::message::{Input, Put, Reading, Records, put, read};
use crate::settings::Settings;
use crate::shared::Shared;

/// As long as the id of a device of our own.
const MAX_ID_BYTES: usize = 128;

/// Where the event may say which software was installed.
const VERSIONS: [&str; 6] = [
    "/statusdetails/softwareversion",
    "/statusdetails/desiredversion",
    "/statusdetails/reportedversion",
    "/softwareversion",
    "/desiredversion",
    "/reportedversion",
];

/// The end, or a stage, of a job on one device.
pub(crate) fn execution(
    settings: &Settings,
    input: Input<'_>,
    document: Map<String, Value>,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    let mut reading = Reading::new(input, document, "/timestamp", settings.max_skew_ms)?;
    let id = device_id(&reading.document)?;
    let known = read(records, DEVICES, &id)?;
    reading.stamp();
    reading.set("deviceid", id.clone().into());
    if let Some(vin) = vin_of(&known) {
        reading.set("vin", vin.into());
    }
    let mut rows = Vec::new();
    let succeeded = json::text(&reading.document, "/status") == Some("SUCCEEDED");
    if succeeded && reading.timely {
        rows = success(settings, &reading, &id, known, records)?;
    }
    rows.insert(0, put("job_execution", reading.into_document()));
    Ok(rows)
}

fn success(
    settings: &Settings,
    reading: &Reading<'_>,
    id: &str,
    known: Map<String, Value>,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    let mut rows = Vec::new();
    let mut device = known.clone();
    let newer = reading.sent_ms >= json::number(&known, "softwareat");
    if let Some(version) = version(settings, &reading.document).filter(|_| newer) {
        let change = Map::from_iter([
            ("softwareversion".to_owned(), version.into()),
            ("softwareat".to_owned(), reading.sent_ms.into()),
        ]);
        json::merge(&mut device, &change);
        rows.push(device_row(change, id, reading, &known));
    }
    let Some(vin) = vin_of(&device) else { return Ok(rows) };
    let mut shared = Shared::read(records, vin)?;
    if !rows.is_empty() {
        shared.set_device(id, member(&device, id), settings.max_members)?;
    }
    for set in &settings.job_clears {
        shared.clear(*set, reading.sent_ms);
    }
    if settings.enrich {
        rows.extend(refreshed(&shared, vin, records)?);
    }
    rows.extend(shared.into_put());
    Ok(rows)
}

/// The vehicle's latest telemetry with what is known now. It keeps its time, so any newer message replaces it.
fn refreshed(shared: &Shared, vin: &str, records: &dyn Records) -> Result<Option<Put>, Failure> {
    let mut latest = read(records, "latest_telemetry", vin)?;
    if latest.is_empty() {
        return Ok(None);
    }
    shared.enrich(&mut latest);
    Ok(Some(put("latest_telemetry", latest)))
}

/// The last part of the thing's name, as the asset library writes ids.
fn device_id(document: &Map<String, Value>) -> Result<String, Failure> {
    let arn = json::text(document, "/thingarn").unwrap_or_default();
    let id = arn.rsplit('/').next().unwrap_or_default().to_lowercase();
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        Ok(id)
    } else {
        Err(Failure::malformed("/thingarn: does not end with the name of a device"))
    }
}

fn version(settings: &Settings, document: &Map<String, Value>) -> Option<String> {
    let said = VERSIONS.iter().find_map(|pointer| json::text(document, pointer));
    let planned = || settings.job_versions.get(json::text(document, "/jobid")?).map(String::as_str);
    said.or_else(planned).map(str::to_owned)
}
