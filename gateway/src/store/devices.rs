//! The rows of the device registry; what may be written is decided by `crate::devices`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// Format of the encoded lists and maps; their first character.
const FORMAT: char = '1';

/// A device as it is known and stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Whether it may connect.
    pub enabled: bool,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// The device it hangs on.
    pub parent: Option<String>,
    /// First connection, Unix ms.
    pub first_seen_ms: Option<u64>,
    /// Latest connection, Unix ms.
    pub last_seen_ms: Option<u64>,
    /// End of its latest certificate, Unix ms.
    pub certificate_expiry_ms: Option<u64>,
    /// Counts the changes that operators made to it.
    pub revision: u64,
    /// Names of certificates that are this device.
    pub identities: Vec<String>,
}

/// What is known of an identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// It is this device.
    Device(String),
    /// It was a device that has been removed.
    Removed,
}

/// What connections tell about a device; written now and then, not at each connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The device.
    pub id: String,
    /// First connection, Unix ms; an earlier one that is stored stays.
    pub first_ms: Option<u64>,
    /// Latest connection, Unix ms.
    pub last_ms: Option<u64>,
    /// End of its latest certificate, Unix ms.
    pub certificate_expiry_ms: Option<u64>,
}

const COLUMNS: &str = "id, enabled, attributes, member_of, parent, first_seen_ms, last_seen_ms, \
                       certificate_expiry_ms, revision";

/// The device of that id.
pub fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<Device>> {
    let found = connection
        .prepare_cached(&format!("select {COLUMNS} from devices where id = ?1"))?
        .query_row([id], decode)
        .optional()?;
    let Some(mut device) = found else {
        return Ok(None);
    };
    device.identities = connection
        .prepare_cached("select identity from device_identities where device = ?1 order by identity")?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Some(device))
}

/// All devices by id.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<Device>> {
    let mut devices = connection
        .prepare(&format!("select {COLUMNS} from devices order by id"))?
        .query_map([], decode)?
        .collect::<Result<Vec<_>, _>>()?;
    let mut statement = connection
        .prepare("select device, identity from device_identities where device is not null order by device, identity")?;
    let mut identities = statement.query([])?;
    let mut place = 0;
    while let Some(row) = identities.next()? {
        let id: String = row.get(0)?;
        // Both lists are in the order of ids.
        while devices.get(place).is_some_and(|device| device.id < id) {
            place += 1;
        }
        if let Some(device) = devices.get_mut(place) {
            device.identities.push(row.get(1)?);
        }
    }
    Ok(devices)
}

/// Identities of devices that were removed.
pub fn removed_identities(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("select identity from device_identities where device is null")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Whose identity it is.
pub fn owner(connection: &Connection, identity: &str) -> rusqlite::Result<Option<Owner>> {
    connection
        .prepare_cached("select device from device_identities where identity = ?1")?
        .query_row([identity], |row| {
            let device: Option<String> = row.get(0)?;
            Ok(device.map_or(Owner::Removed, Owner::Device))
        })
        .optional()
}

/// Devices that are known.
pub fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("select count(*) from devices")?.query_row([], |row| row.get(0))
}

/// Devices that hang on `parent`.
pub fn children(connection: &Connection, parent: &str) -> rusqlite::Result<u64> {
    connection.prepare_cached("select count(*) from devices where parent = ?1")?.query_row([parent], |row| row.get(0))
}

/// Writes a device in place of what was stored under its id; its identities become its own.
pub fn put(tx: &Transaction<'_>, device: &Device) -> rusqlite::Result<()> {
    tx.prepare_cached(&format!(
        "insert into devices ({COLUMNS}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict (id) do update set
         enabled = ?2, attributes = ?3, member_of = ?4, parent = ?5, first_seen_ms = ?6, last_seen_ms = ?7,
         certificate_expiry_ms = ?8, revision = ?9"
    ))?
    .execute(params![
        device.id,
        device.enabled,
        encode(&device.attributes),
        encode(&device.groups),
        device.parent,
        device.first_seen_ms,
        device.last_seen_ms,
        device.certificate_expiry_ms,
        device.revision,
    ])?;
    tx.prepare_cached("delete from device_identities where device = ?1")?.execute([&device.id])?;
    let mut statement = tx.prepare_cached(
        "insert into device_identities values (?1, ?2) on conflict (identity) do update set device = excluded.device",
    )?;
    for identity in &device.identities {
        statement.execute([identity, &device.id])?;
    }
    Ok(())
}

/// Deletes a device; its identities stay known as removed.
pub fn delete(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    let deleted = tx.prepare_cached("delete from devices where id = ?1")?.execute([id])?;
    Ok(deleted > 0)
}

/// Notes what connections told.
pub fn note_seen(tx: &Transaction<'_>, seen: &[Seen]) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached(
        "update devices set first_seen_ms = coalesce(first_seen_ms, ?2),
         last_seen_ms = max(coalesce(last_seen_ms, 0), coalesce(?3, 0)),
         certificate_expiry_ms = coalesce(?4, certificate_expiry_ms) where id = ?1",
    )?;
    for device in seen {
        statement.execute(params![device.id, device.first_ms, device.last_ms, device.certificate_expiry_ms])?;
    }
    Ok(())
}

fn encode(value: &impl serde::Serialize) -> String {
    // Maps and lists of strings always have a JSON form.
    format!("{FORMAT}{}", serde_json::to_string(value).unwrap_or_default())
}

fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        id: row.get(0)?,
        enabled: row.get(1)?,
        attributes: decode_json(row, 2)?,
        groups: decode_json(row, 3)?,
        parent: row.get(4)?,
        first_seen_ms: row.get(5)?,
        last_seen_ms: row.get(6)?,
        certificate_expiry_ms: row.get(7)?,
        revision: row.get(8)?,
        identities: Vec::new(),
    })
}

fn decode_json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let damaged = |reason: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, reason)
    };
    let json = text.strip_prefix(FORMAT).ok_or_else(|| damaged("unknown format of a stored list".into()))?;
    serde_json::from_str(json).map_err(|error| damaged(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn device(id: &str, identities: &[&str]) -> Device {
        Device {
            id: id.to_owned(),
            enabled: true,
            attributes: BTreeMap::from([("vin".to_owned(), "V1".to_owned())]),
            groups: vec!["cars".to_owned()],
            revision: 1,
            identities: identities.iter().map(|&name| name.to_owned()).collect(),
            ..Device::default()
        }
    }

    #[test]
    fn a_device_reads_back_as_it_was_written() {
        scratch(|tx| {
            let (one, two) = (device("d1", &["a", "b"]), device("d2", &[]));
            put(tx, &two)?;
            put(tx, &one)?;
            assert_eq!(get(tx, "d1")?, Some(one.clone()));
            assert_eq!(all(tx)?, [one, two]);
            assert_eq!(count(tx)?, 2);
            Ok(())
        });
    }

    #[test]
    fn identities_of_a_removed_device_stay_known_until_another_takes_them() {
        scratch(|tx| {
            put(tx, &device("d1", &["a"]))?;
            assert!(delete(tx, "d1")?);
            assert!(!delete(tx, "d1")?);
            assert_eq!(owner(tx, "a")?, Some(Owner::Removed));
            assert_eq!(removed_identities(tx)?, ["a"]);
            put(tx, &device("d2", &["a"]))?;
            assert_eq!(owner(tx, "a")?, Some(Owner::Device("d2".to_owned())));
            assert_eq!(owner(tx, "b")?, None);
            Ok(())
        });
    }

    #[test]
    fn the_first_sighting_stays_and_the_last_moves_on() {
        scratch(|tx| {
            put(tx, &device("d1", &[]))?;
            let seen = |first, last, expiry| Seen {
                id: "d1".to_owned(),
                first_ms: Some(first),
                last_ms: Some(last),
                certificate_expiry_ms: expiry,
            };
            note_seen(tx, &[seen(5, 5, Some(9))])?;
            note_seen(tx, &[seen(7, 7, None), seen(6, 6, None)])?;
            let found = get(tx, "d1")?.unwrap();
            assert_eq!((found.first_seen_ms, found.last_seen_ms), (Some(5), Some(7)));
            assert_eq!(found.certificate_expiry_ms, Some(9));
            Ok(())
        });
    }
}
