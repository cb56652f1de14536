//! One message on its way to rows: what came in, what the rules may read, what they want kept.
//!
//! Nothing here knows how the gateway hands these over, so the rules run and are tested without one.

use causeway_plugin::Failure;
use serde_json::{Map, Value};

use crate::{json, time};

/// A message as the gateway hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The variable `device` of the topic's template.
    pub device: Option<&'a str>,
    /// The sender's device id.
    pub sender: &'a str,
    /// The sender's attribute `vin`.
    pub vin: Option<&'a str>,
    /// The payload.
    pub payload: &'a [u8],
    /// When the gateway received it, Unix milliseconds.
    pub received_ms: u64,
}

/// Documents that earlier messages left, by collection and key.
pub trait Records {
    /// The document, if there is one.
    ///
    /// # Errors
    /// It cannot be read now, or not at all.
    fn get(&self, collection: &str, key: &str) -> Result<Option<String>, Failure>;
}

/// A document for a collection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Put {
    /// The collection.
    pub collection: &'static str,
    /// A JSON object.
    pub document: String,
}

/// Makes the document a row of `collection`.
pub(crate) fn put(collection: &'static str, document: Map<String, Value>) -> Put {
    Put { collection, document: Value::Object(document).to_string() }
}

/// The document of a key as an object; empty when there is none.
pub(crate) fn read(records: &dyn Records, collection: &str, key: &str) -> Result<Map<String, Value>, Failure> {
    let Some(text) = records.get(collection, key)? else { return Ok(Map::new()) };
    let damaged = || Failure::malformed(format!("the {collection} of {key:?} is not a JSON object"));
    serde_json::from_str(&text).map_err(|_| damaged())
}

/// A message whose payload has been read.
pub(crate) struct Reading<'a> {
    pub(crate) input: Input<'a>,
    pub(crate) document: Map<String, Value>,
    /// When it was sent; the time of reception when that is not said or lies too far ahead of it.
    pub(crate) sent_ms: u64,
    /// The sender's clock can be believed. What is not timely is kept as history and never wins over anything.
    pub(crate) timely: bool,
    /// What the payload claimed under keys that are the gateway's.
    original: Map<String, Value>,
}

impl<'a> Reading<'a> {
    /// Reads the time at the first of `pointers` that has one: ISO 8601, or Unix seconds or milliseconds.
    pub(crate) fn new(
        input: Input<'a>,
        document: Map<String, Value>,
        pointer: &str,
        max_skew_ms: u64,
    ) -> Result<Self, Failure> {
        let said = match json::at(&document, pointer) {
            None | Some(Value::Null) => input.received_ms,
            Some(value) => time_of(value).ok_or_else(|| Failure::malformed(format!("{pointer}: not a time")))?,
        };
        let timely = said <= input.received_ms.saturating_add(max_skew_ms);
        let sent_ms = if timely { said } else { input.received_ms };
        Ok(Self { input, document, sent_ms, timely, original: Map::new() })
    }

    /// Sets what the gateway knows; a different value that the payload claimed is kept as its original.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        match self.document.insert(key.to_owned(), value) {
            Some(claimed) if self.document.get(key) != Some(&claimed) => {
                drop(self.original.insert(key.to_owned(), claimed))
            }
            _ => {}
        }
    }

    /// Takes away what only the gateway may say.
    pub(crate) fn disown(&mut self, key: &str) {
        if let Some(claimed) = self.document.remove(key) {
            self.original.insert(key.to_owned(), claimed);
        }
    }

    /// The document, with the claims that were replaced under `original`.
    pub(crate) fn into_document(mut self) -> Map<String, Value> {
        if !self.original.is_empty() {
            self.disown("original");
            self.document.insert("original".to_owned(), Value::Object(self.original));
        }
        self.document
    }

    /// Adds when it was sent and received.
    pub(crate) fn stamp(&mut self) {
        if !self.timely {
            self.set("clock", "ahead".into());
        }
        self.set("sentat", self.sent_ms.into());
        self.set("receivedat", self.input.received_ms.into());
    }
}

/// A number below this counts seconds: as milliseconds it would lie in 1970.
const SECONDS_BELOW: u64 = 20_000_000_000;

fn time_of(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => time::parse_ms(text),
        Value::Number(number) => number.as_u64().map(|n| if n < SECONDS_BELOW { n * 1000 } else { n }),
        _ => None,
    }
}

/// The name under which a vehicle is kept. A VIN of 17 letters and digits is written in capitals, for the asset library
/// lower-cases it; any other name of a vehicle is left as it is.
pub(crate) fn canonical_vin(vin: &str) -> String {
    let vin = vin.trim();
    let is_vin = vin.len() == 17 && vin.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_vin { vin.to_ascii_uppercase() } else { vin.to_owned() }
}
