//! What is known of devices and of the vehicles that they are part of: from the registry, and from what telemetry plugins
//! and the asset library have said.

use std::collections::HashMap;
use std::sync::Arc;

use causeway_core::dfu::job::{Facts, Filters};
use rusqlite::Connection;
use serde_json::{Map, Value as Json};

use super::campaigns::{CampaignError, Campaigns, Running};
use crate::devices::Device;
use crate::store::Declared;
use crate::store::collections;

/// The collections that are asked, if they are there.
const VEHICLES: &str = "shared_cardata";
const DEVICES: &str = "devices";

impl Campaigns {
    /// The devices that a job of the fleet API is for, in the order of their ids; only those of `types`, if there are
    /// any.
    ///
    /// # Errors
    /// [`CampaignError::Store`].
    pub async fn of_job(
        &self,
        filters: Filters,
        types: &[String],
        running: Running<'_>,
    ) -> Result<Vec<Arc<Device>>, CampaignError> {
        let mut devices = self.registered();
        devices.retain(|device| Self::has_jobs(device, types));
        let known: Vec<_> = devices
            .into_iter()
            .map(|device| {
                let parent = device.parent.as_ref().and_then(|parent| self.device(parent));
                let running = running(&device.id);
                (device, parent, running)
            })
            .collect();
        let (store, declared) = (self.store(), self.store().declared());
        let read = store.read(move |connection| {
            let mut lookup = Lookup::new(connection, declared);
            let mut meant = Vec::new();
            for (device, parent, running) in known {
                if filters.matches(&lookup.facts(&device, parent.as_deref(), running)?) {
                    meant.push(device);
                }
            }
            Ok::<_, rusqlite::Error>(meant)
        });
        read.await.map_err(|error| CampaignError::Store(error.to_string()))
    }

    /// Whether jobs of the fleet API may be for a device: for those of `types`, or for all if there are none.
    #[must_use]
    pub fn has_jobs(device: &Device, types: &[String]) -> bool {
        types.is_empty() || device.attributes.get("type").is_some_and(|own| types.contains(own))
    }

    /// The vehicles of these devices, as far as they are known.
    ///
    /// # Errors
    /// [`CampaignError::Store`].
    pub async fn vehicles(&self, devices: &[String]) -> Result<Vec<Option<String>>, CampaignError> {
        let known = devices.iter().map(|id| {
            // A device that was removed meanwhile is known to others still.
            let device = self.device(id).unwrap_or_else(|| Arc::new(Device { id: id.clone(), ..Device::default() }));
            let parent = device.parent.as_ref().and_then(|parent| self.device(parent));
            (device, parent)
        });
        let known: Vec<_> = known.collect();
        let (store, declared) = (self.store(), self.store().declared());
        let read = store.read(move |connection| {
            let mut lookup = Lookup::new(connection, declared);
            let facts = known.iter().map(|(device, parent)| lookup.facts(device, parent.as_deref(), None));
            facts.map(|facts| Ok(facts?.vin)).collect::<rusqlite::Result<_>>()
        });
        read.await.map_err(|error| CampaignError::Store(error.to_string()))
    }
}

/// Looks things up in one snapshot of the store.
struct Lookup<'c> {
    connection: &'c Connection,
    declared: Declared,
    /// Of a vehicle, what is said of all its devices.
    vehicles: HashMap<String, Map<String, Json>>,
}

impl<'c> Lookup<'c> {
    fn new(connection: &'c Connection, declared: Declared) -> Self {
        Self { connection, declared, vehicles: HashMap::new() }
    }

    /// What is known of a device. The registry's word is before that of others; `parent` is the device it hangs on, and
    /// `running` what it says itself that it runs.
    fn facts(&mut self, device: &Device, parent: Option<&Device>, running: Option<String>) -> rusqlite::Result<Facts> {
        let attribute = |name: &str| {
            let own = device.attributes.get(name);
            own.or_else(|| parent.and_then(|parent| parent.attributes.get(name))).cloned()
        };
        // The asset library writes ids in small letters.
        let said = self.document(DEVICES, &device.id.to_ascii_lowercase())?;
        let vin = attribute("vin").or_else(|| text(said.get("vin")));
        let vehicle = match &vin {
            Some(vin) => self.vehicle(vin)?,
            None => Map::new(),
        };
        let told = |names: &[&str]| {
            let told = vehicle.get("attributes").and_then(Json::as_object);
            names.iter().find_map(|name| attribute(name).or_else(|| text(told.and_then(|told| told.get(*name)))))
        };
        Ok(Facts {
            make: told(&["make"]),
            model: told(&["model"]),
            year: told(&["year", "modelyear", "modelYear"]),
            software: running.or_else(|| text(said.get("softwareversion"))),
            trouble_codes: active(&vehicle, "trouble_codes"),
            anomalies: active(&vehicle, "anomalies"),
            vin,
        })
    }

    fn vehicle(&mut self, vin: &str) -> rusqlite::Result<Map<String, Json>> {
        if let Some(known) = self.vehicles.get(vin) {
            return Ok(known.clone());
        }
        let found = self.document(VEHICLES, vin)?;
        self.vehicles.insert(vin.to_owned(), found.clone());
        Ok(found)
    }

    fn document(&self, collection: &str, key: &str) -> rusqlite::Result<Map<String, Json>> {
        let Some(collection) = self.declared.get(collection) else { return Ok(Map::new()) };
        let found = collections::get(self.connection, collection, &[key])?;
        Ok(found.and_then(|document| serde_json::from_str(&document).ok()).unwrap_or_default())
    }
}

/// The members of a set that are active. What was sent before the set was cleared counts as cleared.
fn active(vehicle: &Map<String, Json>, set: &str) -> Vec<String> {
    let time = |value: Option<&Json>| value.and_then(Json::as_u64).unwrap_or(0);
    let cleared = time(vehicle.get("cleared").and_then(|cleared| cleared.get(set)));
    let is_active = |member: &Json| {
        member.get("active") == Some(&Json::Bool(true)) && (cleared == 0 || time(member.get("sentat")) > cleared)
    };
    let members = vehicle.get(set).and_then(Json::as_object).into_iter().flatten();
    members.filter(|(_, member)| is_active(member)).map(|(name, _)| name.clone()).collect()
}

/// A text, or a number as one.
fn text(value: Option<&Json>) -> Option<String> {
    match value? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
