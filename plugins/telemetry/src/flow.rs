//! The four flows: which topic belongs to which, and the shape that each payload must have after lower-casing.
//!
//! `cardata` keeps keys it does not know; the others refuse them, because a misspelt trouble code must not be stored as
//! an empty one.

use causeway_plugin::Failure;
use serde_json::{Map, Value};

/// What a message is about; the last level of its topic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    Cardata,
    Dtc,
    Trip,
    Event,
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
    /// The flow of a topic `dt/cvra/{device}/{flow}`.
    pub(crate) fn of(topic: &str) -> Result<Self, Failure> {
        let mut levels = topic.split('/');
        let flow = match (levels.next(), levels.next(), levels.next(), levels.next(), levels.next()) {
            (Some("dt"), Some("cvra"), Some(_), Some(flow), None) => flow,
            _ => "",
        };
        match flow {
            "cardata" => Ok(Self::Cardata),
            "dtc" => Ok(Self::Dtc),
            "trip" => Ok(Self::Trip),
            "event" => Ok(Self::Event),
            _ => Err(Failure::malformed("the topic is none of dt/cvra/<device>/cardata, dtc, trip, event")),
        }
    }

    /// The collection that keeps the flow's history.
    pub(crate) const fn collection(self) -> &'static str {
        match self {
            Self::Cardata => "cardata",
            Self::Dtc => "dtc",
            Self::Trip => "trip",
            Self::Event => "event",
        }
    }

    /// Checks required fields and unknown keys; the VIN is checked against the sender elsewhere.
    pub(crate) fn check(self, document: &Map<String, Value>) -> Result<(), Failure> {
        let (required, shape): (&[&str], Shape) = match self {
            Self::Cardata => (&["/sendtimestamp", "/vin", "/tripid"], Any),
            Self::Dtc => (&["/sendtimestamp", "/vin", "/dtc/code"], DTC),
            Self::Trip => (&["/vin", "/tripid"], TRIP),
            Self::Event => (&["/vin"], EVENT),
        };
        for pointer in required {
            text_at(document, pointer)?;
        }
        check_keys(document, &shape, "")
    }
}

/// The field at a path of keys; it must be a text that is not empty.
fn text_at(document: &Map<String, Value>, pointer: &str) -> Result<(), Failure> {
    let mut keys = pointer.split('/').skip(1);
    let first = keys.next().and_then(|key| document.get(key));
    let value = keys.fold(first, |value, key| value.and_then(|value| value.get(key)));
    match value.and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(()),
        _ => Err(Failure::malformed(format!("{pointer}: missing, or not a text"))),
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
