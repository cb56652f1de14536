//! The host's side of a test: an engine with a fast clock, imports that answer, one plugin, one call.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "support of tests; each uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_host::{
    Batch, Binary, Component, Engine, EngineConfig, Imports, Input, Level, Limits, LoadError, Log, LostLines, Outcome,
    Qos, ReadError, Records, Sender, Setup, StartError, State, TelemetryInstance, TelemetryPlugin, Trap,
};

/// What a guest logged.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<(Vec<String>, LostLines)>>);

impl Log for Lines {
    fn write(&mut self, _: Level, text: &str) {
        self.0.lock().unwrap().0.push(text.to_owned());
    }

    fn lost(&mut self, lost: LostLines) {
        self.0.lock().unwrap().1 = lost;
    }
}

/// Remembers one value, and has one collection.
struct Memory;

impl State for Memory {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        (name == "no").then(|| format!("state of {message}").into_bytes())
    }
}

impl Records for Memory {
    fn get(&mut self, message: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        match (collection, key) {
            ("no", ["no"]) => Ok(Some(format!("record of {message}"))),
            ("no", _) => Ok(None),
            _ => Err(ReadError::Denied(format!("no collection {collection:?}"))),
        }
    }
}

pub(crate) fn imports(log: &Lines) -> Imports {
    Imports { log: Box::new(log.clone()), state: Box::new(Memory), records: Box::new(Memory) }
}

pub(crate) fn engine() -> Arc<Engine> {
    let config = EngineConfig { tick: Duration::from_millis(1), ..EngineConfig::default() };
    Arc::new(Engine::start(config).unwrap())
}

pub(crate) fn setup() -> Setup {
    Setup { gateway: "g".to_owned(), binding: "b".to_owned(), config: "{}".to_owned() }
}

pub(crate) fn limits() -> Limits {
    Limits { deadline: Duration::from_millis(50), ..Limits::default() }
}

pub(crate) fn load(component: &[u8]) -> Result<TelemetryPlugin, LoadError> {
    load_in(&engine(), component)
}

pub(crate) fn load_in(engine: &Arc<Engine>, component: &[u8]) -> Result<TelemetryPlugin, LoadError> {
    let component = Component::load(engine, &Binary::of(component), None, |error| panic!("{error}"))?;
    TelemetryPlugin::new(engine, &component)
}

pub(crate) fn start(component: &[u8], log: &Lines) -> Result<TelemetryInstance, StartError> {
    load(component).unwrap().start(&setup(), &limits(), imports(log))
}

/// Asks about messages of one device.
pub(crate) fn route(
    instance: TelemetryInstance,
    payloads: &[&[u8]],
) -> Result<(TelemetryInstance, Vec<Outcome>), Trap> {
    let one = |payload| Input {
        topic: "dt/cvra/d1/cardata",
        variables: &[("device", "d1")],
        sender: 0,
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        received_ms: 1_600_000_000_000,
        content_type: None,
        user_properties: &[],
    };
    let inputs: Vec<_> = payloads.iter().copied().map(one).collect();
    let senders = [Sender { id: "d1", attributes: &[("vin", "VIN1")] }];
    instance.route_batch(Batch { senders: &senders, inputs: &inputs })
}
