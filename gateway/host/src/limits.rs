//! What one instance may use, and what a call that broke a limit looks like.

use std::time::Duration;

use thiserror::Error;
use wasmtime::ResourceLimiter;

/// The bounds of one instance.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of all of an instance's memories together, in bytes.
    pub memory_bytes: usize,
    /// Elements of all of an instance's tables together.
    pub table_elements: usize,
    /// Core instances that a component may consist of.
    pub instances: usize,
    /// Memories that a component may consist of.
    pub memories: usize,
    /// Tables that a component may consist of.
    pub tables: usize,
    /// Live handles of resources.
    pub handles: usize,
    /// Time of one call, on the wall clock.
    pub deadline: Duration,
    /// Bytes that one call may return or pass to an import.
    pub output_bytes: usize,
    /// Effects that one message may have.
    pub effects: usize,
    /// Bytes of log lines in one call; further lines are dropped and counted.
    pub log_bytes: usize,
    /// Bytes of one log line; the rest of a longer one is cut off.
    pub log_line_bytes: usize,
    /// Calls of imports in one call.
    pub host_calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            table_elements: 20_000,
            instances: 200,
            memories: 50,
            tables: 200,
            handles: 1_000,
            deadline: Duration::from_millis(500),
            output_bytes: 4 << 20,
            effects: 64,
            log_bytes: 16 << 10,
            log_line_bytes: 1 << 10,
            host_calls: 10_000,
        }
    }
}

/// Why a call ended in a trap; a closed set, so it can be a metric's label.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Limit {
    /// It took longer than its deadline.
    Deadline,
    /// It asked for more memory than [`Limits::memory_bytes`].
    Memory,
    /// It asked for more table elements than [`Limits::table_elements`].
    Table,
    /// It consists of more [`Limits::instances`], [`Limits::memories`] or [`Limits::tables`] than it may.
    Parts,
    /// It has more handles than [`Limits::handles`].
    Handles,
    /// It returned or passed more than [`Limits::output_bytes`].
    Output,
    /// It returned more effects for a message than [`Limits::effects`].
    Effects,
    /// It called its imports more often than [`Limits::host_calls`] allows.
    HostCalls,
    /// It ran out of stack.
    Stack,
    /// It broke no limit: a panic, an access out of bounds, a value that is not what the interface says.
    None,
}

impl Limit {
    /// The word for logs, metrics and dead letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Parts => "parts",
            Self::Handles => "handles",
            Self::Output => "output",
            Self::Effects => "effects",
            Self::HostCalls => "host-calls",
            Self::Stack => "stack",
            Self::None => "trap",
        }
    }
}

/// A call did not return. Its instance is gone; the plugin's fault, never the gateway's.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{}: {reason}", limit.as_str())]
pub struct Trap {
    /// The limit that ended it.
    pub limit: Limit,
    /// What the engine says about it.
    pub reason: String,
}

impl Trap {
    pub(crate) const fn new(limit: Limit, reason: String) -> Self {
        Self { limit, reason }
    }

    /// Every error of a call comes from the guest: an import of ours fails only when it is called wrongly.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        let reason = error.root_cause().to_string();
        let limit = match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => Limit::Deadline,
            Some(wasmtime::Trap::StackOverflow) => Limit::Stack,
            Some(_) => Limit::None,
            None => match error.downcast_ref::<Exceeded>() {
                Some(exceeded) => exceeded.0,
                None => said(&reason),
            },
        };
        Self { limit, reason }
    }
}

/// The limit that wasmtime names in the text of an error for which it has no public type.
fn said(reason: &str) -> Limit {
    const WORDS: [(&str, Limit); 3] = [
        ("fuel allocated for hostcalls", Limit::Output),
        ("resource limit exceeded", Limit::Parts),
        ("handle limit exceeded", Limit::Handles),
    ];
    WORDS.iter().find(|(words, _)| reason.contains(words)).map_or(Limit::None, |(_, limit)| *limit)
}

/// The error by which the limiter ends a call.
#[derive(Debug, Error)]
#[error("more than the plugin may have")]
pub(crate) struct Exceeded(pub(crate) Limit);

/// Counts what an instance has. Unlike wasmtime's own limiter it bounds the sum over all memories of the component.
#[derive(Debug)]
pub(crate) struct Usage {
    memory_bytes: usize,
    table_elements: usize,
    limits: Limits,
}

impl Usage {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_bytes: 0, table_elements: 0, limits: limits.clone() }
    }
}

fn grow(used: &mut usize, current: usize, desired: usize, most: usize, limit: Limit) -> wasmtime::Result<bool> {
    let after = used.saturating_sub(current).saturating_add(desired);
    if after > most {
        return Err(wasmtime::Error::new(Exceeded(limit)));
    }
    *used = after;
    Ok(true)
}

impl ResourceLimiter for Usage {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        grow(&mut self.memory_bytes, current, desired, self.limits.memory_bytes, Limit::Memory)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        grow(&mut self.table_elements, current, desired, self.limits.table_elements, Limit::Table)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }
}
