//! The flows: which topic belongs to which, and the shape that a vehicle's payload must have after lower-casing.
//!
//! `cardata` keeps keys it does not know; `dtc`, `trip` and `event` refuse them, because a misspelt trouble code must
//! not be stored as an empty one.

use causeway_plugin::Failure;
use serde_json::{Map, Value};

use crate::json;

/// What a message is about, as its topic says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    Cardata,
    Dtc,
    Trip,
    Event,
    /// The asset library's changes of devices.
    Devices,
    /// The asset library's changes of groups, among them vehicles.
    Groups,
    /// What became of update jobs.
    Jobs,
}

/// What a field may hold.
enum Shape {
    /// Anything; what is inside is the vehicle's business.
    Any,
    /// An object with these keys and no others.
    Keys(&'static [(&'static str, Self)]),
}

use Shape::{Any, Keys};

const PLACE: Shape = Keys(&[("latitude", Any), ("longitude", Any), ("altitude", Any)]);

const DTC: Shape = Keys(&[
    ("messageid", Any),
    ("creationtimestamp", Any),
    ("sendtimestamp", Any),
    ("vin", Any),
    ("dtc", Keys(&[("code", Any), ("changed", Any)])),
]);

const TRIP: Shape = Keys(&[
    ("messageid", Any),
    ("creationtimestamp", Any),
    ("sendtimestamp", Any),
    ("vin", Any),
    ("tripid", Any),
    (
        "tripsummary",
        Keys(&[
            ("starttime", Any),
            ("distance", Any),
            ("duration", Any),
            ("fuel", Any),
            ("startlocation", PLACE),
            ("endlocation", PLACE),
            ("speedprofile", Any),
        ]),
    ),
]);

/// `videoevent` is the published schema; `body` and `chassis` are what the published vehicle simulator sends.
const EVENT: Shape = Keys(&[
    ("messageid", Any),
    ("creationtimestamp", Any),
    ("sendtimestamp", Any),
    ("vin", Any),
    (
        "alert",
        Keys(&[
            (
                "videoevent",
                Keys(&[
                    ("event_name", Any),
                    ("event_source", Any),
                    ("event_id", Any),
                    ("event_data", Any),
                    ("event_location", Keys(&[("latitude", Any), ("longitude", Any)])),
                ]),
            ),
            ("body", Any),
            ("chassis", Any),
        ]),
    ),
]);

impl Flow {
    pub(crate) const ALL: [Self; 7] =
        [Self::Cardata, Self::Dtc, Self::Trip, Self::Event, Self::Devices, Self::Groups, Self::Jobs];

    /// The flow of a topic.
    pub(crate) fn of(topic: &str) -> Result<Self, Failure> {
        let levels: Vec<&str> = topic.splitn(5, '/').collect();
        match levels.as_slice() {
            ["dt", "cvra", _, "cardata"] => Ok(Self::Cardata),
            ["dt", "cvra", _, "dtc"] => Ok(Self::Dtc),
            ["dt", "cvra", _, "trip"] => Ok(Self::Trip),
            ["dt", "cvra", _, "event"] => Ok(Self::Event),
            ["cdf", "assetlibrary", "events", "devices", ..] => Ok(Self::Devices),
            ["cdf", "assetlibrary", "events", "groups", ..] => Ok(Self::Groups),
            ["$aws", "events", "jobExecution", ..] => Ok(Self::Jobs),
            _ => Err(Failure::malformed(
                "the topic is none of dt/cvra/<device>/cardata, dtc, trip, event; cdf/assetlibrary/events/devices/#, \
                 groups/#; $aws/events/jobExecution/#",
            )),
        }
    }

    /// Its word in the configuration; for the vehicles' flows also the collection that keeps its history.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cardata => "cardata",
            Self::Dtc => "dtc",
            Self::Trip => "trip",
            Self::Event => "event",
            Self::Devices => "devices",
            Self::Groups => "groups",
            Self::Jobs => "jobs",
        }
    }

    /// Checks required fields and unknown keys; the VIN is checked against the sender elsewhere.
    pub(crate) fn check(self, document: &Map<String, Value>) -> Result<(), Failure> {
        let (required, shape): (&[&str], Shape) = match self {
            Self::Cardata => (&["/sendtimestamp", "/vin", "/tripid"], Any),
            Self::Dtc => (&["/sendtimestamp", "/vin", "/dtc/code"], DTC),
            Self::Trip => (&["/vin", "/tripid"], TRIP),
            Self::Event => (&["/vin"], EVENT),
            Self::Jobs => (&["/jobid", "/thingarn", "/status"], Any),
            Self::Devices | Self::Groups => (&[], Any),
        };
        for pointer in required {
            if json::text(document, pointer).is_none() {
                return Err(Failure::malformed(format!("{pointer}: missing, or not a text")));
            }
        }
        check_keys(document, &shape, "")
    }
}

fn check_keys(document: &Map<String, Value>, shape: &Shape, path: &str) -> Result<(), Failure> {
    let Keys(known) = shape else { return Ok(()) };
    for (key, value) in document {
        let Some((_, inner)) = known.iter().find(|(name, _)| name == key) else {
            return Err(Failure::malformed(format!("{path}/{key}: unknown key")));
        };
        match (inner, value) {
            (Any, _) | (_, Value::Null) => {}
            (Keys(_), Value::Object(value)) => check_keys(value, inner, &format!("{path}/{key}"))?,
            (Keys(_), _) => return Err(Failure::malformed(format!("{path}/{key}: not an object"))),
        }
    }
    Ok(())
}
