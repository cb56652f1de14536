//! A telemetry plugin with everything that it takes to call it: the instance, how to replace it, and the batch.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use causeway_core::message::{Message, QoS};
use causeway_core::template::Vars;
use causeway_host::{
    Batch, Component, Digest, Engine, Imports, Input, Limits, LoadError, Outcome, Qos, ReadError, Records, Sender,
    Setup, StartError, State, TelemetryInstance, TelemetryPlugin,
};

use crate::devices::{Device, Devices};
use crate::plugins::{GuestError, Log};
use crate::policy::Policies;
use crate::recording::Tap;

/// The imports that read.
const READS: [&str; 2] = ["causeway:plugin/state@", "causeway:plugin/records@"];

/// The reads of a plugin that is only tried.
#[derive(Debug)]
struct Nothing;

impl State for Nothing {
    fn get(&mut self, _: u32, _: &str) -> Option<Vec<u8>> {
        None
    }
}

impl Records for Nothing {
    fn get(&mut self, _: u32, collection: &str, _: &[&str]) -> Result<Option<String>, ReadError> {
        Err(ReadError::Denied(format!("there is no collection `{collection}` yet")))
    }
}

/// What answers the reads of one instance.
pub type Answering = (Box<dyn State>, Box<dyn Records>);

/// Makes what answers the reads of an instance.
#[derive(Clone)]
pub struct Answers(Arc<dyn Fn() -> Answering + Send + Sync>);

impl Answers {
    /// Answers that `make` makes for each instance.
    #[must_use]
    pub fn new(make: impl Fn() -> Answering + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new(|| (Box::new(Nothing), Box::new(Nothing)))
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// A plugin and, while it behaves, its instance. It belongs to one thread.
#[derive(Debug)]
pub struct Guest {
    plugin: TelemetryPlugin,
    setup: Arc<Setup>,
    limits: Limits,
    log: Log,
    tap: Tap,
    reads: bool,
    answers: Answers,
    instance: Option<TelemetryInstance>,
    state_version: u32,
}

impl Guest {
    /// Checks that the component is a telemetry plugin. It reads nothing before it is [another](Self::another)'s.
    ///
    /// # Errors
    /// It is none, or imports what it is not offered.
    pub fn new(
        engine: &Arc<Engine>,
        component: &Component,
        setup: Setup,
        limits: Limits,
        log: Log,
    ) -> Result<Self, LoadError> {
        let plugin = TelemetryPlugin::new(engine, component)?;
        let reads = component.imports().iter().any(|import| READS.iter().any(|reads| import.starts_with(reads)));
        let (setup, tap, answers) = (Arc::new(setup), Tap::default(), Answers::default());
        Ok(Self { plugin, setup, limits, log, tap, reads, answers, instance: None, state_version: 0 })
    }

    /// Lets what the plugin is asked and answers be recorded, from its next instance on.
    pub fn record(&mut self, tap: Tap) {
        self.tap = tap;
        self.instance = None;
    }

    /// The same plugin for another thread, with what answers its reads there.
    #[must_use]
    pub fn another(&self, answers: Answers) -> Self {
        let (plugin, setup, log) = (self.plugin.clone(), Arc::clone(&self.setup), self.log.clone());
        let (limits, tap) = (self.limits.clone(), self.tap.another());
        let Self { reads, state_version, .. } = *self;
        Self { plugin, setup, limits, log, tap, reads, answers, instance: None, state_version }
    }

    /// Whether it can read what earlier calls wrote.
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.reads
    }

    /// How the values that it leaves in its state are to be read; known once it was started.
    #[must_use]
    pub const fn state_version(&self) -> u32 {
        self.state_version
    }

    /// The digest of the plugin.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.plugin.digest()
    }

    /// Makes the instance, if there is none.
    ///
    /// # Errors
    /// The plugin refuses its configuration, or traps.
    pub fn start(&mut self) -> Result<(), StartError> {
        let instance = self.take_instance()?;
        self.state_version = instance.state_version();
        self.instance = Some(instance);
        Ok(())
    }

    /// Asks the plugin about messages, in order. After a trap the next call starts a fresh instance.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn route(&mut self, messages: &[Asked<'_>], world: &World) -> Result<Vec<Outcome>, GuestError> {
        let instance = self.take_instance()?;
        let told = world.tell(messages);
        self.tap.begin();
        let (instance, outcomes) = told.as_batch(|batch| {
            let answer = instance.route_batch(batch);
            let keys: Vec<&str> = messages.iter().map(|asked| asked.key).collect();
            self.tap.end(&batch, &keys, answer.as_ref().map(|(_, outcomes)| outcomes.as_slice()));
            answer
        })?;
        self.instance = Some(instance);
        Ok(outcomes)
    }

    fn take_instance(&mut self) -> Result<TelemetryInstance, StartError> {
        match self.instance.take() {
            Some(instance) => Ok(instance),
            None => {
                let log = Box::new(self.log.clone());
                let (state, records) = (self.answers.0)();
                let imports = Imports { log, state, records };
                self.plugin.start(&self.setup, &self.limits, self.tap.imports(imports))
            }
        }
    }
}

/// A message that a plugin is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'m> {
    /// The message.
    pub message: &'m Message,
    /// The variables of the binding's own template; without one those of the topic's type are told.
    pub variables: Option<Vars<'m>>,
    /// Its unit of order and of state.
    pub key: &'m str,
}

/// What the gateway knows about senders and topics.
#[derive(Clone)]
pub struct World {
    /// Whose attributes are told.
    pub devices: Devices,
    /// Whose templates name the variables of topics.
    pub policies: Policies,
}

/// A batch with everything that it borrows.
struct Told<'m> {
    messages: &'m [Asked<'m>],
    senders: Vec<(ByteString, Option<Arc<Device>>)>,
    places: Vec<u32>,
    variables: Vec<Vec<(String, String)>>,
}

impl World {
    fn tell<'m>(&self, messages: &'m [Asked<'m>]) -> Told<'m> {
        let mut senders: Vec<(ByteString, Option<Arc<Device>>)> = Vec::new();
        let mut places = Vec::with_capacity(messages.len());
        for Asked { message, .. } in messages {
            let known = senders.iter().position(|(id, _)| *id == message.sender);
            let place = known.unwrap_or_else(|| {
                senders.push((message.sender.clone(), self.devices.get(&message.sender)));
                senders.len() - 1
            });
            places.push(u32::try_from(place).unwrap_or(u32::MAX));
        }
        let variables = messages.iter().map(|asked| match &asked.variables {
            Some(own) => own.bound().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            None => self.policies.topic_variables(&asked.message.topic),
        });
        let variables = variables.collect();
        Told { messages, senders, places, variables }
    }
}

impl Told<'_> {
    fn as_batch<T>(&self, call: impl FnOnce(Batch<'_>) -> T) -> T {
        let attributes: Vec<Vec<_>> = self.senders.iter().map(|(_, device)| attributes(device.as_deref())).collect();
        let senders = self.senders.iter().zip(&attributes);
        let senders: Vec<_> = senders.map(|((id, _), attributes)| Sender { id, attributes }).collect();
        let variables: Vec<Vec<_>> = self.variables.iter().map(|pairs| borrowed(pairs)).collect();
        let user: Vec<Vec<_>> = self.messages.iter().map(|asked| user_properties(asked.message)).collect();
        let inputs: Vec<_> = self
            .messages
            .iter()
            .zip(&self.places)
            .zip(variables.iter().zip(&user))
            .map(|((Asked { message, .. }, sender), (variables, user_properties))| Input {
                topic: &message.topic,
                variables,
                sender: *sender,
                payload: &message.payload,
                qos: match message.qos {
                    QoS::AtMostOnce => Qos::AtMostOnce,
                    QoS::AtLeastOnce => Qos::AtLeastOnce,
                    QoS::ExactlyOnce => Qos::ExactlyOnce,
                },
                retain: message.retain,
                received_ms: message.received_ms,
                content_type: message.properties.content_type.as_deref(),
                user_properties,
            })
            .collect();
        call(Batch { senders: &senders, inputs: &inputs })
    }
}

/// The attributes that a plugin sees, sorted by name as the registry keeps them.
fn attributes(device: Option<&Device>) -> Vec<(&str, &str)> {
    device.map_or_else(Vec::new, |device| {
        device.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    })
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn user_properties(message: &Message) -> Vec<(&str, &str)> {
    message.properties.user.iter().map(|(name, value)| (&**name, &**value)).collect()
}
