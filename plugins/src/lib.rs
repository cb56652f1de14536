//! The first-party plugins as WebAssembly components, embedded in the binary: they need no registry and no file.
//!
//! `build.rs` makes them from the folders beside it.

#[path = "../profile.rs"]
mod profile;

/// What plugins are compiled for.
pub const TARGET: &str = profile::TARGET;

/// The settings that plugins are compiled with, each for a `--config` of cargo.
pub const PROFILE: &[&str] = profile::PROFILE;

/// The telemetry router, a component of the world `causeway:plugin/telemetry`.
pub const TELEMETRY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/telemetry.wasm"));

/// The plugin that speaks with devices about their firmware, a component of the world `causeway:plugin/dfu`.
pub const DFU: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dfu.wasm"));

/// The plugin that a reference `builtin:<name>` means.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    match name {
        "dfu" => Some(DFU),
        "telemetry" => Some(TELEMETRY),
        _ => None,
    }
}

/// The names that [`builtin`] knows, for an error message.
pub const NAMES: &[&str] = &["dfu", "telemetry"];
