//! What vehicles publish: `cardata`, `dtc`, `trip` and `event`.

use causeway_plugin::Failure;
use serde_json::{Map, Value, json};

use crate::flow::Flow;
use crate::message::{Input, Put, Reading, Records, canonical_vin, put};
use crate::settings::{Set, Settings, Unit};
use crate::shared::{ENRICHED, Shared};
use crate::{anomaly, json};

/// A code is a key of a document and of an index.
const MAX_CODE_BYTES: usize = 64;

/// The rows of a vehicle's message.
pub(crate) fn route(
    settings: &Settings,
    flow: Flow,
    input: Input<'_>,
    document: Map<String, Value>,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    let vin = own_vin(&input, &document)?;
    let mut reading = Reading::new(input, document, "/sendtimestamp", settings.max_skew_ms)?;
    reading.stamp();
    reading.set("vin", vin.clone().into());
    reading.set("deviceid", input.sender.into());
    convert(&settings.units, &mut reading);
    match flow {
        Flow::Cardata => cardata(settings, reading, &vin, records),
        Flow::Dtc => dtc(settings, reading, &vin, records),
        _ => Ok(vec![put(flow.name(), reading.into_document())]),
    }
}

/// Holds the VIN of the payload, which is claimed, against what the sender proved to be; returns its canonical form.
fn own_vin(input: &Input<'_>, document: &Map<String, Value>) -> Result<String, Failure> {
    let sender = input.sender;
    let own = canonical_vin(input.vin.unwrap_or(sender));
    if let Some(device) = input.device
        && device != sender
        && canonical_vin(device) != own
    {
        return Err(Failure::rejected(format!("the topic names device {device:?}, the sender is {sender:?}")));
    }
    let claimed = document.get("vin").and_then(Value::as_str).unwrap_or_default();
    if claimed.is_empty() || canonical_vin(claimed) != own {
        return Err(Failure::rejected(format!("vin is {claimed:?}, the sender {sender:?} answers for {own:?}")));
    }
    Ok(own)
}

/// History in any order; the vehicle's latest state only if the store finds nothing newer.
fn cardata(
    settings: &Settings,
    mut reading: Reading<'_>,
    vin: &str,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    locate(&mut reading.document);
    let mut rows = Vec::new();
    if settings.enrich || !settings.anomalies.is_empty() {
        let mut shared = Shared::read(records, vin)?;
        rows = anomaly::apply(&settings.anomalies, &reading, vin, settings.max_members, &mut shared, records)?;
        if settings.enrich {
            ENRICHED.iter().for_each(|key| reading.disown(key));
            shared.enrich(&mut reading.document);
        }
        rows.extend(shared.into_put());
    }
    let timely = reading.timely;
    let document = Value::Object(reading.into_document()).to_string();
    if timely {
        rows.push(Put { collection: "latest_telemetry", document: document.clone() });
    }
    rows.insert(0, Put { collection: "cardata", document });
    Ok(rows)
}

/// A code is in the vehicle's set until it is said to have changed to nothing.
fn dtc(settings: &Settings, reading: Reading<'_>, vin: &str, records: &dyn Records) -> Result<Vec<Put>, Failure> {
    let code = json::text(&reading.document, "/dtc/code").unwrap_or_default().to_owned();
    if code.len() > MAX_CODE_BYTES {
        return Err(Failure::malformed(format!("/dtc/code: longer than {MAX_CODE_BYTES} bytes")));
    }
    let active = match json::at(&reading.document, "/dtc/changed") {
        None | Some(Value::Null | Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err(Failure::malformed("/dtc/changed: neither \"true\" nor \"false\"")),
    };
    let mut rows = Vec::new();
    if reading.timely {
        let mut shared = Shared::read(records, vin)?;
        if shared.is_news(Set::TroubleCodes, &code, reading.sent_ms) {
            let member = json!({
                "code": code, "active": active, "sentat": reading.sent_ms, "deviceid": reading.input.sender,
                "sendtimestamp": reading.document.get("sendtimestamp"),
            });
            if let Value::Object(member) = member {
                shared.set_member(Set::TroubleCodes, &code, member, settings.max_members);
            }
        }
        rows.extend(shared.into_put());
    }
    rows.insert(0, put("dtc", reading.into_document()));
    Ok(rows)
}

/// Adds `geolocation.location` as `[longitude, latitude]`, the order that GeoJSON uses.
fn locate(document: &mut Map<String, Value>) {
    let Some(Value::Object(place)) = document.get_mut("geolocation") else { return };
    if let (Some(longitude), Some(latitude)) = (place.get("longitude"), place.get("latitude"))
        && longitude.is_number()
        && latitude.is_number()
    {
        let location = Value::Array(vec![longitude.clone(), latitude.clone()]);
        place.insert("location".to_owned(), location);
    }
}

/// Adds `canonical`: readings in the units that their names say. What the vehicle wrote stays where it is.
fn convert(units: &[Unit], reading: &mut Reading<'_>) {
    let mut canonical = Map::new();
    for unit in units {
        let value = json::at(&reading.document, &unit.pointer).and_then(Value::as_f64);
        if let Some(value) = value.map(|value| value * unit.factor).filter(|value| value.is_finite()) {
            canonical.insert(unit.name.clone(), value.into());
        }
    }
    reading.disown("canonical");
    if !canonical.is_empty() {
        reading.document.insert("canonical".to_owned(), Value::Object(canonical));
    }
}
