//! What the asset library says: which device is built into which vehicle, with which software, and what a vehicle is.
//!
//! Who may publish these is for a policy to say, so nothing is held against the sender here. An event is
//! `{event, time, objectId, attributes, payload}` with the object itself, as an object or as JSON in a text, in
//! `payload`; the object without that envelope is taken as well. Events come in any order: a device's record in
//! `devices` joins what is said about its software with what is said about its vehicle.

use causeway_plugin::Failure;
use serde_json::{Map, Value};

use crate::json;
use crate::message::{Input, Put, Reading, Records, canonical_vin, put, read};
use crate::settings::Settings;
use crate::shared::Shared;

pub(crate) const DEVICES: &str = "devices";

/// As long as the id of a device of our own.
const MAX_NAME_BYTES: usize = 128;

/// A change of a device.
pub(crate) fn device(
    settings: &Settings,
    input: Input<'_>,
    document: Map<String, Value>,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    let event = Event::read(settings, input, document)?;
    let id = event.device_id().ok_or_else(|| Failure::malformed("/payload/deviceId: missing, or not a text"))?;
    let known = read(records, DEVICES, &id)?;
    let change = event.device_change(settings, &known);
    if change.is_empty() {
        return Ok(Vec::new());
    }
    let mut device = known.clone();
    json::merge(&mut device, &change);
    let mut rows = Vec::new();
    let (before, after) = (vin_of(&known), vin_of(&device));
    if let Some(vin) = before.filter(|_| before != after) {
        let mut shared = Shared::read(records, vin)?;
        shared.set_device(&id, Value::Null, settings.max_members)?;
        rows.extend(shared.into_put());
    }
    if let Some(vin) = after {
        let mut shared = Shared::read(records, vin)?;
        shared.set_device(&id, member(&device, &id), settings.max_members)?;
        rows.extend(shared.into_put());
    }
    rows.insert(0, device_row(change, &id, &event.reading, &known));
    Ok(rows)
}

/// A change of a group. Only vehicles are of interest.
pub(crate) fn group(
    settings: &Settings,
    input: Input<'_>,
    document: Map<String, Value>,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    let event = Event::read(settings, input, document)?;
    let Some(vin) = event.vehicle(settings)? else { return Ok(Vec::new()) };
    let mut shared = Shared::read(records, &vin)?;
    let attributes = match event.object.get("attributes") {
        Some(Value::Object(attributes)) => Some(attributes.clone()),
        _ => Some(Map::new()),
    };
    shared.set_attributes(attributes.filter(|_| !event.is("delete")), event.reading.sent_ms);
    Ok(shared.into_put().into_iter().collect())
}

/// The row of a device: the change, and the newest time that it has heard of.
pub(crate) fn device_row(
    mut change: Map<String, Value>,
    id: &str,
    reading: &Reading<'_>,
    known: &Map<String, Value>,
) -> Put {
    change.insert("deviceid".to_owned(), id.into());
    change.insert("sentat".to_owned(), reading.sent_ms.max(json::number(known, "sentat")).into());
    change.insert("receivedat".to_owned(), reading.input.received_ms.into());
    put(DEVICES, change)
}

/// The vehicle that a device is in.
pub(crate) fn vin_of(device: &Map<String, Value>) -> Option<&str> {
    device.get("vin").and_then(Value::as_str)
}

/// A device as its vehicle's document shows it.
pub(crate) fn member(device: &Map<String, Value>, id: &str) -> Value {
    let mut member = Map::new();
    member.insert("deviceid".to_owned(), id.into());
    for key in ["softwareversion", "status", "relationship"] {
        // A merge keeps what a patch does not name, so what is gone is named.
        member.insert(key.to_owned(), device.get(key).cloned().unwrap_or(Value::Null));
    }
    Value::Object(member)
}

/// An event of the asset library, taken apart.
struct Event<'a> {
    reading: Reading<'a>,
    /// The device or group that the event is about; empty when the event is about a relation only.
    object: Map<String, Value>,
}

impl<'a> Event<'a> {
    fn read(settings: &Settings, input: Input<'a>, document: Map<String, Value>) -> Result<Self, Failure> {
        let object = match document.get("payload") {
            Some(Value::String(text)) => {
                json::lower_cased(text.as_bytes()).map_err(|error| Failure::malformed(format!("/payload: {error}")))?
            }
            Some(Value::Object(object)) => object.clone(),
            Some(Value::Null) => Map::new(),
            None if ["event", "type", "objectid"].iter().any(|key| document.contains_key(*key)) => Map::new(),
            None => document.clone(),
            Some(_) => return Err(Failure::malformed("/payload: neither an object nor JSON in a text")),
        };
        let reading = Reading::new(input, document, "/time", settings.max_skew_ms)?;
        if !reading.timely {
            return Err(Failure::rejected("/time: further ahead of the gateway's clock than `max_skew_seconds`"));
        }
        Ok(Self { reading, object })
    }

    fn is(&self, event: &str) -> bool {
        json::text(&self.reading.document, "/event").is_some_and(|text| text.eq_ignore_ascii_case(event))
    }

    /// A text of the object, else of the envelope's attributes.
    fn text(&self, key: &str) -> Option<&str> {
        let pointer = format!("/{key}");
        json::text(&self.object, &pointer)
            .or_else(|| json::text(&self.object, &format!("/attributes{pointer}")))
            .or_else(|| json::text(&self.reading.document, &format!("/attributes{pointer}")))
    }

    /// The asset library's ids do not tell case apart.
    fn device_id(&self) -> Option<String> {
        let id = self.text("deviceid").or_else(|| json::text(&self.reading.document, "/objectid"))?;
        Some(id.to_lowercase()).filter(|id| id.len() <= MAX_NAME_BYTES)
    }

    /// What the event changes in the device's record; nothing that the record has a newer word on.
    fn device_change(&self, settings: &Settings, known: &Map<String, Value>) -> Map<String, Value> {
        let (mut change, sent_ms) = (Map::new(), self.reading.sent_ms);
        let mut set = |key: &str, value: Value| drop(change.insert(key.to_owned(), value));
        if let Some(vin) = self.installation(settings)
            && sent_ms >= json::number(known, "attachedat")
        {
            let relationship = vin.as_ref().map_or(Value::Null, |_| "installed_in".into());
            set("vin", vin.map_or(Value::Null, Value::String));
            set("relationship", relationship);
            set("attachedat", sent_ms.into());
        }
        let (software, status) = (self.text("softwareversion"), self.text("status"));
        let status = if self.is("delete") { Some("deleted") } else { status };
        if (software.is_some() || status.is_some()) && sent_ms >= json::number(known, "softwareat") {
            for (key, value) in [("softwareversion", software), ("status", status)] {
                if let Some(value) = value {
                    set(key, value.into());
                }
            }
            set("softwareat", sent_ms.into());
        }
        change
    }

    /// The vehicle that the device is said to be in now: `Some(None)` takes it out of the one it was in.
    fn installation(&self, settings: &Settings) -> Option<Option<String>> {
        let relation = self.text("relationship");
        if relation.is_some_and(|relation| !relation.eq_ignore_ascii_case("installed_in")) {
            return None;
        }
        if self.is("delete") || self.text("detachedfromgroup").is_some_and(|group| vin_in(settings, group).is_some()) {
            return Some(None);
        }
        let listed = ["/groups/out/installed_in/0", "/groups/installed_in/0"];
        let listed = || listed.iter().find_map(|pointer| json::text(&self.object, pointer));
        self.text("attachedtogroup").or_else(listed).and_then(|group| vin_in(settings, group)).map(Some)
    }

    /// The VIN, if the group is a vehicle.
    fn vehicle(&self, settings: &Settings) -> Result<Option<String>, Failure> {
        let path = json::text(&self.object, "/grouppath").or_else(|| json::text(&self.reading.document, "/objectid"));
        let path_vin = path.map(|path| vin_in(settings, path));
        let relates = ["attachedtogroup", "detachedfromgroup"].iter().any(|key| self.text(key).is_some());
        if relates || path_vin == Some(None) {
            return Ok(None);
        }
        let name = json::text(&self.object, "/name").map(canonical_vin);
        let vin = name.or_else(|| path_vin.flatten()).filter(|vin| vin.len() <= MAX_NAME_BYTES);
        vin.map(Some).ok_or_else(|| Failure::malformed("/payload/name: missing, or not the name of a vehicle"))
    }
}

/// The vehicle that a group's path names.
fn vin_in(settings: &Settings, path: &str) -> Option<String> {
    let (folder, name) = path.split_at_checked(settings.vehicles.len())?;
    let is_vehicle = folder.to_lowercase() == settings.vehicles && !name.is_empty() && !name.contains('/');
    is_vehicle.then(|| canonical_vin(name)).filter(|vin| vin.len() <= MAX_NAME_BYTES)
}
