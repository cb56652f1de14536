//! What instances of all kinds share: the store with its limits, and how a call begins and ends.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::Store;

use crate::engine::Engine;
use crate::imports::Imports;
use crate::imports::log::Budget;
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

/// What an instance's imports reach, and what is left of the call's budgets.
pub(crate) struct Context {
    usage: Usage,
    pub(crate) imports: Imports,
    pub(crate) budget: Budget,
    /// Messages of the call; none while the instance is set up.
    messages: usize,
    host_calls: usize,
}

impl Context {
    /// Counts a call of an import.
    pub(crate) fn host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.checked_sub(1).ok_or(Exceeded(Limit::HostCalls))?;
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

/// A store that holds one instance and knows the bounds of its calls.
pub(crate) struct Bounded {
    pub(crate) store: Store<Context>,
    deadline_ticks: u64,
    limits: Limits,
    /// Its thread ends calls at their deadline, so it lives as long as there is an instance to call.
    _engine: Arc<Engine>,
}

impl Bounded {
    pub(crate) fn new(engine: &Arc<Engine>, limits: &Limits, imports: Imports) -> Self {
        let (usage, budget) = (Usage::new(limits), Budget::new(limits));
        let context = Context { usage, imports, budget, messages: 0, host_calls: limits.host_calls };
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
        body: impl FnOnce(&mut Store<Context>) -> wasmtime::Result<T>,
    ) -> Result<T, Trap> {
        self.store.set_epoch_deadline(self.deadline_ticks);
        let context = self.store.data_mut();
        (context.budget, context.messages, context.host_calls) =
            (Budget::new(&self.limits), messages, self.limits.host_calls);
        let answer = body(&mut self.store);
        let context = self.store.data_mut();
        if let Some(lost) = context.budget.lost() {
            context.imports.log.lost(lost);
        }
        answer.map_err(|error| Trap::of(&error))
    }
}
