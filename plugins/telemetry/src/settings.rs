//! The plugin's configuration: which flows, which anomaly rules, which units, and the bounds.
//!
//! Every key may be left out. A key that is unknown or of the wrong type is an error that names it by its path.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::flow::Flow;

/// The configuration, checked.
#[derive(Debug)]
pub struct Settings {
    off: Vec<Flow>,
    pub(crate) max_payload: usize,
    pub(crate) max_skew_ms: u64,
    /// Trouble codes, anomalies and devices that one vehicle may have, each.
    pub(crate) max_members: usize,
    pub(crate) enrich: bool,
    pub(crate) anomalies: Vec<Rule>,
    pub(crate) units: Vec<Unit>,
    /// The folder of the asset library's groups that are vehicles.
    pub(crate) vehicles: String,
    pub(crate) job_clears: Vec<Set>,
    /// The software that a job installs, for jobs whose events do not say.
    pub(crate) job_versions: BTreeMap<String, String>,
}

/// What makes a reading an anomaly: it lies more than `threshold` beyond `limit`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) pointer: String,
    pub(crate) limit: f64,
    pub(crate) threshold: f64,
}

/// A reading in its canonical unit, under a name that says the unit.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) pointer: String,
    pub(crate) name: String,
    pub(crate) factor: f64,
}

/// A set of a vehicle's members that can be cleared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Set {
    TroubleCodes,
    Anomalies,
}

impl Set {
    pub(crate) const ALL: [Self; 2] = [Self::TroubleCodes, Self::Anomalies];

    /// The word for it in documents and in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TroubleCodes => "trouble_codes",
            Self::Anomalies => "anomalies",
        }
    }
}

/// Pointer on the wire, canonical name, factor. The wire's odometer says metres and means kilometres.
const UNITS: [(&str, &str, f64); 8] = [
    ("/odometer/metres", "odometer_km", 1.0),
    ("/fuel", "fuel_l", 1.0),
    ("/fuelinfo/currenttripconsumption", "trip_fuel_l", 0.001),
    ("/speed/average", "speed_average_kmh", 1.0),
    ("/speed/max", "speed_max_kmh", 1.0),
    ("/tripsummary/distance", "distance_km", 1.0),
    ("/tripsummary/duration", "duration_s", 0.001),
    ("/tripsummary/fuel", "fuel_l", 0.001),
];

impl Default for Settings {
    fn default() -> Self {
        let unit = |(pointer, name, factor): (&str, &str, f64)| Unit {
            pointer: pointer.to_owned(),
            name: name.to_owned(),
            factor,
        };
        let oil = Rule { name: "OilTemp".to_owned(), pointer: "/oiltemp".to_owned(), limit: 250.0, threshold: 30.0 };
        Self {
            off: Vec::new(),
            max_payload: 256 << 10,
            max_skew_ms: 300_000,
            max_members: 256,
            enrich: true,
            anomalies: vec![oil],
            units: UNITS.map(unit).to_vec(),
            vehicles: "/auto/vehicles/".to_owned(),
            job_clears: Set::ALL.to_vec(),
            job_versions: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the binding's `config` section.
    ///
    /// # Errors
    /// The key that is wrong, and what it should be.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let Ok(Value::Object(keys)) = serde_json::from_str(text) else {
            return Err("the configuration is not an object".to_owned());
        };
        let mut settings = Self::default();
        let mut section = Section { path: String::new(), keys };
        if let Some(mut flows) = section.section("flows")? {
            for flow in Flow::ALL {
                if !flows.boolean(flow.name(), true)? {
                    settings.off.push(flow);
                }
            }
            flows.end()?;
        }
        settings.max_payload = section.whole("max_payload_bytes", settings.max_payload, 1 << 10..=1 << 20)?;
        settings.max_members = section.whole("max_members", settings.max_members, 1..=4096)?;
        let skew = section.whole("max_skew_seconds", 300, 0..=7 * 86_400)?;
        settings.max_skew_ms = u64::try_from(skew).unwrap_or(u64::MAX).saturating_mul(1000);
        settings.enrich = section.boolean("enrich", true)?;
        if let Some(rules) = section.list("anomalies")? {
            settings.anomalies = rules.into_iter().map(rule).collect::<Result<_, _>>()?;
            refuse_twins(&settings.anomalies)?;
        }
        if let Some(units) = section.list("units")? {
            settings.units = units.into_iter().map(unit).collect::<Result<_, _>>()?;
        }
        if let Some(folder) = section.text("vehicle_groups")? {
            if !(folder.starts_with('/') && folder.ends_with('/')) {
                return Err("vehicle_groups: a path that begins and ends with `/`".to_owned());
            }
            settings.vehicles = folder.to_lowercase();
        }
        if let Some(job) = section.section("job_success")? {
            job_success(job, &mut settings)?;
        }
        section.end()?;
        Ok(settings)
    }

    /// Whether messages of this flow have effects.
    pub(crate) fn is_on(&self, flow: Flow) -> bool {
        !self.off.contains(&flow)
    }
}

fn rule(mut section: Section) -> Result<Rule, String> {
    let rule = Rule {
        name: section.name("type")?,
        pointer: section.pointer()?,
        limit: section.number("limit", None)?,
        threshold: section.number("threshold", Some(0.0))?,
    };
    section.end()?;
    Ok(rule)
}

fn refuse_twins(rules: &[Rule]) -> Result<(), String> {
    for (at, rule) in rules.iter().enumerate() {
        if rules.iter().take(at).any(|earlier| earlier.name == rule.name) {
            return Err(format!("anomalies[{at}].type: there are two rules for {:?}", rule.name));
        }
    }
    Ok(())
}

fn unit(mut section: Section) -> Result<Unit, String> {
    let unit =
        Unit { pointer: section.pointer()?, name: section.name("name")?, factor: section.number("factor", Some(1.0))? };
    section.end()?;
    Ok(unit)
}

fn job_success(mut section: Section, settings: &mut Settings) -> Result<(), String> {
    let path = section.path_of("clears");
    if let Some(sets) = section.keys.remove("clears") {
        let sets = sets.as_array().ok_or_else(|| format!("{path}: a list"))?;
        let set = |value: &Value| Set::ALL.into_iter().find(|set| value.as_str() == Some(set.name()));
        let sets: Option<_> = sets.iter().map(set).collect();
        settings.job_clears = sets.ok_or_else(|| format!("{path}: a list of `trouble_codes` and `anomalies`"))?;
    }
    if let Some(versions) = section.section("versions")? {
        for (job, version) in versions.keys {
            let Value::String(version) = version else { return Err(format!("{}.{job}: a text", versions.path)) };
            settings.job_versions.insert(job, version);
        }
    }
    section.end()
}

/// A part of the configuration; what is read is taken out, and what remains is unknown.
struct Section {
    path: String,
    keys: Map<String, Value>,
}

impl Section {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take<T>(&mut self, key: &str, what: &str, read: impl Fn(Value) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.keys.remove(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| format!("{}: {what}", self.path_of(key)))
    }

    fn boolean(&mut self, key: &str, default: bool) -> Result<bool, String> {
        Ok(self.take(key, "true or false", |value| value.as_bool())?.unwrap_or(default))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.take(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn whole(&mut self, key: &str, default: usize, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        let read = |value: Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| range.contains(n));
        Ok(self.take(key, &what, read)?.unwrap_or(default))
    }

    fn number(&mut self, key: &str, default: Option<f64>) -> Result<f64, String> {
        let number = self.take(key, "a number", |value| value.as_f64())?.or(default);
        number.ok_or_else(|| format!("{}: missing; a number", self.path_of(key)))
    }

    /// A short text that is required.
    fn name(&mut self, key: &str) -> Result<String, String> {
        let what = "a text of 1 to 64 bytes";
        let name = self
            .take(key, what, |value| value.as_str().filter(|text| (1..=64).contains(&text.len())).map(str::to_owned))?;
        name.ok_or_else(|| format!("{}: missing; {what}", self.path_of(key)))
    }

    /// Where a reading is; lower-cased, as the keys of documents are.
    fn pointer(&mut self) -> Result<String, String> {
        let what = "a JSON pointer such as /oiltemp";
        let pointer = self.take("pointer", what, |value| {
            value.as_str().filter(|text| text.starts_with('/')).map(str::to_lowercase)
        })?;
        pointer.ok_or_else(|| format!("{}: missing; {what}", self.path_of("pointer")))
    }

    fn section(&mut self, key: &str) -> Result<Option<Self>, String> {
        let path = self.path_of(key);
        let keys = self.take(key, "an object", |value| match value {
            Value::Object(keys) => Some(keys),
            _ => None,
        })?;
        Ok(keys.map(|keys| Self { path, keys }))
    }

    fn list(&mut self, key: &str) -> Result<Option<Vec<Self>>, String> {
        let path = self.path_of(key);
        self.take(key, "a list of objects", |value| {
            let Value::Array(items) = value else { return None };
            let section = |(at, item)| match item {
                Value::Object(keys) => Some(Self { path: format!("{path}[{at}]"), keys }),
                _ => None,
            };
            items.into_iter().enumerate().map(section).collect()
        })
    }

    fn end(self) -> Result<(), String> {
        match self.keys.keys().next() {
            Some(key) => Err(format!("{}: unknown key", self.path_of(key))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, expected: &str) {
        let error = Settings::from_json(config).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn without_keys_every_flow_is_on_and_hot_oil_is_an_anomaly() {
        let settings = Settings::from_json("{}").unwrap();
        assert!(Flow::ALL.into_iter().all(|flow| settings.is_on(flow)));
        let [rule] = settings.anomalies.as_slice() else { panic!("{:?}", settings.anomalies) };
        assert_eq!((rule.name.as_str(), rule.limit, rule.threshold), ("OilTemp", 250.0, 30.0));
    }

    #[test]
    fn every_key_is_read() {
        let settings = Settings::from_json(
            r#"{"flows":{"trip":false},"max_payload_bytes":4096,"max_members":3,"max_skew_seconds":9,"enrich":false,
                "anomalies":[{"type":"Hot","pointer":"/Engine/Temp","limit":90}],
                "units":[{"pointer":"/Range","name":"range_km","factor":1.609}],
                "vehicle_groups":"/Fleet/","job_success":{"clears":["anomalies"],"versions":{"j1":"2.0"}}}"#,
        )
        .unwrap();
        assert!(!settings.is_on(Flow::Trip) && settings.is_on(Flow::Dtc) && !settings.enrich);
        assert_eq!((settings.max_payload, settings.max_members, settings.max_skew_ms), (4096, 3, 9000));
        assert_eq!((settings.anomalies[0].pointer.as_str(), settings.anomalies[0].threshold), ("/engine/temp", 0.0));
        assert_eq!((settings.units[0].name.as_str(), settings.vehicles.as_str()), ("range_km", "/fleet/"));
        assert_eq!(
            (settings.job_clears.as_slice(), settings.job_versions["j1"].as_str()),
            (&[Set::Anomalies][..], "2.0")
        );
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_key_by_its_path() {
        check(r#"{"max_skew":1}"#, "max_skew: unknown key");
        check(r#"{"flows":{"trips":false}}"#, "flows.trips: unknown key");
        check(r#"{"anomalies":[{"type":"a","pointer":"/a","limit":1,"min":1}]}"#, "anomalies[0].min: unknown key");
        check(r#"{"units":[{"pointer":"/a","name":"b","offset":1}]}"#, "units[0].offset: unknown key");
        check(r#"{"job_success":{"clear":[]}}"#, "job_success.clear: unknown key");
    }

    #[test]
    fn wrong_values_are_errors_that_name_the_key_and_what_it_should_be() {
        check("[]", "the configuration is not an object");
        check(r#"{"flows":{"trip":"off"}}"#, "flows.trip: true or false");
        check(r#"{"max_payload_bytes":10}"#, "max_payload_bytes: a whole number from 1024");
        check(r#"{"anomalies":{}}"#, "anomalies: a list of objects");
        check(r#"{"anomalies":[{"pointer":"/a","limit":1}]}"#, "anomalies[0].type: missing");
        check(r#"{"anomalies":[{"type":"a","pointer":"a","limit":1}]}"#, "anomalies[0].pointer: a JSON pointer");
        check(r#"{"anomalies":[{"type":"a","pointer":"/a"}]}"#, "anomalies[0].limit: missing; a number");
        check(
            r#"{"anomalies":[{"type":"a","pointer":"/a","limit":1},{"type":"a","pointer":"/b","limit":1}]}"#,
            "anomalies[1].type: there are two rules",
        );
        check(r#"{"vehicle_groups":"auto"}"#, "vehicle_groups: a path");
        check(r#"{"job_success":{"clears":["all"]}}"#, "job_success.clears: a list of");
        check(r#"{"job_success":{"versions":{"j":1}}}"#, "job_success.versions.j: a text");
    }
}
