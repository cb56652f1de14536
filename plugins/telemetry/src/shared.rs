//! What is known about a vehicle beyond its last message: the document of its VIN in `shared_cardata`.
//!
//! ```json
//! {"vin": "…", "attributes": {"make": "…"}, "attributesat": 0,
//!  "devices":       {"<device id>": {"deviceid": "…", "softwareversion": "…"}},
//!  "trouble_codes": {"<code>": {"code": "…", "active": true, "sentat": 0}},
//!  "anomalies":     {"<type>": {"anomaly_type": "…", "value": 0, "anomaly_score": 0, "active": true, "sentat": 0}},
//!  "cleared":       {"trouble_codes": 0, "anomalies": 0}}
//! ```
//!
//! Every member has the time at which it was sent, also when it is not active any more: an older message must not
//! bring it back. What was sent up to a time in `cleared` counts as cleared, whenever it arrives.

use causeway_plugin::Failure;
use serde_json::{Map, Value};

use crate::json;
use crate::message::{Put, Records, put, read};
use crate::settings::Set;

pub(crate) const COLLECTION: &str = "shared_cardata";

/// The keys of `cardata` that say what is known about the vehicle.
pub(crate) const ENRICHED: [&str; 4] = ["attributes", "devices", "trouble_codes", "anomalies"];

/// A vehicle's document with the changes that the message makes.
pub(crate) struct Shared {
    vin: String,
    document: Map<String, Value>,
    patch: Map<String, Value>,
}

impl Shared {
    pub(crate) fn read(records: &dyn Records, vin: &str) -> Result<Self, Failure> {
        let document = read(records, COLLECTION, vin)?;
        Ok(Self { vin: vin.to_owned(), document, patch: Map::new() })
    }

    /// The member of that name, active or not.
    pub(crate) fn member(&self, set: &str, name: &str) -> Option<&Map<String, Value>> {
        self.members(set)?.get(name)?.as_object()
    }

    fn members(&self, set: &str) -> Option<&Map<String, Value>> {
        self.document.get(set)?.as_object()
    }

    /// Whether a member of a set counts.
    pub(crate) fn is_active(&self, set: Set, member: &Map<String, Value>) -> bool {
        let active = member.get("active").and_then(Value::as_bool).unwrap_or(false);
        active && json::number(member, "sentat") > self.cleared(set)
    }

    fn cleared(&self, set: Set) -> u64 {
        self.document.get("cleared").and_then(Value::as_object).map_or(0, |cleared| json::number(cleared, set.name()))
    }

    /// Whether something that was sent at `sent_ms` is newer than, or as new as, what is known of the member.
    pub(crate) fn is_news(&self, set: Set, name: &str, sent_ms: u64) -> bool {
        sent_ms > self.cleared(set)
            && self.member(set.name(), name).is_none_or(|known| sent_ms >= json::number(known, "sentat"))
    }

    /// Sets a member. Beyond `most` members the one that was heard of longest ago goes, inactive ones first.
    pub(crate) fn set_member(&mut self, set: Set, name: &str, member: Map<String, Value>, most: usize) {
        let members = self.members(set.name());
        if let Some(members) = members.filter(|members| members.len() >= most && !members.contains_key(name)) {
            let age = |member: &Value| {
                let member = member.as_object();
                member.map_or((false, 0), |m| (self.is_active(set, m), json::number(m, "sentat")))
            };
            if let Some((oldest, _)) = members.iter().min_by_key(|(_, member)| age(member)) {
                let oldest = oldest.clone();
                self.change([(set.name(), Value::Object(Map::from_iter([(oldest, Value::Null)])))]);
            }
        }
        self.change([(set.name(), Value::Object(Map::from_iter([(name.to_owned(), Value::Object(member))])))]);
    }

    /// Sets or removes a device.
    pub(crate) fn set_device(&mut self, id: &str, device: Value, most: usize) -> Result<(), Failure> {
        let devices = self.members("devices").map_or(0, Map::len);
        if !device.is_null() && devices >= most && self.member("devices", id).is_none() {
            return Err(Failure::rejected(format!("vehicle {:?} has {devices} devices already", self.vin)));
        }
        self.change([("devices", Value::Object(Map::from_iter([(id.to_owned(), device)])))]);
        Ok(())
    }

    /// Everything of the set that was sent up to `until_ms` counts as cleared.
    pub(crate) fn clear(&mut self, set: Set, until_ms: u64) {
        if until_ms > self.cleared(set) {
            let cleared = Map::from_iter([(set.name().to_owned(), until_ms.into())]);
            self.change([("cleared", Value::Object(cleared))]);
        }
    }

    /// What the asset library says of the vehicle takes the place of what it said before; an older word does nothing.
    pub(crate) fn set_attributes(&mut self, attributes: Option<Map<String, Value>>, sent_ms: u64) {
        if sent_ms < json::number(&self.document, "attributesat") {
            return;
        }
        let attributes = attributes.map_or(Value::Null, |mut new| {
            let gone = self.members("attributes").into_iter().flat_map(Map::keys);
            let gone: Vec<_> = gone.filter(|key| !new.contains_key(*key)).cloned().collect();
            new.extend(gone.into_iter().map(|key| (key, Value::Null)));
            Value::Object(new)
        });
        self.change([("attributes", attributes), ("attributesat", sent_ms.into())]);
    }

    fn change<const N: usize>(&mut self, changes: [(&str, Value); N]) {
        for (key, value) in changes {
            let change = Map::from_iter([(key.to_owned(), value)]);
            json::merge(&mut self.document, &change);
            add(&mut self.patch, change);
        }
    }

    /// Attaches what is known to a `cardata` document under [`ENRICHED`], the sets as lists of their active members.
    pub(crate) fn enrich(&self, document: &mut Map<String, Value>) {
        if self.document.is_empty() {
            return;
        }
        let mut set = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
        if let Some(attributes) = self.document.get("attributes") {
            set("attributes", attributes.clone());
        }
        let devices = self.members("devices").into_iter().flat_map(Map::values).cloned();
        set("devices", Value::Array(devices.collect()));
        for kind in Set::ALL {
            let members = self.members(kind.name()).into_iter().flat_map(Map::values).filter_map(Value::as_object);
            let active = members.filter(|member| self.is_active(kind, member)).cloned().map(|mut member| {
                member.remove("active");
                Value::Object(member)
            });
            set(kind.name(), Value::Array(active.collect()));
        }
    }

    /// The row that makes the changes, if there are any.
    pub(crate) fn into_put(mut self) -> Option<Put> {
        if self.patch.is_empty() {
            return None;
        }
        self.patch.insert("vin".to_owned(), self.vin.into());
        Some(put(COLLECTION, self.patch))
    }
}

/// Adds a change to a patch. Unlike a merge into a document it keeps `null`, which says "remove".
fn add(patch: &mut Map<String, Value>, change: Map<String, Value>) {
    for (key, value) in change {
        match (patch.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(value)) => add(known, value),
            (_, value) => drop(patch.insert(key, value)),
        }
    }
}
