//! What operators change. Each change reads, checks and writes in one transaction, so that two at once cannot lose
//! one another, and is seen by everyone once it is on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Transaction};
use thiserror::Error;

use super::import::Entry;
use super::{Device, Devices, GrammarError, grammar, rows};
use crate::store::WriteError;
use crate::store::devices::Owner;

/// Devices from a leaf to its root at most.
const MAX_DEPTH: usize = 8;

/// What is to be different about a device; what is `None` stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Whether it may connect.
    pub enabled: Option<bool>,
    /// Attributes to set, or with `None` to remove; the others stay.
    pub attributes: BTreeMap<String, Option<String>>,
    /// Its groups, all of them.
    pub groups: Option<Vec<String>>,
    /// The names of certificates that are this device, all of them.
    pub identities: Option<Vec<String>>,
    /// The device that it hangs on, or with `Some(None)` none.
    pub parent: Option<Option<String>>,
}

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// No such device.
    #[error("there is no device `{0}`")]
    Unknown(String),
    /// There is one already.
    #[error("there is a device `{0}` already")]
    Exists(String),
    /// Against the grammar.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// An identity of another device.
    #[error("identity `{identity}` belongs to device `{device}`")]
    IdentityTaken {
        /// The identity.
        identity: String,
        /// Whose it is.
        device: String,
    },
    /// A parent that does not exist.
    #[error("there is no device `{0}` to be a parent")]
    NoParent(String),
    /// A device that would hang on itself, or too deep.
    #[error("device `{id}` cannot hang on `{parent}`: that is a circle, or more than {MAX_DEPTH} deep")]
    Parent {
        /// The device.
        id: String,
        /// The parent.
        parent: String,
    },
    /// A device that others hang on.
    #[error("{children} devices hang on `{id}`: remove or move them first")]
    HasChildren {
        /// The device.
        id: String,
        /// How many.
        children: u64,
    },
    /// The bound of the configuration.
    #[error("there may be {0} devices (devices.max_devices)")]
    Full(u64),
    /// The store's refusal.
    #[error("the change could not be written: {0}")]
    Store(String),
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// Devices that are new.
    pub added: u64,
    /// Devices that are different now.
    pub updated: u64,
    /// Devices that were so already.
    pub unchanged: u64,
}

impl From<rusqlite::Error> for ChangeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl<E: Into<Self> + std::fmt::Display> From<WriteError<E>> for ChangeError {
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            error => Self::Store(error.to_string()),
        }
    }
}

impl Devices {
    /// Adds a device, enabled and with its id as its identity unless `change` says otherwise.
    pub async fn add(&self, id: &str, change: Change) -> Result<Arc<Device>, ChangeError> {
        let (name, max_devices) = (id.to_owned(), self.parts.max_devices);
        self.change(id, move |tx| {
            if rows::get(tx, &name)?.is_some() {
                return Err(ChangeError::Exists(name));
            }
            let device = write(tx, fresh(name), &change)?;
            check_count(tx, max_devices)?;
            check_parents(tx, &device)?;
            Ok(vec![device])
        })
        .await
    }

    /// Changes a device.
    pub async fn set(&self, id: &str, change: Change) -> Result<Arc<Device>, ChangeError> {
        let name = id.to_owned();
        self.change(id, move |tx| {
            let device = rows::get(tx, &name)?.ok_or(ChangeError::Unknown(name))?;
            let device = write(tx, device, &change)?;
            check_parents(tx, &device)?;
            Ok(vec![device])
        })
        .await
    }

    /// Lets a device connect or not; live sessions of a disabled device end.
    pub async fn enable(&self, id: &str, enabled: bool) -> Result<Arc<Device>, ChangeError> {
        let change = Change { enabled: Some(enabled), ..Change::default() };
        self.set(id, change).await
    }

    /// Removes a device. Its identities are remembered, so that `on-first-connect` does not bring it back.
    pub async fn remove(&self, id: &str) -> Result<(), ChangeError> {
        let (name, gone, parts) = (id.to_owned(), id.to_owned(), self.parts.clone());
        let removed = self
            .parts
            .store
            .write_then(
                move |tx| remove(tx, name),
                move |()| {
                    let mut table = parts.table_mut();
                    table.remove(&gone);
                    parts.metrics.known(table.len());
                    drop(table);
                    parts.announce();
                },
            )
            .await;
        Ok(removed?)
    }

    /// Adds the devices that are new and changes the others as the entries say; all of them or none.
    pub async fn import(&self, entries: Vec<Entry>) -> Result<Imported, ChangeError> {
        let (max_devices, parts) = (self.parts.max_devices, self.parts.clone());
        let written = self
            .parts
            .store
            .write_then(move |tx| import(tx, &entries, max_devices), move |(_, devices)| parts.publish(devices))
            .await;
        let (imported, _) = written?;
        Ok(imported)
    }

    async fn change<F>(&self, id: &str, work: F) -> Result<Arc<Device>, ChangeError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<Vec<Device>, ChangeError> + Send + 'static,
    {
        let parts = self.parts.clone();
        let written = self.parts.store.write_then(work, move |devices| parts.publish(devices)).await;
        written?;
        // Whoever removes it in this moment came after the change.
        self.get(id).ok_or_else(|| ChangeError::Unknown(id.to_owned()))
    }
}

impl Change {
    fn apply(&self, device: &mut Device) {
        device.enabled = self.enabled.unwrap_or(device.enabled);
        for (name, value) in &self.attributes {
            match value {
                Some(value) => device.attributes.insert(name.clone(), value.clone()),
                None => device.attributes.remove(name),
            };
        }
        if let Some(groups) = &self.groups {
            device.groups = sorted(groups);
        }
        if let Some(identities) = &self.identities {
            device.identities = sorted(identities);
        }
        if let Some(parent) = &self.parent {
            device.parent.clone_from(parent);
        }
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn fresh(id: String) -> Device {
    Device { enabled: true, identities: vec![id.clone()], id, ..Device::default() }
}

/// Applies the change, checks what needs no parent, and writes.
fn write(tx: &Transaction<'_>, mut device: Device, change: &Change) -> Result<Device, ChangeError> {
    change.apply(&mut device);
    grammar::check(&device)?;
    for identity in &device.identities {
        match rows::owner(tx, identity)? {
            Some(Owner::Device(other)) if other != device.id => {
                return Err(ChangeError::IdentityTaken { identity: identity.clone(), device: other });
            }
            _ => {}
        }
    }
    device.revision += 1;
    rows::put(tx, &device)?;
    Ok(device)
}

fn check_count(connection: &Connection, max_devices: u64) -> Result<(), ChangeError> {
    if rows::count(connection)? > max_devices {
        return Err(ChangeError::Full(max_devices));
    }
    Ok(())
}

/// Follows the parents up to a root.
fn check_parents(connection: &Connection, device: &Device) -> Result<(), ChangeError> {
    let Some(first) = &device.parent else {
        return Ok(());
    };
    let mut parent = Some(first.clone());
    for _ in 0..MAX_DEPTH {
        let Some(id) = parent else {
            return Ok(());
        };
        let above = rows::get(connection, &id)?.ok_or(ChangeError::NoParent(id))?;
        parent = above.parent;
    }
    Err(ChangeError::Parent { id: device.id.clone(), parent: first.clone() })
}

fn remove(tx: &Transaction<'_>, id: String) -> Result<(), ChangeError> {
    let children = rows::children(tx, &id)?;
    if children > 0 {
        return Err(ChangeError::HasChildren { id, children });
    }
    if rows::delete(tx, &id)? { Ok(()) } else { Err(ChangeError::Unknown(id)) }
}

/// Parents are checked at the end: a file may name a child before its parent.
fn import(tx: &Transaction<'_>, entries: &[Entry], max_devices: u64) -> Result<(Imported, Vec<Device>), ChangeError> {
    let mut imported = Imported::default();
    let mut devices = Vec::new();
    for entry in entries {
        let known = rows::get(tx, &entry.id)?;
        if let Some(known) = &known {
            let mut changed = known.clone();
            entry.change.apply(&mut changed);
            if changed == *known {
                imported.unchanged += 1;
                continue;
            }
            imported.updated += 1;
        } else {
            imported.added += 1;
        }
        let device = known.unwrap_or_else(|| fresh(entry.id.clone()));
        devices.push(write(tx, device, &entry.change)?);
    }
    check_count(tx, max_devices)?;
    for device in &devices {
        check_parents(tx, device)?;
    }
    Ok((imported, devices))
}
