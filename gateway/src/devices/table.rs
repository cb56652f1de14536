//! The registry in memory: lookups by id and by identity.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{Device, Seen};

/// Which devices a list shows; the default shows all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only members of this group.
    pub group: Option<String>,
    /// Only devices that hang on this one.
    pub parent: Option<String>,
    /// Only enabled ones, or only disabled ones.
    pub enabled: Option<bool>,
    /// Only devices with these attributes.
    pub attributes: Vec<(String, String)>,
    /// Only ids behind this one: the last of the page before.
    pub after: Option<String>,
    /// Devices at most; `None` for all.
    pub limit: Option<usize>,
}

impl Filter {
    fn matches(&self, device: &Device) -> bool {
        self.group.as_ref().is_none_or(|group| device.groups.contains(group))
            && self.parent.as_ref().is_none_or(|parent| device.parent.as_ref() == Some(parent))
            && self.enabled.is_none_or(|enabled| device.enabled == enabled)
            && self.attributes.iter().all(|(name, value)| device.attributes.get(name) == Some(value))
    }
}

/// Who an identity is.
pub(super) enum Known {
    Device(Arc<Device>),
    Removed,
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    devices: BTreeMap<String, Arc<Device>>,
    identities: HashMap<String, String>,
    removed: HashSet<String>,
}

impl Table {
    pub(super) fn new(devices: Vec<Device>, removed: Vec<String>) -> Self {
        let mut table = Self { removed: removed.into_iter().collect(), ..Self::default() };
        for device in devices {
            table.put(device);
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Device>> {
        self.devices.get(id).cloned()
    }

    pub(super) fn known(&self, identity: &str) -> Known {
        match self.identities.get(identity).and_then(|id| self.devices.get(id)) {
            Some(device) => Known::Device(device.clone()),
            None if self.removed.contains(identity) => Known::Removed,
            None => Known::Unknown,
        }
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<Arc<Device>> {
        let start = filter.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.devices
            .range::<String, _>((start, Bound::Unbounded))
            .map(|(_, device)| device)
            .filter(|device| filter.matches(device))
            .take(filter.limit.unwrap_or(usize::MAX))
            .cloned()
            .collect()
    }

    /// Puts a device in place of its earlier self; what connections told meanwhile stays.
    pub(super) fn put(&mut self, mut device: Device) {
        if let Some(earlier) = self.devices.get(&device.id) {
            for identity in &earlier.identities {
                self.identities.remove(identity);
            }
            device.first_seen_ms = device.first_seen_ms.or(earlier.first_seen_ms);
            device.last_seen_ms = device.last_seen_ms.max(earlier.last_seen_ms);
            device.certificate_expiry_ms = earlier.certificate_expiry_ms.or(device.certificate_expiry_ms);
        }
        for identity in &device.identities {
            self.removed.remove(identity);
            self.identities.insert(identity.clone(), device.id.clone());
        }
        self.devices.insert(device.id.clone(), Arc::new(device));
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(device) = self.devices.remove(id) {
            for identity in &device.identities {
                self.identities.remove(identity);
                self.removed.insert(identity.clone());
            }
        }
    }

    /// Sessions keep the device they were admitted with; the next lookup sees the sighting.
    pub(super) fn note_seen(&mut self, seen: &Seen) -> Option<Arc<Device>> {
        let device = self.devices.get_mut(&seen.id)?;
        let fresh = Arc::make_mut(device);
        fresh.first_seen_ms = fresh.first_seen_ms.or(seen.first_ms);
        fresh.last_seen_ms = fresh.last_seen_ms.max(seen.last_ms);
        fresh.certificate_expiry_ms = seen.certificate_expiry_ms.or(fresh.certificate_expiry_ms);
        Some(device.clone())
    }
}
