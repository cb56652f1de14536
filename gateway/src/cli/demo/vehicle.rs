//! A simulated vehicle: it drives a loop and says what the Connected Mobility topics want to hear.
//!
//! Pure: the step number and the wall clock come in, topics and payloads go out.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Steps of one trip; then its summary is published and the next one begins.
const TRIP_STEPS: u64 = 15;
/// Trouble codes turn up, one after the other, each so many steps.
const TROUBLE_STEPS: u64 = 8;
const TROUBLE_CODES: [&str; 4] = ["P0420", "P0171", "P0300", "C1214"];
const EVENT_STEPS: u64 = 11;
const EVENTS: [&str; 3] = ["HarshBraking", "LaneDeparture", "ForwardCollisionWarning"];

/// One vehicle and where it drives.
pub(super) struct Vehicle {
    /// Its device id, its MQTT client id and the common name of its certificate.
    pub(super) id: String,
    number: u32,
}

/// A message to publish.
pub(super) struct Report {
    pub(super) topic: String,
    pub(super) payload: Value,
}

impl Vehicle {
    pub(super) fn new(number: u32) -> Self {
        Self { id: format!("vehicle-{number}"), number }
    }

    /// What the vehicle has to say in this step: telemetry always, the rest now and then.
    pub(super) fn reports(&self, step: u64, now: OffsetDateTime) -> Vec<Report> {
        // The vehicles take turns, so that something is always happening.
        let step = step + u64::from(self.number) * 3;
        let mut reports = vec![self.report("cardata", self.cardata(step, now))];
        if step.is_multiple_of(TROUBLE_STEPS) {
            reports.push(self.report("dtc", self.trouble(step / TROUBLE_STEPS, true, now)));
            // The code before it has been mended.
            reports.push(self.report("dtc", self.trouble((step / TROUBLE_STEPS).saturating_sub(1), false, now)));
        }
        if step.is_multiple_of(EVENT_STEPS) {
            reports.push(self.report("event", self.event(step, now)));
        }
        if step.is_multiple_of(TRIP_STEPS) {
            reports.push(self.report("trip", self.trip(step, now)));
        }
        reports
    }

    /// What an asset library says of the vehicle and of the device in it.
    pub(super) fn descriptions(&self, now: OffsetDateTime) -> Vec<Report> {
        let events = |kind: &str| format!("cdf/assetlibrary/events/{kind}/{}/modify", self.id);
        let (at, ecu, group) = (stamp(now), format!("ecu-{}", self.number), format!("/auto/vehicles/{}", self.id));
        let vehicle = json!({ "name": self.id, "groupPath": group, "attributes": {
            "make": "Causeway", "model": format!("Model {}", self.number), "modelYear": 2026,
        } });
        let software = json!({ "deviceId": ecu, "attributes": { "status": "installed", "softwareVersion": "1.0.0" } });
        let place = json!({ "deviceId": ecu, "attachedToGroup": group, "relationship": "installed_in" });
        let event = |payload| json!({ "event": "modify", "time": at, "payload": payload });
        vec![
            Report { topic: events("groups"), payload: event(vehicle) },
            Report { topic: events("devices"), payload: event(software) },
            Report { topic: events("devices"), payload: json!({ "event": "modify", "time": at, "attributes": place }) },
        ]
    }

    fn report(&self, kind: &str, payload: Value) -> Report {
        Report { topic: format!("dt/cvra/{}/{kind}", self.id), payload }
    }

    fn cardata(&self, step: u64, now: OffsetDateTime) -> Value {
        let (latitude, longitude, heading) = self.place(step);
        let speed = self.speed(step);
        let turns = step * 40;
        self.message(
            step,
            now,
            json!({
                "SimulationId": "causeway-demo",
                "TripId": self.trip_id(step),
                "DriverID": format!("driver-{}", self.number),
                "Name": format!("Driver {}", self.number),
                "IgnitionStatus": "run",
                "GeoLocation": {
                    "Latitude": latitude, "Longitude": longitude, "Altitude": 519,
                    "Heading": heading, "Speed": speed,
                },
                "Communications": { "GSM": { "Satelites": "9", "Fix": "3D", "NetworkType": "4G" } },
                "Acceleration": {
                    "MaxLongitudinal": { "Axis": 1.0, "Value": 0.3 },
                    "MaxLateral": { "Axis": 0.5, "Value": 0.1 },
                },
                "Throttle": { "Max": speed * 0.9, "Average": speed * 0.5 },
                "Speed": { "Max": speed + 5.0, "Average": speed },
                "Odometer": {
                    "Metres": rounded(12_000.0 + float(step) * 0.014),
                    "TicksFL": turns, "TicksFR": turns, "TicksRL": turns, "TicksRR": turns,
                },
                "Fuel": rounded((48.0 - float(step) * 0.02).max(5.0)),
                "OilTemp": self.oil_temperature(step),
            }),
        )
    }

    fn trouble(&self, at: u64, changed: bool, now: OffsetDateTime) -> Value {
        let code = pick(&TROUBLE_CODES, at);
        let mut message = self.message(at, now, json!({ "DTC": { "Code": code, "Changed": changed.to_string() } }));
        if let Some(id) = message.get_mut("MessageId") {
            *id = format!("{}-{code}-{}", self.id, stamp(now)).into();
        }
        message
    }

    /// The second vehicle runs hot: its oil goes beyond the limit and cools again.
    fn oil_temperature(&self, step: u64) -> f64 {
        let usual = if self.number == 2 { 250.0 } else { 200.0 };
        rounded(usual + 45.0 * (float(step) / 9.0).sin())
    }

    fn event(&self, step: u64, now: OffsetDateTime) -> Value {
        let (latitude, longitude, _) = self.place(step);
        let event = json!({
            "event_name": pick(&EVENTS, step / EVENT_STEPS), "event_source": "camera", "event_id": step,
            "event_data": {}, "event_location": { "latitude": latitude, "longitude": longitude },
        });
        self.message(step, now, json!({ "Alert": { "VideoEvent": event } }))
    }

    fn trip(&self, step: u64, now: OffsetDateTime) -> Value {
        let spot = |step| {
            let (latitude, longitude, _) = self.place(step);
            json!({ "Latitude": latitude, "Longitude": longitude, "Altitude": 519 })
        };
        let start = now - time::Duration::seconds(i64::try_from(TRIP_STEPS).unwrap_or(0));
        let summary = json!({
            "StartTime": stamp(start), "Distance": 4.2, "Duration": TRIP_STEPS * 1000, "Fuel": 310,
            "StartLocation": spot(step.saturating_sub(TRIP_STEPS)), "EndLocation": spot(step),
        });
        let ended = self.trip_id(step.saturating_sub(1));
        self.message(step, now, json!({ "TripId": ended, "TripSummary": summary }))
    }

    /// What all messages have, with `fields` behind it.
    fn message(&self, step: u64, now: OffsetDateTime, fields: Value) -> Value {
        let at = stamp(now);
        let mut message = json!({
            "MessageId": format!("{}-{at}", self.id), "CreationTimeStamp": at, "SendTimeStamp": at, "VIN": self.id,
        });
        debug_assert!(fields.is_object(), "step {step}");
        if let (Value::Object(all), Value::Object(fields)) = (&mut message, fields) {
            all.extend(fields);
        }
        message
    }

    fn trip_id(&self, step: u64) -> String {
        format!("{}-trip-{}", self.id, step / TRIP_STEPS)
    }

    /// A round course outside Munich, one lap each hundred steps; each vehicle has its own lane.
    fn place(&self, step: u64) -> (f64, f64, f64) {
        let angle = std::f64::consts::TAU * float(step % 100) / 100.0;
        let radius = 0.02 + 0.005 * f64::from(self.number);
        let heading = 360.0 - (angle.to_degrees() + 270.0) % 360.0;
        (precise(48.137 + radius * angle.sin()), precise(11.575 + radius * angle.cos()), rounded(heading))
    }

    fn speed(&self, step: u64) -> f64 {
        rounded(55.0 + 10.0 * f64::from(self.number) + 15.0 * (float(step) / 5.0).sin())
    }
}

fn pick<'a>(words: &[&'a str], at: u64) -> &'a str {
    words.iter().cycle().nth(usize::try_from(at).unwrap_or(0) % words.len().max(1)).copied().unwrap_or_default()
}

fn stamp(at: OffsetDateTime) -> String {
    let milliseconds = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    milliseconds.format(&Rfc3339).unwrap_or_default()
}

/// Steps are small numbers: a demo of a century stays exact.
fn float(step: u64) -> f64 {
    f64::from(u32::try_from(step).unwrap_or(u32::MAX))
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn precise(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_message_turns_up_within_one_trip() {
        let vehicle = Vehicle::new(1);
        let now = OffsetDateTime::UNIX_EPOCH;
        let topics: Vec<_> = (0..TRIP_STEPS).flat_map(|step| vehicle.reports(step, now)).map(|r| r.topic).collect();
        for kind in ["cardata", "dtc", "trip", "event"] {
            let topic = format!("dt/cvra/vehicle-1/{kind}");
            assert!(topics.contains(&topic), "{kind}");
        }
    }

    #[test]
    fn required_fields_are_in_every_message() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for report in (0..40).flat_map(|step| Vehicle::new(2).reports(step, now)) {
            for field in ["MessageId", "SendTimeStamp", "VIN"] {
                assert!(report.payload[field].is_string(), "{field} of {}", report.topic);
            }
        }
    }
}
