//! One connection's cache of policy decisions, so that the hot path asks Cedar once for each topic.
//!
//! A decision is kept until policies or device attributes change. Denials are kept too: a device that tries topics
//! costs a lookup, not an evaluation. What is permitted is decided by [`crate::policy`].

use std::collections::HashMap;

use bytestring::ByteString;

use crate::policy::{Action, Decision, Policies, Principal, Request, Resource};

/// Topics remembered for each action; a device that uses more pays for evaluations.
const REMEMBERED: usize = 64;

/// The decisions about one principal.
#[derive(Debug)]
pub struct Permissions {
    principal: Principal,
    generation: u64,
    publish: HashMap<ByteString, bool>,
    receive: HashMap<ByteString, bool>,
}

/// The answer to a question about a topic.
#[derive(Debug)]
pub enum Answer {
    /// Permitted.
    Allowed,
    /// Denied, with the reason when it was evaluated just now; a remembered denial has been reported already.
    Denied(Option<Box<Decision>>),
}

impl Permissions {
    /// No decisions yet.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        Self { principal, generation: 0, publish: HashMap::new(), receive: HashMap::new() }
    }

    /// Whose decisions these are.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The device's attributes changed.
    pub fn replace(&mut self, principal: Principal) {
        *self = Self::new(principal);
    }

    /// May the principal publish to this topic?
    pub fn publish(&mut self, policies: &Policies, topic: &ByteString) -> Answer {
        self.refresh(policies);
        decide(&mut self.publish, policies, &self.principal, Action::Publish, topic)
    }

    /// May a message of this topic be delivered to the principal?
    pub fn receive(&mut self, policies: &Policies, topic: &ByteString) -> Answer {
        self.refresh(policies);
        decide(&mut self.receive, policies, &self.principal, Action::Receive, topic)
    }

    /// May the principal subscribe to this filter? Not remembered: a subscription is rare.
    #[must_use]
    pub fn subscribe(&self, policies: &Policies, filter: &str) -> Decision {
        policies.decide(&Request {
            principal: &self.principal,
            action: Action::Subscribe,
            resource: Resource::Filter(filter),
        })
    }

    fn refresh(&mut self, policies: &Policies) {
        let generation = policies.generation();
        if generation != self.generation {
            self.generation = generation;
            self.publish.clear();
            self.receive.clear();
        }
    }
}

fn decide(
    known: &mut HashMap<ByteString, bool>,
    policies: &Policies,
    principal: &Principal,
    action: Action,
    topic: &ByteString,
) -> Answer {
    match known.get(topic) {
        Some(true) => return Answer::Allowed,
        Some(false) => return Answer::Denied(None),
        None => {}
    }
    let decision = policies.decide(&Request { principal, action, resource: Resource::Topic(topic) });
    if known.len() >= REMEMBERED {
        known.clear();
    }
    // The topic is a slice of the read buffer: a kept slice would pin all of it.
    known.insert(ByteString::from(topic.to_string()), decision.allowed);
    if decision.allowed { Answer::Allowed } else { Answer::Denied(Some(Box::new(decision))) }
}
