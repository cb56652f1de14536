//! A gateway for a plugin's own tests: it answers what the plugin asks, and remembers the state that the plugin sets.
//! [`Gateway`] is that of telemetry plugins, [`Update`] that of DFU plugins.
//!
//! Rows are not merged into collections here; a test says what a document is when it is read.
//!
//! ```
//! use causeway_plugin::telemetry::{Message, Router, Setup};
//! use causeway_plugin::testing::{Gateway, Input};
//! use causeway_plugin::{Effects, Failure};
//!
//! /// Counts the messages of each device.
//! struct Counter;
//!
//! impl Router for Counter {
//!     fn configure(_: &Setup) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn route(&self, message: Message<'_>) -> Result<Effects, Failure> {
//!         let before = message.state("count").and_then(|bytes| bytes.first().copied()).unwrap_or(0);
//!         Ok(Effects::new().set_state("count", [before + 1]))
//!     }
//! }
//!
//! let mut gateway = Gateway::new();
//! for _ in 0..3 {
//!     gateway.route(&Counter, &Input::new("devices/d1/door", "open").sender("d1", &[])).unwrap();
//! }
//! gateway.route(&Counter, &Input::new("devices/d2/door", "open").sender("d2", &[])).unwrap();
//! assert_eq!(gateway.state_of("d1", "count"), Some(&[3_u8][..]));
//! ```

mod update;

use std::collections::HashMap;

pub use update::Update;

use crate::reads::Reads;
use crate::telemetry::{Message, Qos, ReadError, Router, Sender, Setup};
use crate::{Effect, Effects, Failure};

/// One input of a test: QoS 1, not retained, from the device `device`, received at 2020-09-13T12:26:40Z.
#[derive(Clone, Debug)]
pub struct Input {
    topic: String,
    payload: Vec<u8>,
    sender: Sender,
    variables: Vec<(String, String)>,
    received_ms: u64,
}

impl Input {
    /// A message.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let sender = Sender { id: "device".to_owned(), attributes: Vec::new() };
        Self {
            topic: topic.into(),
            payload: payload.into(),
            sender,
            variables: Vec::new(),
            received_ms: 1_600_000_000_000,
        }
    }

    /// Who sends it, with the attributes that the registry has of it.
    #[must_use]
    pub fn sender(mut self, id: &str, attributes: &[(&str, &str)]) -> Self {
        self.sender = Sender { id: id.to_owned(), attributes: attributes.iter().map(owned).collect() };
        self
    }

    /// A variable of the topic's template.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push(owned(&(name, value)));
        self
    }

    /// When the gateway received it, in Unix milliseconds.
    #[must_use]
    pub const fn received_ms(mut self, received_ms: u64) -> Self {
        self.received_ms = received_ms;
        self
    }
}

/// Answers the imports of a plugin.
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    key: Option<String>,
    state: HashMap<(String, String), Vec<u8>>,
    records: HashMap<(String, Vec<String>), String>,
    errors: HashMap<String, ReadError>,
}

impl Gateway {
    /// A gateway without documents and without state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The binding's `key`: the template variable that is the unit of order and of state. Without it, it is the sender.
    #[must_use]
    pub fn key(mut self, variable: &str) -> Self {
        self.key = Some(variable.to_owned());
        self
    }

    /// A value that is remembered for a key beforehand.
    #[must_use]
    pub fn state(mut self, key: &str, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.state.insert((key.to_owned(), name.to_owned()), value.into());
        self
    }

    /// A document of a collection.
    #[must_use]
    pub fn record(mut self, collection: &str, key: &[&str], document: impl Into<String>) -> Self {
        let key = key.iter().map(|&value| value.to_owned()).collect();
        self.records.insert((collection.to_owned(), key), document.into());
        self
    }

    /// A collection of which every read fails.
    #[must_use]
    pub fn failing(mut self, collection: &str, error: ReadError) -> Self {
        self.errors.insert(collection.to_owned(), error);
        self
    }

    /// What is remembered for a key.
    #[must_use]
    pub fn state_of(&self, key: &str, name: &str) -> Option<&[u8]> {
        self.state.get(&(key.to_owned(), name.to_owned())).map(Vec::as_slice)
    }

    /// Makes a plugin with this `config` section, a JSON object.
    ///
    /// # Errors
    /// The plugin refuses it.
    pub fn configure<R: Router>(config: &str) -> Result<R, String> {
        R::configure(&Setup { gateway: "gateway".to_owned(), binding: "binding".to_owned(), config: config.to_owned() })
    }

    /// Asks the plugin about one input and, unless it fails, remembers the state that it sets.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn route(&mut self, router: &impl Router, input: &Input) -> Result<Effects, Failure> {
        let named = |name: &String| input.variables.iter().find(|(variable, _)| variable == name);
        let key = self.key.as_ref().and_then(named).map_or(&input.sender.id, |(_, value)| value).clone();
        let effects = router.route(Message {
            topic: &input.topic,
            variables: &input.variables,
            sender: &input.sender,
            payload: &input.payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            received_ms: input.received_ms,
            content_type: None,
            user_properties: &[],
            reads: Reads(Some((self, &key))),
        })?;
        for effect in effects.as_slice() {
            if let Effect::SetState(change) = effect {
                let place = (key.clone(), change.name.clone());
                match &change.value {
                    Some(value) => drop(self.state.insert(place, value.clone())),
                    None => drop(self.state.remove(&place)),
                }
            }
        }
        Ok(effects)
    }

    pub(crate) fn read(&self, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        if let Some(error) = self.errors.get(collection) {
            return Err(error.clone());
        }
        let key = key.iter().map(|&value| value.to_owned()).collect();
        Ok(self.records.get(&(collection.to_owned(), key)).cloned())
    }
}

fn owned((name, value): &(&str, &str)) -> (String, String) {
    ((*name).to_owned(), (*value).to_owned())
}
