//! Which effects of a plugin are allowed: all of one input or none.
//!
//! A row needs a policy that lets the plugin write the collection, and a document that fits it. A publication needs a
//! policy, too, and must not have come round too often. What a key remembers is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use causeway_core::message::{Message, Properties, QoS};
use causeway_core::topic::check_topic;
use causeway_host::{Effect, Publication, Qos};

use super::Parts;
use super::binding::Binding;
use super::calls::Reason;
use super::commit::{Changes, Pending};
use super::intake::Input;
use super::permissions::{Denial, Permissions};
use super::reads::{Reads, Sizes};
use crate::clock::Clock;
use crate::config::BindingConfig;
use crate::plugins::Origin;
use crate::policy::{Action, Resource};
use crate::store::collections::{Collection, Row, Source};

/// The collections that are declared, by name. Who may use them is for policies to say.
pub(super) type Collections = Arc<HashMap<String, Collection>>;

/// The longest name of a value that a key remembers, in bytes; the contract says so.
const MAX_NAME: usize = 64;

/// The effects of one input, ready to be committed.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) rows: Vec<(String, Row)>,
    pub(super) state: Changes,
    /// With the number of each among the input's effects.
    pub(super) publications: Vec<(u32, Message)>,
}

/// Checks effects with the plugin as the one who asks.
pub(super) struct Gate {
    binding: String,
    permissions: Permissions,
    collections: Collections,
    clock: Clock,
    /// Plugins that one message may pass through: a publication that feeds its own binding ends there.
    max_hops: u32,
    /// Bytes that a key may remember.
    max_state: usize,
    /// Bytes that all keys of all bindings may remember.
    max_state_of_all: u64,
    reads: Reads,
}

impl Gate {
    pub(super) fn new(binding: &Binding, collections: Collections, reads: Reads, parts: &Parts) -> Self {
        let BindingConfig { name, max_hops, limits, .. } = &binding.config;
        Self {
            binding: name.clone(),
            permissions: Permissions::new(name, binding.kind, &Origin::default(), parts.policies.clone()),
            collections,
            clock: parts.clock.clone(),
            max_hops: *max_hops,
            max_state: limits.state.in_memory(),
            max_state_of_all: parts.max_state,
            reads,
        }
    }

    /// A version that came from there is asked from now on.
    pub(super) fn take_over(&mut self, binding: &Binding, origin: &Origin) {
        self.permissions.take_over(&self.binding, binding.kind, origin);
    }

    /// The effects of one input, or why none of them is allowed.
    pub(super) fn allow(&mut self, input: &Input, effects: Vec<Effect>, pending: &Pending) -> Result<Allowed, Reason> {
        let mut allowed = Allowed::default();
        for (item, effect) in (0..).zip(effects) {
            match effect {
                Effect::Put(row) => {
                    let row = self.row(input, item, row)?;
                    allowed.rows.push(row);
                }
                Effect::Publish(publication) => {
                    let message = self.publication(input, publication)?;
                    allowed.publications.push((item, message));
                }
                Effect::SetState(change) => {
                    self.permissions.ask(Action::Import, Resource::Import("state")).map_err(denied)?;
                    let name = checked_name(change.name)?;
                    allowed.state.insert(name, change.value);
                }
            }
        }
        if !allowed.state.is_empty() {
            self.check_state(input, &allowed.state, pending)?;
        }
        Ok(allowed)
    }

    /// What is committed, what waits to be, and what is new must have room together.
    fn check_state(&self, input: &Input, new: &Changes, pending: &Pending) -> Result<(), Reason> {
        let (mut sizes, all) = self.reads.sizes(&input.key);
        let sum = |sizes: &Sizes| sizes.iter().map(|(name, bytes)| name.len() + bytes).sum::<usize>();
        let before = sum(&sizes);
        for (name, value) in pending.state(&input.key).into_iter().flatten().chain(new) {
            match value {
                Some(value) => sizes.insert(name.clone(), value.len()),
                None => sizes.remove(name),
            };
        }
        let bytes = sum(&sizes);
        if bytes > self.max_state {
            let most = self.max_state;
            let text = format!("its key would remember {bytes} bytes, more than the {most} of `limits.state`");
            return Err(Reason::new("effect", text));
        }
        // What other partitions are about to commit is not counted: the bound is passed by that much at most.
        if bytes > before && all + (bytes - before) as u64 > self.max_state_of_all {
            let most = self.max_state_of_all;
            let text = format!("plugins remember {all} bytes of the {most} of `storage.shares.state`");
            return Err(Reason::new("effect", text));
        }
        Ok(())
    }

    fn row(&mut self, input: &Input, item: u32, row: causeway_host::Row) -> Result<(String, Row), Reason> {
        let Some(collection) = self.collections.get(&row.collection) else {
            return Err(Reason::new("effect", format!("there is no collection `{}`", row.collection)));
        };
        self.permissions.ask(Action::Write, Resource::Collection(&row.collection)).map_err(denied)?;
        let source = Source {
            binding: &self.binding,
            position: input.position,
            item,
            sender: &input.message.sender,
            received_ms: input.message.received_ms,
        };
        let checked = Row::new(collection, &source, row.document);
        checked.map(|checked| (row.collection, checked)).map_err(|error| Reason::new("effect", error.to_string()))
    }

    /// A command to a device, if the plugin may publish there.
    pub(super) fn command(&mut self, topic: &str, payload: Bytes, properties: Properties) -> Result<Message, Reason> {
        check_topic(topic).map_err(|error| Reason::new("effect", format!("a command to {topic:?}: {error}")))?;
        self.permissions.ask(Action::Publish, Resource::Topic(topic)).map_err(denied)?;
        Ok(Message {
            topic: topic.into(),
            payload,
            qos: QoS::AtLeastOnce,
            client: format!("{ORIGIN}1/{}", self.binding).into(),
            received_ms: self.clock.now_ms(),
            properties,
            ..Message::default()
        })
    }

    fn publication(&mut self, input: &Input, publication: Publication) -> Result<Message, Reason> {
        let Publication { topic, payload, qos, retain } = publication;
        check_topic(&topic).map_err(|error| Reason::new("effect", format!("a publication to {topic:?}: {error}")))?;
        let hops = hops(&input.message) + 1;
        if hops > self.max_hops {
            let text = format!("a publication to {topic}: its message has passed through {} plugins", self.max_hops);
            return Err(Reason::new("loop", text));
        }
        self.permissions.ask(Action::Publish, Resource::Topic(&topic)).map_err(denied)?;
        Ok(Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: match qos {
                Qos::AtMostOnce => QoS::AtMostOnce,
                Qos::AtLeastOnce => QoS::AtLeastOnce,
                Qos::ExactlyOnce => QoS::ExactlyOnce,
            },
            retain,
            client: format!("{ORIGIN}{hops}/{}", self.binding).into(),
            received_ms: self.clock.now_ms(),
            ..Message::default()
        })
    }
}

fn checked_name(name: String) -> Result<String, Reason> {
    if (1..=MAX_NAME).contains(&name.len()) {
        return Ok(name);
    }
    Err(Reason::new("effect", format!("the name of a value has 1 to {MAX_NAME} bytes, not {}", name.len())))
}

fn denied(denial: Arc<Denial>) -> Reason {
    Reason::new("denied", denial.to_string())
}

/// The gateway's own messages have no session; in place of its id they say which plugin made them, and after how many.
const ORIGIN: &str = "plugin/";

/// Through how many plugins a message has come.
fn hops(message: &Message) -> u32 {
    if !message.sender.is_empty() {
        return 0;
    }
    let hops = message.client.strip_prefix(ORIGIN).and_then(|rest| rest.split('/').next());
    hops.and_then(|hops| hops.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sender: &str, client: &str, expected: u32) {
        let message = Message { sender: sender.into(), client: client.into(), ..Message::default() };
        assert_eq!(hops(&message), expected);
    }

    #[test]
    fn only_the_gateways_own_messages_have_hops() {
        check("", "plugin/3/telemetry", 3);
        check("", "", 0);
        check("d1", "plugin/3/telemetry", 0);
    }
}
