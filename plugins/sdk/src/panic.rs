//! Sends a panic's message to the gateway's log: the guest has no standard error, and a trap carries no text.

use std::sync::Once;

static HOOK: Once = Once::new();

/// Installs the hook once for the life of the instance.
pub fn install_hook() {
    HOOK.call_once(|| std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string()))));
}
