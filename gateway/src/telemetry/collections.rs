//! The collections that telemetry plugins write into: the history of each flow, the latest state of each vehicle, and
//! what is known about vehicles and devices.

use crate::store::collections::{Collection, Column, ColumnKind, Declaration, DeclarationError, Kind, Retention};

/// A declaration that is not one: our own mistake, which a test finds.
pub type CollectionsError = DeclarationError;

/// The collections of the vehicle flows.
///
/// # Errors
/// Never, unless a declaration below is wrong.
pub fn collections() -> Result<Vec<Collection>, CollectionsError> {
    [
        history("cardata", &[TRIP]),
        latest(),
        history("dtc", &[("code", "/dtc/code")]),
        history("trip", &[TRIP]),
        history("event", &[]),
        anomaly(),
        job_execution(),
        devices(),
        shared_cardata(),
    ]
    .map(Collection::new)
    .into_iter()
    .collect()
}

const TRIP: (&str, &str) = ("tripid", "/tripid");

/// Every message of a flow. Vehicles number their messages, so a copy that was sent again is dropped.
fn history(name: &str, further: &[(&str, &str)]) -> Declaration {
    let mut columns = vec![text("vin", "/vin", true), text("deviceid", "/deviceid", true), sent()];
    columns.push(text("messageid", "/messageid", false));
    columns.extend(further.iter().map(|(name, pointer)| text(name, pointer, false)));
    Declaration {
        name: name.to_owned(),
        kind: Kind::Append { unique: vec!["messageid".to_owned()] },
        columns,
        time: Some("sent".to_owned()),
        indexes: vec![vec!["vin".to_owned(), "sent".to_owned()]],
        retention: Retention::default(),
    }
}

/// The newest `cardata` of each vehicle by the time at which the vehicle sent it.
fn latest() -> Declaration {
    Declaration {
        name: "latest_telemetry".to_owned(),
        kind: Kind::Upsert { key: vec!["vin".to_owned()], newest_by: "sent".to_owned() },
        columns: vec![text("vin", "/vin", true), text("deviceid", "/deviceid", true), sent()],
        time: Some("sent".to_owned()),
        indexes: Vec::new(),
        retention: Retention::default(),
    }
}

/// Readings beyond their limit. One vehicle has one reading of a type at a time.
fn anomaly() -> Declaration {
    let mut declaration = history("anomaly", &[("anomaly_type", "/anomaly_type"), ("anomaly_id", "/anomaly_id")]);
    declaration.kind = Kind::Append { unique: vec!["anomaly_id".to_owned()] };
    declaration
}

/// What became of update jobs; the device need not be known, nor its vehicle.
fn job_execution() -> Declaration {
    let mut columns = vec![text("deviceid", "/deviceid", true), sent(), text("vin", "/vin", false)];
    columns.extend(["jobid", "status", "eventid"].map(|name| text(name, &format!("/{name}"), false)));
    Declaration {
        name: "job_execution".to_owned(),
        kind: Kind::Append { unique: vec!["eventid".to_owned()] },
        columns,
        time: Some("sent".to_owned()),
        indexes: vec![vec!["deviceid".to_owned(), "sent".to_owned()], vec!["jobid".to_owned()]],
        retention: Retention::default(),
    }
}

/// What the asset library and update jobs said of each device.
fn devices() -> Declaration {
    Declaration {
        name: "devices".to_owned(),
        kind: Kind::Merge { key: vec!["deviceid".to_owned()] },
        columns: vec![
            text("deviceid", "/deviceid", true),
            text("vin", "/vin", false),
            text("softwareversion", "/softwareversion", false),
        ],
        time: None,
        indexes: vec![vec!["vin".to_owned()]],
        retention: KNOWLEDGE,
    }
}

/// What is known about each vehicle beyond its last message.
fn shared_cardata() -> Declaration {
    Declaration {
        name: "shared_cardata".to_owned(),
        kind: Kind::Merge { key: vec!["vin".to_owned()] },
        columns: vec![text("vin", "/vin", true)],
        time: None,
        indexes: Vec::new(),
        retention: KNOWLEDGE,
    }
}

/// What was said once stays true: a vehicle keeps its make, however long nobody repeats it. A century is for ever, and
/// the number of vehicles and devices is bounded.
const KNOWLEDGE: Retention =
    Retention { max_rows: Some(1_000_000), max_age_ms: Some(100 * 365 * 86_400_000), ..Retention::DEFAULT };

fn text(name: &str, pointer: &str, required: bool) -> Column {
    Column { name: name.to_owned(), pointer: pointer.to_owned(), kind: ColumnKind::Text, required }
}

fn sent() -> Column {
    Column { name: "sent".to_owned(), pointer: "/sentat".to_owned(), kind: ColumnKind::Time, required: true }
}

#[cfg(test)]
mod tests {
    use super::collections;

    #[test]
    fn the_declarations_of_the_vehicle_collections_are_valid() {
        let names: Vec<_> = collections().unwrap().iter().map(|collection| collection.name().to_owned()).collect();
        assert_eq!(
            names,
            [
                "cardata",
                "latest_telemetry",
                "dtc",
                "trip",
                "event",
                "anomaly",
                "job_execution",
                "devices",
                "shared_cardata",
            ]
        );
    }
}
