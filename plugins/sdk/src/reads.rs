//! What a guest may ask on behalf of one message.
//!
//! Direct calls of the imports, never through a trait object: what a plugin does not call must vanish from its imports.

use std::marker::PhantomData;

use crate::bindings::telemetry::causeway::plugin::records::{self, ReadError};
use crate::bindings::telemetry::causeway::plugin::state;

/// The message that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads<'a> {
    message: u32,
    lifetime: PhantomData<&'a ()>,
}

impl Reads<'_> {
    pub(crate) const fn of(message: u32) -> Self {
        Self { message, lifetime: PhantomData }
    }

    pub(crate) fn state(self, name: &str) -> Option<Vec<u8>> {
        state::get(self.message, name)
    }

    pub(crate) fn record(self, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        let key: Vec<String> = key.iter().map(|&value| value.to_owned()).collect();
        records::get(self.message, collection, &key)
    }
}
