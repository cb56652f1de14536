//! The conversation with a device, one status and one command at a time: whose status it is, what is to become of the
//! device, and where it is told. When the plugin is called in between is the business of [`crate::dispatch`].
//!
//! A device is believed about itself, and a gateway device about its children in the registry. What a payload says about
//! its sender is not looked at here.

use std::collections::HashMap;
use std::sync::Arc;

use bytestring::ByteString;
use causeway_core::dfu::{Heard, Orders, Step};
use causeway_core::message::{Message, Properties};
use causeway_core::template::TemplateError;
use causeway_host::dfu::Refusal;

use super::Publish;
use super::fleet::{Fleet, Line};
use super::topics::Topics;
use crate::clock::Clock;
use crate::config::DfuTopicsConfig;
use crate::devices::{self, Device, Devices};
use crate::firmware::Firmware;
use crate::policy::{Action, Policies, Principal, Request, Resource};

/// Response topics whose permission is remembered; beyond them all are asked for anew.
const REMEMBERED: usize = 4096;

/// The longest content type that is passed on, in bytes.
const MAX_CONTENT_TYPE: usize = 256;

/// What all conversations stand on.
#[derive(Clone)]
pub struct Ground {
    /// What is to become of devices, and what has.
    pub fleet: Fleet,
    /// The bytes of what they get.
    pub firmware: Firmware,
}

/// The conversations of one partition of a binding.
#[derive(Clone)]
pub struct Conversation {
    topics: Topics,
    ground: Ground,
    devices: Devices,
    clock: Clock,
    receives: Receives,
}

/// A status, and the device that it is about.
#[derive(Clone, Debug)]
pub struct Status<'m> {
    message: &'m Message,
    /// The device.
    pub device: Arc<Device>,
    /// Where it is told what to do.
    command: ByteString,
    /// Where its progress is told.
    progress: Option<ByteString>,
}

impl Conversation {
    /// The conversations of a binding of these topics.
    ///
    /// # Errors
    /// One of the topics is no template.
    pub fn new(
        topics: &[DfuTopicsConfig],
        ground: Ground,
        devices: Devices,
        policies: Policies,
        clock: Clock,
    ) -> Result<Self, TemplateError> {
        let receives = Receives { policies, generation: 0, known: HashMap::new() };
        Ok(Self { topics: Topics::new(topics)?, ground, devices, clock, receives })
    }

    /// Where the bytes come from.
    #[must_use]
    pub const fn firmware(&self) -> &Firmware {
        &self.ground.firmware
    }

    /// Whose status a message is; none if it is about a device that its sender does not answer for, which is noted at
    /// the sender.
    #[must_use]
    pub fn status<'m>(&self, message: &'m Message) -> Option<Status<'m>> {
        let route = self.topics.route(&message.topic)?;
        let sender = &*message.sender;
        let device = self.devices.get(route.device).filter(|device| {
            let own = device.id == sender && route.gateway.is_none();
            let child = device.parent.as_deref() == Some(sender) && route.gateway.is_none_or(|named| named == sender);
            device.enabled && (own || child)
        });
        let Some(device) = device else {
            self.ground.fleet.stranger();
            let why = format!("{} is neither the sender nor an enabled child of it in the registry", route.device);
            self.note(message, &message.topic, Action::Publish, why);
            return None;
        };
        let (command, progress) = (route.command.into(), route.progress.map(ByteString::from));
        Some(Status { message, device, command, progress })
    }

    /// What is to become of the device now.
    #[must_use]
    pub fn orders(&self, status: &Status<'_>) -> Orders {
        self.ground.fleet.orders(&status.device, self.clock.now_ms())
    }

    /// After how many seconds the device is to ask again, if there is nothing else to do.
    #[must_use]
    pub fn poll(&self, status: &Status<'_>) -> u32 {
        self.ground.fleet.poll(&status.device.id)
    }

    /// Takes in what the device says about itself, and says what is to become of it from then on.
    #[must_use]
    pub fn heard(&self, status: &Status<'_>, heard: &Heard, publish: &Publish) -> Orders {
        self.ground.fleet.heard(&status.device, heard, &status.line(publish), self.clock.now_ms())
    }

    /// Has the device told, at once or when what has to be on the disk before it is.
    pub fn told(&self, status: &Status<'_>, orders: &Orders, step: &Step, reply: Message, publish: &Publish) {
        self.ground.fleet.told(&status.device, orders, step, reply, &status.line(publish), self.clock.now_ms());
    }

    /// Notes that the plugin cannot answer a status as it was meant.
    pub fn refused(&self, status: &Status<'_>, refusal: &Refusal) {
        self.trouble(status, &format!("{}: {}", refusal.reason.kind(), refusal.reason.text()));
    }

    /// Notes that the plugin was stopped while it was asked.
    pub fn stopped(&self, status: &Status<'_>, trap: &str) {
        self.trouble(status, &format!("the plugin was stopped: {trap}"));
    }

    fn trouble(&self, status: &Status<'_>, problem: &str) {
        tracing::debug!(device = status.device.id, problem, "a status was not answered as it was meant");
        self.ground.fleet.refused(&status.device.id, problem, self.clock.now_ms());
    }

    /// What is said about a command beside its payload: until when it is one, and what the device gave to know the answer
    /// by.
    #[must_use]
    pub fn properties(&self, status: &Status<'_>, content_type: Option<String>) -> Properties {
        let readable = |text: &String| text.len() <= MAX_CONTENT_TYPE && !text.chars().any(char::is_control);
        Properties {
            expiry_s: Some(self.ground.fleet.command_expiry_s()),
            content_type: content_type.filter(readable).map(ByteString::from),
            correlation: status.message.properties.correlation.clone(),
            ..Properties::default()
        }
    }

    /// Where the answer to a status may go, best first: where the device asks for it, if it may receive it there, and to
    /// its command topic.
    pub fn ways(&mut self, status: &Status<'_>) -> Vec<ByteString> {
        let mut ways = vec![status.command.clone()];
        let Some(topic) = &status.message.properties.response_topic else { return ways };
        match self.sender(status).map(|sender| self.receives.ask(sender, topic)) {
            Some(Answer::Allowed) => ways.insert(0, topic.clone()),
            Some(Answer::Denied(Some(why))) => self.note(status.message, topic, Action::Receive, why),
            Some(Answer::Denied(None)) | None => {}
        }
        ways
    }

    /// Notes at the sender that its device could not be told there.
    pub fn unsent(&self, status: &Status<'_>, topic: &str, why: String) {
        tracing::warn!(device = status.device.id, topic, why, "a device is not told what to do");
        self.note(status.message, topic, Action::Publish, why);
    }

    /// The device that reports: the one that is told, or its parent.
    fn sender(&self, status: &Status<'_>) -> Option<Arc<Device>> {
        let sender = &*status.message.sender;
        if status.device.id == sender { Some(Arc::clone(&status.device)) } else { self.devices.get(sender) }
    }

    fn note(&self, message: &Message, topic: &str, action: Action, reason: String) {
        let (at_ms, action) = (self.clock.now_ms(), action.name().to_owned());
        let refusal = devices::Refusal { at_ms, topic: topic.to_owned(), action, reason };
        self.devices.refused(&message.sender, refusal);
    }
}

impl Status<'_> {
    fn line(&self, publish: &Publish) -> Line {
        Line { publish: publish.clone(), progress: self.progress.clone() }
    }
}

/// Which response topics devices may receive, asked of the policies once each while they stay the same.
#[derive(Clone, Debug)]
struct Receives {
    policies: Policies,
    generation: u64,
    known: HashMap<(String, ByteString), bool>,
}

enum Answer {
    Allowed,
    /// With the reason, when it was asked just now.
    Denied(Option<String>),
}

impl Receives {
    fn ask(&mut self, device: Arc<Device>, topic: &ByteString) -> Answer {
        let generation = self.policies.generation();
        if generation != self.generation || self.known.len() >= REMEMBERED {
            self.generation = generation;
            self.known.clear();
        }
        // The topic is a slice of what was read: a kept slice would pin all of it.
        let key = (device.id.clone(), ByteString::from(topic.to_string()));
        match self.known.get(&key) {
            Some(true) => return Answer::Allowed,
            Some(false) => return Answer::Denied(None),
            None => {}
        }
        let principal = Principal::Device(device);
        let request = Request { principal: &principal, action: Action::Receive, resource: Resource::Topic(topic) };
        let decision = self.policies.decide(&request);
        self.known.insert(key, decision.allowed);
        if decision.allowed { Answer::Allowed } else { Answer::Denied(Some(decision.reason.to_string())) }
    }
}
