//! What instances of all kinds share: the store with its limits, and how a call begins and ends.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::Store;

use crate::bindings::telemetry::causeway::plugin::types;
use crate::engine::Engine;
use crate::imports::log::{Budget, Log};
use crate::limits::{Exceeded, Limit, Limits, Trap, Usage};

/// What an instance is told once, before its first call.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The gateway's id.
    pub gateway: String,
    /// The binding that the instance serves.
    pub binding: String,
    /// The binding's configuration, a JSON object.
    pub config: String,
}

/// No instance came to be.
#[derive(Debug, Error)]
pub enum StartError {
    /// The plugin refuses its configuration; the operator mends it.
    #[error("the plugin refuses its configuration: {0}")]
    Refused(String),
    /// It trapped while it was set up.
    #[error("the plugin traps while it is set up")]
    Trap(#[from] Trap),
}

/// What an instance's imports reach, and what is left of the call's budgets. `R` is what its kind can read.
pub(crate) struct Context<R> {
    usage: Usage,
    pub(crate) log: Box<dyn Log>,
    pub(crate) reads: R,
    pub(crate) budget: Budget,
    /// Messages of the call; none while the instance is set up.
    messages: usize,
    host_calls: usize,
    read_bytes: usize,
}

impl<R> Context<R> {
    /// Counts a call of an import.
    pub(crate) fn host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.checked_sub(1).ok_or(Exceeded(Limit::HostCalls))?;
        Ok(())
    }

    /// Counts the bytes of an answer that the guest can ask for again and again.
    pub(crate) fn read(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.read_bytes = self.read_bytes.checked_sub(bytes).ok_or(Exceeded(Limit::Output))?;
        Ok(())
    }

    /// Ends the call of a guest that asks on behalf of a message that is not in its batch.
    pub(crate) fn check_message(&self, message: u32) -> wasmtime::Result<()> {
        if usize::try_from(message).is_ok_and(|message| message < self.messages) {
            return Ok(());
        }
        Err(wasmtime::Error::msg(format!("message {message} of a batch of {}", self.messages)))
    }
}

/// The interface of types has no functions.
impl<R> types::Host for Context<R> {}

/// A store that holds one instance and knows the bounds of its calls.
pub(crate) struct Bounded<R: 'static> {
    pub(crate) store: Store<Context<R>>,
    deadline_ticks: u64,
    limits: Limits,
    /// Its thread ends calls at their deadline, so it lives as long as there is an instance to call.
    _engine: Arc<Engine>,
}

impl<R: 'static> Bounded<R> {
    pub(crate) fn new(engine: &Arc<Engine>, limits: &Limits, log: Box<dyn Log>, reads: R) -> Self {
        let (usage, budget) = (Usage::new(limits), Budget::new(limits));
        let (host_calls, read_bytes) = (limits.host_calls, limits.output_bytes);
        let context = Context { usage, log, reads, budget, messages: 0, host_calls, read_bytes };
        let mut store = Store::new(&engine.inner, context);
        store.limiter(|context| &mut context.usage);
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_max_component_handles(limits.handles);
        let deadline_ticks = engine.ticks(limits.deadline);
        store.set_epoch_deadline(deadline_ticks);
        Self { store, deadline_ticks, limits: limits.clone(), _engine: Arc::clone(engine) }
    }

    /// Makes one call about so many messages with a fresh deadline and fresh budgets. After an error the caller drops
    /// `self`.
    pub(crate) fn call<T>(
        &mut self,
        messages: usize,
        body: impl FnOnce(&mut Store<Context<R>>) -> wasmtime::Result<T>,
    ) -> Result<T, Trap> {
        self.store.set_epoch_deadline(self.deadline_ticks);
        let context = self.store.data_mut();
        (context.budget, context.messages) = (Budget::new(&self.limits), messages);
        (context.host_calls, context.read_bytes) = (self.limits.host_calls, self.limits.output_bytes);
        let answer = body(&mut self.store);
        let context = self.store.data_mut();
        if let Some(lost) = context.budget.lost() {
            context.log.lost(lost);
        }
        answer.map_err(|error| Trap::of(&error))
    }
}
