//! The question that each connection begins with: is this identity a device that may connect?

use std::sync::Arc;

use rusqlite::Transaction;
use thiserror::Error;

use super::table::Known;
use super::{Device, Devices, GrammarError, grammar, rows};
use crate::config::Registration;
use crate::store::WriteError;

/// Why an identity may not connect.
#[derive(Clone, Debug, Error)]
pub enum AdmitError {
    /// No device has this identity, and registration is `explicit`.
    #[error("identity `{0}` is no known device: `causeway device add` makes it one")]
    Unknown(String),
    /// An operator disabled the device.
    #[error("device `{0}` is disabled")]
    Disabled(String),
    /// An operator removed the device that had this identity.
    #[error("the device with identity `{0}` was removed: `causeway device add` takes it back")]
    Removed(String),
    /// It would be registered, but it is no device id.
    #[error("identity `{identity}` cannot register itself, add a device for it: {reason}")]
    Grammar {
        /// The identity.
        identity: String,
        /// Why it is no id.
        reason: GrammarError,
    },
    /// It would be registered, but a device with other identities has that id.
    #[error("identity `{0}` is the id of another device: add it to that device's identities if it is that device")]
    Taken(String),
    /// It would be registered, but there are `devices.max_devices` of them.
    #[error("there are {0} devices already (devices.max_devices)")]
    Full(u64),
    /// The registration could not be written; the client may try again.
    #[error("the registration could not be written: {0}")]
    Store(String),
}

impl From<rusqlite::Error> for AdmitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl Devices {
    /// The device of a verified identity, noted as seen. With registration `on-first-connect` an unknown identity
    /// becomes a device, on the disk before this returns.
    pub async fn admit(
        &self,
        identity: &str,
        now_ms: u64,
        certificate_expiry_ms: Option<u64>,
    ) -> Result<Arc<Device>, AdmitError> {
        let admitted = match self.known(identity) {
            Err(AdmitError::Unknown(_)) if self.parts.registration == Registration::OnFirstConnect => {
                self.register(identity).await
            }
            known => known,
        };
        match admitted {
            Ok(device) => Ok(self.parts.note_seen(&device, now_ms, certificate_expiry_ms)),
            Err(error) => {
                self.parts.metrics.refused(&error);
                Err(error)
            }
        }
    }

    fn known(&self, identity: &str) -> Result<Arc<Device>, AdmitError> {
        match self.parts.table().known(identity) {
            Known::Device(device) if device.enabled => Ok(device),
            Known::Device(device) => Err(AdmitError::Disabled(device.id.clone())),
            Known::Removed => Err(AdmitError::Removed(identity.to_owned())),
            Known::Unknown => Err(AdmitError::Unknown(identity.to_owned())),
        }
    }

    async fn register(&self, identity: &str) -> Result<Arc<Device>, AdmitError> {
        grammar::check_id(identity).map_err(|reason| AdmitError::Grammar { identity: identity.to_owned(), reason })?;
        let (name, max_devices) = (identity.to_owned(), self.parts.max_devices);
        let parts = self.parts.clone();
        let registered = self
            .parts
            .store
            .write_then(
                move |tx| register(tx, name, max_devices),
                move |device| {
                    if let Some(device) = device {
                        parts.publish(std::slice::from_ref(device));
                        parts.metrics.registered();
                        tracing::info!(device = device.id, "device registered by its first connection");
                    }
                },
            )
            .await;
        match registered {
            // Another connection of the same identity, or an operator, may have come first.
            Ok(_) => self.known(identity),
            Err(WriteError::Refused(error)) => Err(error),
            Err(error) => Err(AdmitError::Store(error.to_string())),
        }
    }
}

/// The new device, or nothing when the identity has become known meanwhile.
fn register(tx: &Transaction<'_>, identity: String, max_devices: u64) -> Result<Option<Device>, AdmitError> {
    if rows::owner(tx, &identity)?.is_some() {
        return Ok(None);
    }
    if rows::get(tx, &identity)?.is_some() {
        return Err(AdmitError::Taken(identity));
    }
    if rows::count(tx)? >= max_devices {
        return Err(AdmitError::Full(max_devices));
    }
    let device =
        Device { enabled: true, revision: 1, identities: vec![identity.clone()], id: identity, ..Device::default() };
    rows::put(tx, &device)?;
    Ok(Some(device))
}
