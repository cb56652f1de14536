//! What answers for one message outside of a guest: the double of a test, or nothing.

use crate::bindings::telemetry::causeway::plugin::records::ReadError;
use crate::testing::Gateway;

/// The gateway of a test, and the key of the message in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads<'a>(pub(crate) Option<(&'a Gateway, &'a str)>);

impl Reads<'_> {
    /// There is no batch to point into.
    pub(crate) const fn of(_: u32) -> Self {
        Self(None)
    }

    pub(crate) fn state(self, name: &str) -> Option<Vec<u8>> {
        self.0.and_then(|(gateway, key)| gateway.state_of(key, name).map(<[u8]>::to_vec))
    }

    pub(crate) fn record(self, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        self.0.map_or(Ok(None), |(gateway, _)| gateway.read(collection, key))
    }
}
