//! Anomalies: readings that lie too far beyond a limit.
//!
//! Each such reading is a row of `anomaly`, whenever it arrives. The vehicle's set of anomalies follows the newest
//! reading only: above the threshold it is active, at or below it is cleared.

use causeway_plugin::Failure;
use serde_json::{Map, Value, json};

use crate::json;
use crate::message::{Put, Reading, Records, put};
use crate::settings::{Rule, Set};
use crate::shared::Shared;

const COLLECTION: &str = "anomaly";

/// What a rule says of a reading.
#[derive(Clone, Copy)]
struct Finding {
    value: f64,
    score: f64,
    found: bool,
}

impl Rule {
    fn of(&self, document: &Map<String, Value>) -> Option<Finding> {
        let value = json::at(document, &self.pointer)?.as_f64()?;
        let score = value - self.limit;
        Some(Finding { value, score, found: score > self.threshold })
    }
}

/// Applies the rules to a `cardata` message: the rows of what they find, and the changes of the vehicle's set.
pub(crate) fn apply(
    rules: &[Rule],
    reading: &Reading<'_>,
    vin: &str,
    most: usize,
    shared: &mut Shared,
    records: &dyn Records,
) -> Result<Vec<Put>, Failure> {
    let mut rows = Vec::new();
    for rule in rules {
        let Some(finding) = rule.of(&reading.document) else { continue };
        if finding.found {
            rows.push(row(rule, finding, reading, vin));
        }
        if reading.timely {
            follow(rule, finding, reading, vin, most, shared, records)?;
        }
    }
    Ok(rows)
}

/// Lets the vehicle's set follow the reading, unless a newer one has been heard.
fn follow(
    rule: &Rule,
    finding: Finding,
    reading: &Reading<'_>,
    vin: &str,
    most: usize,
    shared: &mut Shared,
    records: &dyn Records,
) -> Result<(), Failure> {
    if !shared.is_news(Set::Anomalies, &rule.name, reading.sent_ms) {
        return Ok(());
    }
    let known = shared.member(Set::Anomalies.name(), &rule.name);
    let active = known.is_some_and(|known| shared.is_active(Set::Anomalies, known));
    // Readings below the threshold leave no trace in the set, so the newest message says what it must not contradict.
    if !active && (!finding.found || newest(records, vin)? > reading.sent_ms) {
        return Ok(());
    }
    let since = known.filter(|_| active).and_then(|known| known.get("identified_at")).cloned();
    let member = json!({
        "anomaly_type": rule.name, "value": finding.value, "anomaly_score": finding.score, "active": finding.found,
        "sentat": reading.sent_ms, "identified_at": since.unwrap_or_else(|| reading.sent_ms.into()),
        "updated_at": reading.sent_ms, "deviceid": reading.input.sender,
    });
    if let Value::Object(member) = member {
        shared.set_member(Set::Anomalies, &rule.name, member, most);
    }
    Ok(())
}

/// When the newest `cardata` of the vehicle was sent.
fn newest(records: &dyn Records, vin: &str) -> Result<u64, Failure> {
    #[derive(serde::Deserialize)]
    struct Latest {
        sentat: u64,
    }
    let latest = records.get("latest_telemetry", vin)?;
    Ok(latest.and_then(|text| serde_json::from_str::<Latest>(&text).ok()).map_or(0, |latest| latest.sentat))
}

fn row(rule: &Rule, finding: Finding, reading: &Reading<'_>, vin: &str) -> Put {
    let mut row = Map::new();
    let mut set = |key: &str, value: Value| drop(row.insert(key.to_owned(), value));
    set("anomaly_id", format!("{vin}-{}-{}", rule.name, reading.sent_ms).into());
    set("anomaly_type", rule.name.clone().into());
    set("value", finding.value.into());
    set("anomaly_score", finding.score.into());
    set("limit", rule.limit.into());
    set("threshold", rule.threshold.into());
    set("vin", vin.into());
    set("deviceid", reading.input.sender.into());
    for key in ["messageid", "sendtimestamp", "tripid", "clock"] {
        if let Some(value) = reading.document.get(key) {
            set(key, value.clone());
        }
    }
    set("identified_at", reading.sent_ms.into());
    set("sentat", reading.sent_ms.into());
    set("receivedat", reading.input.received_ms.into());
    put(COLLECTION, row)
}
