//! Asks a plugin again what another one was asked: the inputs are recorded, and so are the answers of its imports.
//!
//! Nothing that it returns has an effect. When it is called, and what its answers are held against, is its caller's
//! business.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use causeway_host::{
    Batch, Component, Digest, Engine, Input as Told, Limits, LoadError, Sender, Setup, StartError, TelemetryInstance,
    TelemetryPlugin, Trap,
};

use super::convert;
use super::format::{Answer, Input, Outcome};
use super::script::Script;

/// What a plugin is run as.
#[derive(Clone, Debug)]
pub struct Role {
    /// What it is told once.
    pub setup: Setup,
    /// The bounds of its instances.
    pub limits: Limits,
    /// Inputs of one call, at most.
    pub batch_inputs: usize,
    /// Bytes of payload of one call; a larger input is a call of its own.
    pub batch_bytes: usize,
}

/// What came of one input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Played {
    /// What the plugin returned.
    pub outcome: Outcome,
    /// What it asked that there is no answer to.
    pub unanswered: Vec<String>,
    /// The lines that it wrote during the call, with the level of each.
    pub lines: Vec<String>,
}

/// Where one call ends: as many inputs as the role allows, and for a plugin that reads one of each key.
pub struct Edge {
    batch_inputs: usize,
    batch_bytes: usize,
    reads: bool,
    inputs: usize,
    bytes: usize,
    keys: HashSet<String>,
}

impl Edge {
    /// Whether the call has room for another input, which is in it from now on. The first one always fits.
    pub fn admits(&mut self, input: &Input) -> bool {
        let bytes = self.bytes.saturating_add(input.payload.0.len());
        let full = self.inputs >= self.batch_inputs || bytes > self.batch_bytes;
        if self.inputs > 0 && (full || self.reads && self.keys.contains(&input.key)) {
            return false;
        }
        if self.reads {
            self.keys.insert(input.key.clone());
        }
        (self.inputs, self.bytes) = (self.inputs + 1, bytes);
        true
    }
}

/// A plugin in a role and, while it behaves, its instance. It belongs to one thread.
pub struct Rehearsal {
    plugin: TelemetryPlugin,
    role: Role,
    /// It reads what earlier calls wrote: a call has at most one input of each key.
    reads: bool,
    script: Script,
    instance: Option<TelemetryInstance>,
}

impl Rehearsal {
    /// A component that is to be run in a role.
    ///
    /// # Errors
    /// It is no plugin of the kind.
    pub fn new(engine: &Arc<Engine>, component: &Component, role: Role) -> Result<Self, LoadError> {
        let plugin = TelemetryPlugin::new(engine, component)?;
        let reads = component.imports().iter().any(|import| import.contains("/state@") || import.contains("/records@"));
        Ok(Self { plugin, role, reads, script: Script::default(), instance: None })
    }

    /// The same plugin with an instance of its own.
    pub(super) fn another(&self) -> Self {
        let (plugin, role) = (self.plugin.clone(), self.role.clone());
        Self { plugin, role, reads: self.reads, script: Script::default(), instance: None }
    }

    /// The digest of the component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.plugin.digest()
    }

    /// Whether it reads what earlier calls wrote.
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.reads
    }

    /// Makes the instance, if there is none.
    ///
    /// # Errors
    /// The plugin refuses its configuration, or traps.
    pub fn start(&mut self) -> Result<(), StartError> {
        let instance = self.take_instance()?;
        self.instance = Some(instance);
        Ok(())
    }

    /// Has the next call made with a fresh instance.
    pub fn forget(&mut self) {
        self.instance = None;
    }

    /// A call that has no inputs yet.
    #[must_use]
    pub fn edge(&self) -> Edge {
        let Role { batch_inputs, batch_bytes, .. } = self.role;
        Edge { batch_inputs, batch_bytes, reads: self.reads, inputs: 0, bytes: 0, keys: HashSet::new() }
    }

    /// Asks about the inputs of one call, each with the answers to what the plugin may ask on its behalf, and tells `see`
    /// what came of each, in order, until it has seen enough. As the gateway does: after a trap they are asked again one
    /// by one.
    ///
    /// # Errors
    /// No instance comes to be.
    pub fn ask(
        &mut self,
        inputs: &[&Input],
        answers: &[Vec<Answer>],
        mut see: impl FnMut(&Input, Played) -> ControlFlow<()>,
    ) -> Result<(), StartError> {
        let mut tell = |inputs: &[&Input], played: Vec<Played>| {
            inputs.iter().zip(played).try_for_each(|(input, played)| see(input, played))
        };
        match self.call(inputs, answers)? {
            Ok(outcomes) => _ = tell(inputs, self.played(outcomes)),
            Err(trap) if inputs.len() == 1 => _ = tell(inputs, self.played(vec![Outcome::from(&trap)])),
            Err(_) => {
                for (input, answers) in inputs.iter().zip(answers) {
                    let (input, answers) = (std::slice::from_ref(input), std::slice::from_ref(answers));
                    let outcomes = self.call(input, answers)?.unwrap_or_else(|trap| vec![Outcome::from(&trap)]);
                    if tell(input, self.played(outcomes)).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn played(&self, outcomes: Vec<Outcome>) -> Vec<Played> {
        let mut scene = self.script.end();
        let mut played = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let mine = scene.unanswered.iter().filter(|(of, _)| *of == index).map(|(_, what)| what.clone());
            played.push(Played { outcome, unanswered: mine.collect(), lines: std::mem::take(&mut scene.lines) });
        }
        played
    }

    fn call(&mut self, inputs: &[&Input], answers: &[Vec<Answer>]) -> Result<Result<Vec<Outcome>, Trap>, StartError> {
        let instance = self.take_instance()?;
        self.script.begin(answers.to_vec());
        Ok(match told(inputs, |batch| instance.route_batch(batch)) {
            Ok((instance, outcomes)) => {
                self.instance = Some(instance);
                Ok(outcomes.iter().map(Outcome::from).collect())
            }
            Err(trap) => Err(trap),
        })
    }

    fn take_instance(&mut self) -> Result<TelemetryInstance, StartError> {
        match self.instance.take() {
            Some(instance) => Ok(instance),
            None => self.plugin.start(&self.role.setup, &self.role.limits, self.script.imports()),
        }
    }
}

/// Tells the plugin what it was told then.
fn told<T>(inputs: &[&Input], call: impl FnOnce(Batch<'_>) -> T) -> T {
    let attributes: Vec<_> = inputs.iter().map(|input| borrowed(&input.attributes)).collect();
    let variables: Vec<_> = inputs.iter().map(|input| borrowed(&input.variables)).collect();
    let user: Vec<_> = inputs.iter().map(|input| borrowed(&input.user_properties)).collect();
    // A sender whose attributes changed in between is told twice: each message has those of its time.
    let mut senders: Vec<Sender<'_>> = Vec::new();
    let mut messages = Vec::with_capacity(inputs.len());
    for (((input, attributes), variables), user_properties) in inputs.iter().zip(&attributes).zip(&variables).zip(&user)
    {
        let sender = Sender { id: &input.sender, attributes };
        let known = senders.iter().position(|known| known.id == sender.id && known.attributes == sender.attributes);
        let place = known.unwrap_or_else(|| {
            senders.push(sender);
            senders.len() - 1
        });
        messages.push(Told {
            topic: &input.topic,
            variables,
            sender: u32::try_from(place).unwrap_or(u32::MAX),
            payload: &input.payload.0,
            qos: convert::qos(input.qos),
            retain: input.retain,
            received_ms: input.received_ms,
            content_type: input.content_type.as_deref(),
            user_properties,
        });
    }
    call(Batch { senders: &senders, inputs: &messages })
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
