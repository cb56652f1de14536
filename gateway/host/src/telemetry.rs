//! The kind `telemetry`: batches of messages in, one outcome for each message out.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use causeway_core::digest::Digest;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::telemetry::causeway::plugin::types as raw_in;
use crate::bindings::telemetry::exports::causeway::plugin::config::Setup as RawSetup;
use crate::bindings::telemetry::exports::causeway::plugin::telemetry_router as raw;
use crate::bindings::telemetry::{Telemetry, TelemetryPre};
use crate::component::{Component, LoadError};
use crate::effect::{Effect, Failure, Outcome, Publication, Qos, Row, StateChange};
use crate::engine::Engine;
use crate::imports::{Imports, Reads};
use crate::instance::{Bounded, Context, Setup, StartError};
use crate::limits::{Limit, Limits, Trap};

pub(crate) const KIND: &str = "telemetry";

/// The interface that makes a component a telemetry plugin.
pub(crate) const EXPORT: &str = "causeway:plugin/telemetry-router@0.1.0-draft";

/// The imports that the world offers. An import of types only has no function and reaches nothing.
pub(crate) const OFFERED: &[&str] = &[
    "causeway:plugin/log@0.1.0-draft",
    "causeway:plugin/records@0.1.0-draft",
    "causeway:plugin/state@0.1.0-draft",
    "causeway:plugin/types@0.1.0-draft",
];

/// A component that is known to be a telemetry plugin.
#[derive(Clone)]
pub struct TelemetryPlugin {
    engine: Arc<Engine>,
    pre: TelemetryPre<Context<Reads>>,
    digest: Digest,
}

impl TelemetryPlugin {
    /// Checks that the component is a telemetry plugin: what it exports, and that it imports nothing else than the world
    /// offers.
    ///
    /// # Errors
    /// [`LoadError::Import`] and [`LoadError::World`].
    pub fn new(engine: &Arc<Engine>, component: &Component) -> Result<Self, LoadError> {
        component.check_imports(KIND, OFFERED)?;
        let world = |error: wasmtime::Error| LoadError::World { kind: KIND, reason: format!("{error:#}") };
        let mut linker = Linker::new(&engine.inner);
        Telemetry::add_to_linker::<_, HasSelf<_>>(&mut linker, |context: &mut Context<Reads>| context)
            .map_err(world)?;
        let pre = linker.instantiate_pre(&component.inner).and_then(TelemetryPre::new).map_err(world)?;
        Ok(Self { engine: Arc::clone(engine), pre, digest: component.digest() })
    }

    /// The digest of its component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Makes an instance and tells it its setup; takes some 40 µs.
    ///
    /// # Errors
    /// The plugin refuses the configuration, or traps.
    pub fn start(&self, setup: &Setup, limits: &Limits, imports: Imports) -> Result<TelemetryInstance, StartError> {
        let Imports { log, state, records } = imports;
        let mut bounded = Bounded::new(&self.engine, limits, log, Reads { state, records });
        let guest = bounded.call(0, |store| self.pre.instantiate(store))?;
        let raw = RawSetup { gateway: &setup.gateway, binding: &setup.binding, config: &setup.config };
        let answer = bounded.call(0, |store| guest.causeway_plugin_config().call_configure(store, raw))?;
        answer.map_err(StartError::Refused)?;
        let state_version = bounded.call(0, |store| guest.causeway_plugin_config().call_state_version(store))?;
        let Limits { output_bytes, effects, .. } = *limits;
        Ok(TelemetryInstance { bounded, guest, state_version, output_bytes, effects })
    }
}

impl Debug for TelemetryPlugin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryPlugin").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Who sent a message.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The device id; empty for the gateway itself.
    pub id: &'a str,
    /// The registry's attributes, sorted by name.
    pub attributes: &'a [(&'a str, &'a str)],
}

/// One message of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The variables of the topic's template.
    pub variables: &'a [(&'a str, &'a str)],
    /// Where in [`Batch::senders`] its sender is.
    pub sender: u32,
    /// The payload.
    pub payload: &'a [u8],
    /// The guarantee.
    pub qos: Qos,
    /// It asks to be retained.
    pub retain: bool,
    /// When it was received, in Unix milliseconds.
    pub received_ms: u64,
    /// MQTT 5 content type.
    pub content_type: Option<&'a str>,
    /// MQTT 5 user properties.
    pub user_properties: &'a [(&'a str, &'a str)],
}

/// What one call gets.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Each sender once.
    pub senders: &'a [Sender<'a>],
    /// The messages in order.
    pub inputs: &'a [Input<'a>],
}

/// A plugin that is ready to be called.
pub struct TelemetryInstance {
    bounded: Bounded<Reads>,
    guest: Telemetry,
    state_version: u32,
    output_bytes: usize,
    effects: usize,
}

impl TelemetryInstance {
    /// How the values that the plugin leaves in its state are to be read.
    #[must_use]
    pub const fn state_version(&self) -> u32 {
        self.state_version
    }

    /// Asks what to do with a batch: one outcome for each input, in order.
    ///
    /// It takes the instance and gives it back only if the call returned, so nobody can call a trapped one again.
    ///
    /// # Errors
    /// The call trapped or its answer is too large or too short; the instance is gone.
    pub fn route_batch(mut self, batch: Batch<'_>) -> Result<(Self, Vec<Outcome>), Trap> {
        let senders: Vec<_> = batch.senders.iter().map(raw_sender).collect();
        let messages: Vec<_> = batch.inputs.iter().map(raw_message).collect();
        let raw_batch = raw_in::Batch { senders: &senders, messages: &messages };
        let router = self.guest.causeway_plugin_telemetry_router();
        let answer = self.bounded.call(batch.inputs.len(), |store| router.call_route_batch(store, raw_batch))?;
        if answer.len() != batch.inputs.len() {
            let reason = format!("{} outcomes for {} messages", answer.len(), batch.inputs.len());
            return Err(Trap::new(Limit::None, reason));
        }
        let outcomes: Vec<Outcome> = answer.into_iter().map(outcome).collect();
        self.check_size(&outcomes)?;
        Ok((self, outcomes))
    }

    fn check_size(&self, outcomes: &[Outcome]) -> Result<(), Trap> {
        let most = outcomes.iter().flatten().map(Vec::len).max().unwrap_or(0);
        if most > self.effects {
            let reason = format!("{most} effects for one message, {} are allowed", self.effects);
            return Err(Trap::new(Limit::Effects, reason));
        }
        let bytes: usize = outcomes.iter().map(outcome_bytes).sum();
        if bytes > self.output_bytes {
            let reason = format!("{bytes} bytes returned, {} are allowed", self.output_bytes);
            return Err(Trap::new(Limit::Output, reason));
        }
        Ok(())
    }
}

impl Debug for TelemetryInstance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryInstance").finish_non_exhaustive()
    }
}

const fn raw_sender<'a>(sender: &Sender<'a>) -> raw_in::Sender<'a> {
    raw_in::Sender { id: sender.id, attributes: sender.attributes }
}

const fn raw_message<'a>(input: &Input<'a>) -> raw_in::Message<'a> {
    raw_in::Message {
        topic: input.topic,
        variables: input.variables,
        sender: input.sender,
        payload: input.payload,
        qos: match input.qos {
            Qos::AtMostOnce => raw_in::Qos::AtMostOnce,
            Qos::AtLeastOnce => raw_in::Qos::AtLeastOnce,
            Qos::ExactlyOnce => raw_in::Qos::ExactlyOnce,
        },
        retain: input.retain,
        received: input.received_ms,
        content_type: input.content_type,
        user_properties: input.user_properties,
    }
}

fn outcome(raw: raw::Outcome) -> Outcome {
    match raw {
        Ok(effects) => Ok(effects.into_iter().map(effect).collect()),
        Err(raw) => Err(failure(raw)),
    }
}

/// The failure that all kinds share.
pub(crate) fn failure(raw: raw_in::Failure) -> Failure {
    match raw {
        raw_in::Failure::Malformed(reason) => Failure::Malformed(reason),
        raw_in::Failure::Rejected(reason) => Failure::Rejected(reason),
        raw_in::Failure::Unavailable(reason) => Failure::Unavailable(reason),
    }
}

fn effect(raw: raw_in::Effect) -> Effect {
    match raw {
        raw_in::Effect::Put(row) => Effect::Put(Row { collection: row.collection, document: row.document }),
        raw_in::Effect::Publish(message) => Effect::Publish(Publication {
            topic: message.topic,
            payload: message.payload,
            qos: match message.qos {
                raw_in::Qos::AtMostOnce => Qos::AtMostOnce,
                raw_in::Qos::AtLeastOnce => Qos::AtLeastOnce,
                raw_in::Qos::ExactlyOnce => Qos::ExactlyOnce,
            },
            retain: message.retain,
        }),
        raw_in::Effect::SetState(change) => Effect::SetState(StateChange { name: change.name, value: change.value }),
    }
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(effects) => effects.iter().map(effect_bytes).sum(),
        Err(failure) => failure.text().len(),
    }
}

fn effect_bytes(effect: &Effect) -> usize {
    match effect {
        Effect::Put(row) => row.collection.len() + row.document.len(),
        Effect::Publish(message) => message.topic.len() + message.payload.len(),
        Effect::SetState(change) => change.name.len() + change.value.as_ref().map_or(0, Vec::len),
    }
}
