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
//! The rules of a plugin are ordinary code with ordinary tests: [`testing`] stands in for the gateway.
//!
//! It is built for `wasm32-unknown-unknown` as a `cdylib` and turned into a component; `wit/README.md` says how.

#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "only a guest reaches the bindings' exports"))]

mod effects;
mod panic;
#[cfg_attr(not(target_arch = "wasm32"), path = "reads/native.rs")]
mod reads;
pub mod telemetry;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::causeway::plugin::types::{Effect, Publication, Row, StateChange};
pub use effects::{Effects, Failure};

/// The raw bindings, for what the typed layer does not cover.
#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unused_qualifications,
    unreachable_pub,
    reason = "generated from wit/; the ABI between guest and host is unsafe code"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "telemetry",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_bindings",
        default_bindings_module: "causeway_plugin::bindings",
    });
}

/// What `export_telemetry!` expands to needs these names.
#[doc(hidden)]
pub mod rt {
    pub use crate::panic::install_hook;
    pub use crate::telemetry::{configure, route_batch};
}

/// Writes a line to the gateway's log; in a plugin's own tests, to standard error.
pub mod log {
    pub use crate::bindings::causeway::plugin::log::Level;

    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings::causeway::plugin::log::write;

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
