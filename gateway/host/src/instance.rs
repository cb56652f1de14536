//! What instances of all kinds share: the store with its limits, and how a call begins and ends.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::Store;

use crate::engine::Engine;
use crate::imports::log::{Budget, Log};
use crate::limits::{Limits, Trap, Usage};

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

/// What an instance's imports reach.
pub(crate) struct State {
    usage: Usage,
    pub(crate) log: Box<dyn Log>,
    pub(crate) budget: Budget,
}

/// A store that holds one instance and knows the bounds of its calls.
pub(crate) struct Bounded {
    pub(crate) store: Store<State>,
    deadline_ticks: u64,
    log_bytes: usize,
    /// Its thread ends calls at their deadline, so it lives as long as there is an instance to call.
    _engine: Arc<Engine>,
}

impl Bounded {
    pub(crate) fn new(engine: &Arc<Engine>, limits: &Limits, log: Box<dyn Log>) -> Self {
        let state = State { usage: Usage::new(limits), log, budget: Budget::new(limits.log_bytes) };
        let mut store = Store::new(&engine.inner, state);
        store.limiter(|state| &mut state.usage);
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_max_component_handles(limits.handles);
        let deadline_ticks = engine.ticks(limits.deadline);
        store.set_epoch_deadline(deadline_ticks);
        Self { store, deadline_ticks, log_bytes: limits.log_bytes, _engine: Arc::clone(engine) }
    }

    /// Makes one call with a fresh deadline and log budget. After an error the caller drops `self`.
    pub(crate) fn call<T>(&mut self, body: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>) -> Result<T, Trap> {
        self.store.set_epoch_deadline(self.deadline_ticks);
        self.store.data_mut().budget = Budget::new(self.log_bytes);
        let answer = body(&mut self.store);
        let state = self.store.data_mut();
        if state.budget.dropped > 0 {
            state.log.dropped(state.budget.dropped);
        }
        answer.map_err(|error| Trap::of(&error))
    }
}
