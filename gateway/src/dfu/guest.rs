//! A DFU plugin with everything that it takes to ask it: the instance, how to replace it, and what it can read. Its
//! answers are checked here: one that it may not give is as a trap.

use std::sync::Arc;

use bytes::Bytes;
use causeway_core::dfu::{Assignment, Heard, Orders, Progress, Step, answer};
use causeway_core::message::Message;
use causeway_host::dfu::{self as host, DfuInstance, DfuPlugin};
use causeway_host::{Component, DfuImports, Digest, Engine, Limit, Limits, LoadError, Setup, StartError, Trap};

use super::blocks::Blocks;
use crate::devices::Device;
use crate::firmware::Firmware;
use crate::plugins::{GuestError, Log};

/// A plugin and, while it behaves, its instance. It belongs to one thread.
#[derive(Debug)]
pub struct Guest {
    plugin: DfuPlugin,
    setup: Arc<Setup>,
    limits: Limits,
    log: Log,
    blocks: Blocks,
    instance: Option<DfuInstance>,
}

/// A status that a plugin is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The status.
    pub message: &'a Message,
    /// Whose it is.
    pub device: &'a Device,
    /// What is to become of the device.
    pub orders: &'a Orders,
    /// The last call about it trapped: whatever the orders are, the device is to wait.
    pub trapped: bool,
    /// After how many seconds the device is to ask again.
    pub poll: u32,
}

/// What a plugin says to a status; the device may be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// What the device said.
    pub heard: Heard,
    /// What it is told.
    pub step: Step,
    /// The command, in its own language.
    pub command: Bytes,
    /// MQTT 5 content type of the command.
    pub content_type: Option<String>,
}

/// What a plugin says to a status that it cannot answer as it was meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why, in a word of a closed set.
    pub kind: &'static str,
    /// Why, for the operator.
    pub text: String,
    /// What the device is told all the same.
    pub command: Option<Bytes>,
    /// MQTT 5 content type of the command.
    pub content_type: Option<String>,
}

impl Guest {
    /// Checks that the component is a DFU plugin.
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
        let plugin = DfuPlugin::new(engine, component)?;
        Ok(Self { plugin, setup: Arc::new(setup), limits, log, blocks: Blocks::default(), instance: None })
    }

    /// The same plugin for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        let (plugin, setup, log) = (self.plugin.clone(), Arc::clone(&self.setup), self.log.clone());
        Self { plugin, setup, limits: self.limits.clone(), log, blocks: Blocks::default(), instance: None }
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
        self.instance = Some(self.take_instance()?);
        Ok(())
    }

    /// Asks the plugin about a status. After a trap, and after an answer that it may not give, the next call starts a
    /// fresh instance.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn ask(&mut self, asked: Asked<'_>, firmware: &Firmware) -> Result<Result<Answer, Refusal>, GuestError> {
        let instance = self.take_instance()?;
        let assignment = assignment(&asked);
        self.blocks.begin(assignment.map(|assignment| (firmware.clone(), Arc::clone(&assignment.release))));
        let said = asked.tell(|request| instance.handle(request));
        let patches = self.blocks.end();
        let (instance, said) = said?;
        let said = said.map(Answer::from).map_err(Refusal::from);
        if let Ok(Answer { heard, step, .. }) = &said {
            let stays = if asked.trapped { &Orders::Stay } else { asked.orders };
            let wrong = |overstep: answer::Overstep| Trap { limit: Limit::None, reason: overstep.to_string() };
            answer::check(stays, heard, step, &patches).map_err(wrong)?;
        }
        self.instance = Some(instance);
        Ok(said)
    }

    fn take_instance(&mut self) -> Result<DfuInstance, StartError> {
        match self.instance.take() {
            Some(instance) => Ok(instance),
            None => {
                let imports = DfuImports { log: Box::new(self.log.clone()), firmware: Box::new(self.blocks.clone()) };
                self.plugin.start(&self.setup, &self.limits, imports)
            }
        }
    }
}

/// What the device is to get, as far as the plugin is told.
const fn assignment<'a>(asked: &Asked<'a>) -> Option<&'a Assignment> {
    match asked.orders {
        Orders::Update(assignment) if !asked.trapped => Some(assignment),
        _ => None,
    }
}

impl Asked<'_> {
    fn tell<T>(&self, call: impl FnOnce(&host::Request<'_>) -> T) -> T {
        let Device { id, attributes, parent, .. } = self.device;
        let attributes: Vec<_> = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let hold = match self.orders {
            _ if self.trapped => "the plugin was stopped".to_owned(),
            Orders::Hold(hold) => hold.to_string(),
            Orders::Stay | Orders::Update(_) => String::new(),
        };
        let orders = match (assignment(self), self.orders) {
            (Some(Assignment { release, swap, attempt, restart, .. }), _) => host::Orders::Update(host::Assignment {
                name: &release.name,
                version: &release.version,
                image: &release.image,
                size: release.size,
                checksum: &release.checksum,
                swap: *swap,
                attempt: *attempt,
                restart: *restart,
            }),
            (None, Orders::Stay) if !self.trapped => host::Orders::Stay,
            (None, _) => host::Orders::Hold(&hold),
        };
        call(&host::Request {
            device: host::Device { id, attributes: &attributes, parent: parent.as_deref() },
            orders,
            poll: self.poll,
            topic: &self.message.topic,
            payload: &self.message.payload,
            content_type: self.message.properties.content_type.as_deref(),
            received_ms: self.message.received_ms,
        })
    }
}

impl From<host::Answer> for Answer {
    fn from(said: host::Answer) -> Self {
        let host::Status { version, mtu, progress, formats } = said.status;
        let progress = progress.map(|host::Progress { version, offset, patch }| Progress { version, offset, patch });
        Self {
            heard: Heard { version, mtu, progress, formats },
            step: match said.step {
                host::Step::Wait => Step::Wait,
                host::Step::Sync => Step::Sync,
                host::Step::Write { offset, length, patch } => Step::Write { offset, length, patch },
                host::Step::Swap => Step::Swap,
            },
            command: said.command.into(),
            content_type: said.content_type,
        }
    }
}

impl From<host::Refusal> for Refusal {
    fn from(said: host::Refusal) -> Self {
        let kind = match &said.reason {
            causeway_host::Failure::Malformed(_) => "malformed",
            causeway_host::Failure::Rejected(_) => "rejected",
            causeway_host::Failure::Unavailable(_) => "unavailable",
        };
        let (text, command) = (said.reason.text().to_owned(), said.command.map(Bytes::from));
        Self { kind, text, command, content_type: said.content_type }
    }
}
