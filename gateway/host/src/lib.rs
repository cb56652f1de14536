//! Runs plugins: loads components, checks what they import, calls them within limits, and throws an instance away after
//! every trap.
//!
//! The only package that names wasmtime, and nothing of wasmtime or of the generated bindings leaves it. It decides
//! nothing: what a message is, what an effect may do and when to call again is the gateway's business.
//!
//! The three moments of a plugin are three types. [`Engine`] lives as long as the process, a [`TelemetryPlugin`] or
//! [`DfuPlugin`](dfu::DfuPlugin) as long as one digest is loaded, a [`TelemetryInstance`] or
//! [`DfuInstance`](dfu::DfuInstance) until its first trap.

mod bindings;
mod cache;
mod compile;
mod compile_child;
mod component;
pub mod dfu;
mod effect;
mod engine;
mod imports;
mod instance;
mod limits;
mod outline;
mod telemetry;

pub use cache::{CacheError, CompileCache};
pub use causeway_core::digest::Digest;
pub use compile::{ChildCompiler, CompileError, Compiler, LoadLimit};
pub use compile_child::CompileOrder;
pub use component::{Binary, Component, LoadError};
pub use effect::{Effect, Failure, Outcome, Publication, Qos, Row, StateChange};
pub use engine::{Engine, EngineConfig, EngineError};
pub use imports::firmware::{Firmware, MAX_BLOCK_BYTES, Patch};
pub use imports::log::{Level, Log, LostLines};
pub use imports::records::{ReadError, Records};
pub use imports::state::State;
pub use imports::{DfuImports, Imports};
pub use instance::{Setup, StartError};
pub use limits::{Limit, Limits, Trap};
pub use outline::{Outline, OutlineError};
pub use telemetry::{Batch, Input, Sender, TelemetryInstance, TelemetryPlugin};
