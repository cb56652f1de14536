//! Runs a component with a recording, in any rhythm: with one instance or with a fresh one for each call, and with batches
//! cut anywhere. Its imports answer what they answered then.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_host::{
    Batch, Component, Digest, Engine, Imports, Input as Told, Level, Limits, LoadError, Log, LostLines, ReadError,
    Records, Sender, Setup, StartError, State, TelemetryInstance, TelemetryPlugin, Trap,
};

use super::convert;
use super::format::{Answer, Blob, Input, Outcome, Read};
use super::reader::Recording;

/// A machine that is slower than the gateway must not make a trap of an answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// In which rhythm the plugin is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mode {
    /// A fresh instance for each call.
    pub fresh: bool,
    /// Inputs of one call, at most.
    pub batch: usize,
}

/// What came of one input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Played {
    /// What the plugin returned.
    pub outcome: Outcome,
    /// What it asked that the recording has no answer to.
    pub unanswered: Vec<String>,
    /// The lines that it wrote during the call, with the level of each.
    pub lines: Vec<String>,
}

/// A plugin with the inputs of a recording.
pub struct Player {
    plugin: TelemetryPlugin,
    setup: Setup,
    limits: Limits,
    inputs: Arc<[Input]>,
    /// For a plugin that reads, a batch has at most one input of each key.
    reads: bool,
}

impl Player {
    /// A component that is to be run with a recording.
    ///
    /// # Errors
    /// It is no plugin of the recording's kind.
    pub fn new(engine: &Arc<Engine>, component: &Component, recording: &Recording) -> Result<Self, LoadError> {
        let plugin = TelemetryPlugin::new(engine, component)?;
        let header = &recording.header;
        let setup =
            Setup { gateway: header.gateway.clone(), binding: header.binding.clone(), config: header.config.clone() };
        let reads = component.imports().iter().any(|import| import.contains("/state@") || import.contains("/records@"));
        let limits = Limits { deadline: DEADLINE, memory_bytes: 32 << 20, ..Limits::default() };
        Ok(Self { plugin, setup, limits, inputs: recording.inputs.clone().into(), reads })
    }

    /// The digest of the component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.plugin.digest()
    }

    /// What comes of each input.
    ///
    /// # Errors
    /// The plugin does not take the recording's configuration.
    pub fn play(&self, mode: Mode) -> Result<Vec<Played>, StartError> {
        let script = Script::default();
        let mut run = Run { player: self, script, instance: None, played: Vec::new() };
        let mut next = 0;
        while next < self.inputs.len() {
            let call = next..next + self.fits(next, mode.batch);
            next = call.end;
            run.call(call)?;
            if mode.fresh {
                run.instance = None;
            }
        }
        Ok(run.played)
    }

    /// How many inputs from `first` on make one call.
    fn fits(&self, first: usize, batch: usize) -> usize {
        let rest = self.inputs.get(first..).unwrap_or_default();
        let alone = |(index, input): &(usize, &Input)| {
            !self.reads || !rest.iter().take(*index).any(|before| before.key == input.key)
        };
        rest.iter().enumerate().take(batch).take_while(alone).count().max(1)
    }
}

/// One run through all inputs.
struct Run<'p> {
    player: &'p Player,
    script: Script,
    instance: Option<TelemetryInstance>,
    played: Vec<Played>,
}

impl Run<'_> {
    /// As the gateway calls: after a trap the inputs of the batch are asked again one by one.
    fn call(&mut self, call: Range<usize>) -> Result<(), StartError> {
        let inputs = Arc::clone(&self.player.inputs);
        let asked = inputs.get(call.clone()).unwrap_or_default();
        match self.ask(asked)? {
            Ok(outcomes) => self.keep(outcomes),
            Err(trap) if asked.len() == 1 => self.keep(vec![Outcome::from(&trap)]),
            Err(_) => {
                for index in call {
                    self.call(index..index + 1)?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, outcomes: Vec<Outcome>) {
        let scene = std::mem::take(&mut *self.script.lock());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let mine = scene.unanswered.iter().filter(|(of, _)| *of == index).map(|(_, what)| what.clone());
            let lines = if index == 0 { scene.lines.clone() } else { Vec::new() };
            self.played.push(Played { outcome, unanswered: mine.collect(), lines });
        }
    }

    fn ask(&mut self, inputs: &[Input]) -> Result<Result<Vec<Outcome>, Trap>, StartError> {
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                let player = self.player;
                player.plugin.start(&player.setup, &player.limits, self.script.imports())?
            }
        };
        let answers = inputs.iter().map(|input| input.answers.clone()).collect();
        *self.script.lock() = Scene { answers, ..Scene::default() };
        Ok(match told(inputs, |batch| instance.route_batch(batch)) {
            Ok((instance, outcomes)) => {
                self.instance = Some(instance);
                Ok(outcomes.iter().map(Outcome::from).collect())
            }
            Err(trap) => Err(trap),
        })
    }
}

/// Tells the plugin what it was told then.
fn told<T>(inputs: &[Input], call: impl FnOnce(Batch<'_>) -> T) -> T {
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

/// What the imports answer during the next call; clones share it.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scene>>);

#[derive(Default)]
struct Scene {
    /// The recorded answers of each message.
    answers: Vec<Vec<Answer>>,
    /// Questions without an answer, by message.
    unanswered: Vec<(usize, String)>,
    lines: Vec<String>,
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn imports(&self) -> Imports {
        Imports { log: Box::new(self.clone()), state: Box::new(self.clone()), records: Box::new(self.clone()) }
    }

    /// The recorded answer to a question; without one the question is noted.
    fn answer<T>(&self, message: u32, question: &str, find: impl Fn(&Answer) -> Option<T>) -> Option<T> {
        let message = usize::try_from(message).unwrap_or(usize::MAX);
        let mut scene = self.lock();
        let found = scene.answers.get(message).and_then(|answers| answers.iter().find_map(find));
        if found.is_none() {
            scene.unanswered.push((message, question.to_owned()));
        }
        found
    }
}

impl State for Script {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        let answer = self.answer(message, &format!("state {name}"), |answer| match answer {
            Answer::State { name: of, value } if of == name => Some(value.clone()),
            _ => None,
        });
        answer.flatten().map(|Blob(value)| value)
    }
}

impl Records for Script {
    fn get(&mut self, message: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        let question = format!("record {collection} {}", key.join(" "));
        let answer = self.answer(message, &question, |answer| match answer {
            Answer::Record { collection: of, key: other, read } if of == collection && other == key => {
                Some(read.clone())
            }
            _ => None,
        });
        answer.unwrap_or_else(|| Read::Unavailable("the recording has no answer to this".to_owned())).into()
    }
}

impl Log for Script {
    fn write(&mut self, level: Level, text: &str) {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        self.lock().lines.push(format!("{level}: {text}"));
    }

    fn lost(&mut self, lost: LostLines) {
        let LostLines { dropped, cut } = lost;
        self.lock().lines.push(format!("{dropped} lines beyond the budget of the call, {cut} lines cut"));
    }
}
