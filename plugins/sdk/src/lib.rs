//! What the author of a Causeway plugin needs: the interfaces of `wit/` as Rust, one macro, a panic hook.
//!
//! A plugin is a type that implements the trait of its kind, and one line that exports it:
//!
//! ```ignore
//! use causeway_plugin::telemetry::{Message, Router, Setup};
//! use causeway_plugin::{Effects, Failure};
//!
//! struct Thermometer;
//!
//! impl Router for Thermometer {
//!     fn configure(_setup: &Setup) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn route(&self, message: Message<'_>) -> Result<Effects, Failure> {
//!         let reading = std::str::from_utf8(message.payload).map_err(|_| Failure::malformed("not UTF-8"))?;
//!         Ok(Effects::new().put("readings", format!("{{\"celsius\":{reading}}}")))
//!     }
//! }
//!
//! causeway_plugin::export_telemetry!(Thermometer);
//! ```
//!
//! What the plugin may ask about a message are methods of the message: `message.state("name")`,
//! `message.record("collection", &["key"])`. A plugin that never calls them does not import them, and needs no right to.
//!
//! Plugins that speak with devices about their firmware implement [`dfu::Handler`] instead.
//!
//! The rules of a plugin are ordinary code with ordinary tests: [`testing`] stands in for the gateway.
//!
//! It is built for `wasm32-unknown-unknown` as a `cdylib` and turned into a component; `wit/README.md` says how.

#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a guest reaches the bindings' exports"))]

pub mod bindings;
pub mod dfu;
mod effects;
mod panic;
#[cfg_attr(not(target_arch = "wasm32"), path = "reads/native.rs")]
mod reads;
pub mod telemetry;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::telemetry::causeway::plugin::types::{Effect, Publication, Row, StateChange};
pub use effects::{Effects, Failure};

/// What the `export_*!` macros expand to needs these names.
#[doc(hidden)]
pub mod rt {
    pub use crate::dfu::{Imports, configure as configure_dfu};
    pub use crate::panic::install_hook;
    pub use crate::telemetry::{configure, route_batch};
}

/// Writes a line to the gateway's log; in a plugin's own tests, to standard error.
pub mod log {
    pub use crate::bindings::telemetry::causeway::plugin::log::Level;

    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings::telemetry::causeway::plugin::log::write;

    /// Writes a line.
    #[cfg(not(target_arch = "wasm32"))]
    #[expect(clippy::print_stderr, reason = "where a test's output belongs")]
    pub fn write(level: Level, text: &str) {
        eprintln!("{level:?}: {text}");
    }

    /// Something is broken and somebody must act.
    pub fn error(text: &str) {
        write(Level::Error, text);
    }

    /// Something is wrong, and the plugin goes on.
    pub fn warn(text: &str) {
        write(Level::Warn, text);
    }

    /// A turning point.
    pub fn info(text: &str) {
        write(Level::Info, text);
    }

    /// For the plugin's author.
    pub fn debug(text: &str) {
        write(Level::Debug, text);
    }
}
