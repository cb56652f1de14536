//! The rules as plain Rust: messages in, documents out, beside a small double of the gateway's collections.

mod assets;
mod payloads;
mod sets;
mod vehicles;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;

/// 2020-09-13T12:26:40Z, when the gateway receives what a test sends unless it says otherwise.
const RECEIVED: u64 = 1_600_000_000_000;
const VIN: &str = "WVWZZZ1KZAW000001";

/// A gateway of one vehicle with the device id `d1`.
struct World {
    settings: Settings,
    received_ms: u64,
    vin: Option<&'static str>,
    kept: BTreeMap<(String, String), Map<String, Value>>,
    history: Vec<(&'static str, Value)>,
}

impl Records for World {
    fn get(&self, collection: &str, key: &str) -> Result<Option<String>, Failure> {
        let kept = self.kept.get(&(collection.to_owned(), key.to_owned()));
        Ok(kept.map(|document| Value::Object(document.clone()).to_string()))
    }
}

impl World {
    fn new() -> Self {
        Self::configured("{}")
    }

    fn configured(config: &str) -> Self {
        let settings = Settings::from_json(config).unwrap();
        Self { settings, received_ms: RECEIVED, vin: Some(VIN), kept: BTreeMap::new(), history: Vec::new() }
    }

    /// What the rules make of a message.
    fn ask(&self, topic: &str, payload: &str) -> Result<Vec<Put>, Failure> {
        let device = topic.starts_with("dt/").then(|| topic.split('/').nth(2)).flatten();
        let (payload, received_ms) = (payload.as_bytes(), self.received_ms);
        route(&self.settings, Input { topic, device, sender: "d1", vin: self.vin, payload, received_ms }, self)
    }

    /// Has a message handled and its rows kept as the store would.
    fn say(&mut self, topic: &str, payload: &Value) -> Vec<&'static str> {
        let rows = self.ask(topic, &payload.to_string()).unwrap();
        let collections = rows.iter().map(|row| row.collection).collect();
        for row in rows {
            self.keep(&row);
        }
        collections
    }

    fn keep(&mut self, row: &Put) {
        let document: Map<String, Value> = serde_json::from_str(&row.document).unwrap();
        let key = if row.collection == "devices" { "deviceid" } else { "vin" };
        let key = (row.collection.to_owned(), document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned());
        match row.collection {
            "devices" | "shared_cardata" => json::merge(self.kept.entry(key).or_default(), &document),
            "latest_telemetry" => {
                let newest = self.kept.get(&key).map_or(0, |known| json::number(known, "sentat"));
                if json::number(&document, "sentat") >= newest {
                    self.kept.insert(key, document);
                }
            }
            _ => self.history.push((row.collection, Value::Object(document))),
        }
    }

    fn cardata(&mut self, at: u64, oil: u64) -> Vec<&'static str> {
        self.say("dt/cvra/d1/cardata", &cardata(at, oil))
    }

    fn dtc(&mut self, at: u64, code: &str, changed: &str) -> Vec<&'static str> {
        let payload = json!({"SendTimeStamp": stamp(at), "VIN": VIN, "DTC": {"Code": code, "Changed": changed}});
        self.say("dt/cvra/d1/dtc", &payload)
    }

    fn latest(&self) -> Value {
        self.document("latest_telemetry", VIN)
    }

    fn document(&self, collection: &str, key: &str) -> Value {
        self.kept.get(&(collection.to_owned(), key.to_owned())).cloned().map_or(Value::Null, Value::Object)
    }

    fn history(&self, collection: &str) -> Vec<&Value> {
        self.history.iter().filter(|(of, _)| *of == collection).map(|(_, row)| row).collect()
    }

    /// The names in a set of the enriched document that the vehicle's next telemetry makes.
    fn active(&mut self, set: &str, name: &str) -> Vec<String> {
        let rows = self.ask("dt/cvra/d1/cardata", &cardata(0, 0).to_string()).unwrap();
        let document: Value = serde_json::from_str(&rows[0].document).unwrap();
        let members = document[set].as_array().cloned().unwrap_or_default();
        members.iter().map(|member| member[name].as_str().unwrap().to_owned()).collect()
    }

    fn malformed(&self, topic: &str, payload: &str) -> String {
        match self.ask(topic, payload) {
            Err(Failure::Malformed(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn rejected(&self, topic: &str, payload: &str) -> String {
        match self.ask(topic, payload) {
            Err(Failure::Rejected(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// Seconds after 12:00:00 as a vehicle writes it; the gateway's clock says 12:26:40.
fn stamp(at: u64) -> String {
    format!("2020-09-13T12:{:02}:{:02}Z", at / 60, at % 60)
}

/// The same as milliseconds.
fn ms(at: u64) -> u64 {
    RECEIVED - 1_600_000 + at * 1000
}

fn cardata(at: u64, oil: u64) -> Value {
    json!({
        "MessageId": format!("{VIN}-{at}-{oil}"), "SendTimeStamp": stamp(at), "VIN": VIN, "TripId": "t",
        "GeoLocation": {"Latitude": 48.1, "Longitude": 11.5}, "OilTemp": oil,
        "Odometer": {"Metres": 12.5}, "Fuel": 41, "FuelInfo": {"CurrentTripConsumption": 500},
        "Speed": {"Average": 50, "Max": 60}, "New": {"Key": 1},
    })
}

#[test]
fn a_flow_that_is_off_has_no_effects() {
    let world = World::configured(r#"{"flows":{"trip":false}}"#);
    assert_eq!(world.ask("dt/cvra/d1/trip", "not even JSON").unwrap(), []);
    world.malformed("dt/cvra/d1/dtc", "not even JSON");
}

#[test]
fn a_topic_of_no_flow_is_malformed() {
    let world = World::new();
    for topic in
        ["dt/cvra/d1/cardata/x", "dt/cvra/d1/route", "cdf/assetlibrary/events/users/u", "$aws/events/job/j", "x"]
    {
        assert!(world.malformed(topic, "{}").contains("the topic is none of"), "{topic}");
    }
}

#[test]
fn an_unknown_configuration_key_is_an_error_that_names_it() {
    let configure = |config: &str| {
        let setup = Setup { gateway: "g".to_owned(), binding: "b".to_owned(), config: config.to_owned() };
        Telemetry::configure(&setup)
    };
    assert!(configure("{}").is_ok());
    assert!(configure(r#"{"max_skew":1}"#).unwrap_err().starts_with("max_skew:"));
}
