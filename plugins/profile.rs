//! How plugins are compiled: by the build script for those that are embedded, by `causeway plugin build` for all others.

/// No WASI: what a plugin can reach is what it imports from `wit/`, and nothing else.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Optimised for speed rather than size: +25 KB, and 2.6 times faster where a guest computes.
pub(crate) const PROFILE: &[&str] = &[
    "profile.release.opt-level=3",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=\"symbols\"",
    "profile.release.debug=false",
];
