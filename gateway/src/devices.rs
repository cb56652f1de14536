//! The device registry: who may connect, and what is known about them.
//!
//! Certificates say what a client is called; the registry says which device that is. It is a table in memory over
//! the store: lookups never wait, changes are on the disk before they return and before anyone can see them.
//! Whether a device may do something is not asked here but of the policies, which see its attributes and groups.

mod admit;
mod change;
mod grammar;
pub mod import;
mod metrics;
mod refusals;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

pub use crate::store::devices::Device;
pub use admit::AdmitError;
pub use change::{Change, ChangeError, Imported};
pub use grammar::GrammarError;
pub use metrics::DevicesMetrics;
pub use refusals::Refusal;
pub use table::Filter;

use crate::config::{DevicesConfig, Registration};
use crate::store::devices::{self as rows, Seen};
use crate::store::{Store, WriteError};
use refusals::Refusals;
use table::{Known, Table};

/// Time between two writes of what connections told about devices.
const SEEN_PERIOD: Duration = Duration::from_secs(30);

/// The registry; clones share it.
#[derive(Clone, Debug)]
pub struct Devices {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: Store,
    table: RwLock<Table>,
    /// Seen since the last write to the store.
    seen: Mutex<HashMap<String, Seen>>,
    refusals: Mutex<Refusals>,
    generation: watch::Sender<u64>,
    registration: Registration,
    max_devices: u64,
    metrics: DevicesMetrics,
}

impl Devices {
    /// Reads all devices from the store. Blocks.
    pub fn open(store: Store, config: &DevicesConfig, metrics: DevicesMetrics) -> rusqlite::Result<Self> {
        let table = Table::new(store.read_blocking(rows::all)?, store.read_blocking(rows::removed_identities)?);
        metrics.known(table.len());
        let parts = Parts {
            store,
            table: RwLock::new(table),
            seen: Mutex::default(),
            refusals: Mutex::new(Refusals::new(config.max_refusal_devices)),
            generation: watch::Sender::new(0),
            registration: config.registration,
            max_devices: config.max_devices as u64,
            metrics,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The device of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<Device>> {
        self.parts.table().get(id)
    }

    /// The device with that identity, whether it may connect or not.
    #[must_use]
    pub fn of_identity(&self, identity: &str) -> Option<Arc<Device>> {
        match self.parts.table().known(identity) {
            Known::Device(device) => Some(device),
            Known::Removed | Known::Unknown => None,
        }
    }

    /// The devices that match, in the order of their ids.
    #[must_use]
    pub fn list(&self, filter: &Filter) -> Vec<Arc<Device>> {
        self.parts.table().list(filter)
    }

    /// Number of known devices.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parts.table().len()
    }

    /// A number that grows with each change: sessions look themselves up again, policies forget their decisions.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.parts.generation.subscribe()
    }

    /// Remembers what a device was refused; the oldest of too many is forgotten.
    pub fn refused(&self, id: &str, refusal: Refusal) {
        lock(&self.parts.refusals).add(id, refusal);
    }

    /// The last refusals of a device, oldest first.
    #[must_use]
    pub fn refusals(&self, id: &str) -> Vec<Refusal> {
        lock(&self.parts.refusals).of(id)
    }

    /// Notes that the device was heard of, at the end of a session for instance.
    pub fn seen(&self, id: &str, now_ms: u64) {
        let Some(device) = self.get(id) else {
            return;
        };
        self.parts.note_seen(&device, now_ms, None);
    }

    /// Writes now and then who was seen, until the task is dropped; [`Devices::flush`] writes the rest.
    pub async fn run(self) {
        let mut timer = tokio::time::interval(SEEN_PERIOD);
        loop {
            timer.tick().await;
            if let Err(error) = self.flush().await {
                tracing::error!(%error, "devices: sightings were not written");
            }
        }
    }

    /// Writes who was seen since the last time.
    pub async fn flush(&self) -> Result<(), WriteError<rusqlite::Error>> {
        let seen: Vec<_> = lock(&self.parts.seen).drain().map(|(_, seen)| seen).collect();
        if seen.is_empty() {
            return Ok(());
        }
        self.parts.store.write(move |tx| rows::note_seen(tx, &seen)).await
    }
}

impl Parts {
    /// Locks are held for a lookup or a swap of pointers, and a panic cannot leave the table half changed.
    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everybody see committed devices. Runs on the store's thread, hence in the order of the commits.
    fn publish(&self, devices: &[Device]) {
        let mut table = self.table_mut();
        for device in devices {
            table.put(device.clone());
        }
        self.metrics.known(table.len());
        drop(table);
        self.announce();
    }

    fn announce(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Notes a sighting in memory, and returns the device with it.
    fn note_seen(&self, device: &Device, now_ms: u64, certificate_expiry_ms: Option<u64>) -> Arc<Device> {
        let seen = Seen { id: device.id.clone(), first_ms: Some(now_ms), last_ms: Some(now_ms), certificate_expiry_ms };
        let fresh = self.table_mut().note_seen(&seen);
        lock(&self.seen)
            .entry(seen.id.clone())
            .and_modify(|earlier| {
                earlier.last_ms = seen.last_ms;
                earlier.certificate_expiry_ms = seen.certificate_expiry_ms.or(earlier.certificate_expiry_ms);
            })
            .or_insert(seen);
        fresh.unwrap_or_else(|| Arc::new(device.clone()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
