//! The import `state`: what a plugin remembers about the key of a message.

use crate::bindings::telemetry::causeway::plugin::state::Host;
use crate::imports::Reads;
use crate::instance::Context;

/// Answers with what earlier calls of the binding left for a key.
///
/// ```
/// # use causeway_host::State;
/// /// One value for every key.
/// struct Always(Vec<u8>);
///
/// impl State for Always {
///     fn get(&mut self, _message: u32, _name: &str) -> Option<Vec<u8>> {
///         Some(self.0.clone())
///     }
/// }
/// ```
pub trait State: Send {
    /// The value of `name` for the key of a message; `message` is an index into the batch of the call and always valid.
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>>;
}

impl Host for Context<Reads> {
    fn get(&mut self, message: u32, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.host_call()?;
        self.check_message(message)?;
        Ok(self.reads.state.get(message, &name))
    }
}
