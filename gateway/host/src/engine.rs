//! The engine: one compiler configuration for all plugins, and the thread whose ticks end calls that take too long.
//!
//! The settings are deterministic: the same component and inputs give the same outputs on every machine, which replay
//! stands on.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use crate::compile::Compiler;

/// What holds for all plugins of a process.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The clock of call deadlines; a call overstays its deadline by at most one tick of it.
    pub tick: Duration,
    /// The largest component that is compiled, in bytes.
    pub max_component_bytes: usize,
    /// The deepest stack of a guest, in bytes.
    pub max_stack_bytes: usize,
    /// Where components are compiled.
    pub compiler: Compiler,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(10),
            max_component_bytes: 64 << 20,
            max_stack_bytes: 512 << 10,
            compiler: Compiler::InProcess,
        }
    }
}

/// The engine cannot be made on this machine. The gateway does not start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The settings do not fit the processor or one another.
    #[error("the WebAssembly engine does not start")]
    Settings(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No thread for the ticks.
    #[error("no thread for the deadlines of plugin calls")]
    Thread(#[source] std::io::Error),
}

/// Compiles and runs plugins. Its thread ends when it is dropped.
#[derive(Debug)]
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    config: EngineConfig,
    ticker: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Engine {
    /// Makes the engine and starts its thread.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let inner = compiler(&config).map_err(|e| EngineError::Settings(e.into()))?;
        let (stop, stopped) = sync_channel(0);
        let (weak, tick) = (inner.weak(), config.tick.max(Duration::from_millis(1)));
        let ticks = move || {
            while stopped.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                let Some(engine) = weak.upgrade() else { break };
                engine.increment_epoch();
            }
        };
        let thread = thread::Builder::new().name("plugin-ticks".to_owned()).spawn(ticks);
        let thread = thread.map_err(EngineError::Thread)?;
        Ok(Self { inner, config, ticker: Some((stop, thread)) })
    }

    pub(crate) const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Ticks after which at least `time` has passed: the current tick is already under way, so one more.
    pub(crate) fn ticks(&self, time: Duration) -> u64 {
        let tick = self.config.tick.as_nanos().max(1_000_000);
        u64::try_from(time.as_nanos().div_ceil(tick)).unwrap_or(u64::MAX - 1).saturating_add(1)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            drop(thread.join());
        }
    }
}

/// The part of an engine that compiles: no thread, no deadlines.
pub(crate) fn compiler(config: &EngineConfig) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&settings(config))
}

fn settings(config: &EngineConfig) -> wasmtime::Config {
    let mut settings = wasmtime::Config::new();
    settings
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(config.max_stack_bytes)
        // Guests arrive stripped and the SDK's panic hook logs the message; frames without names help nobody.
        .wasm_backtrace_max_frames(None);
    settings
}
