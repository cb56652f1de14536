//! A DFU plugin with everything that it takes to ask it: the instance, how to replace it, and what it can read. Its
//! answers are checked here: one that it may not give is as a trap.

use std::sync::Arc;

use causeway_core::dfu::{Assignment, Orders, answer};
use causeway_core::message::Message;
use causeway_host::dfu::{self as host, Answer, Refusal};
use causeway_host::{Component, DfuImports, Digest, Engine, Limit, Limits, LoadError, Setup, StartError, Trap};

use super::blocks::Blocks;
use super::called::{DfuInstance, DfuPlugin};
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
        let why;
        let orders = match self.orders {
            _ if self.trapped => host::Orders::Hold("the plugin was stopped"),
            Orders::Stay => host::Orders::Stay,
            Orders::Hold(hold) => {
                why = hold.to_string();
                host::Orders::Hold(&why)
            }
            Orders::Update(assignment) => host::Orders::Update(assignment),
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
