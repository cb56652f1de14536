//! The import `records`: single documents of collections that have a key.

use crate::bindings::telemetry::causeway::plugin::records::{Host, ReadError as Raw};
use crate::imports::Reads;
use crate::instance::Context;

/// Why a read has no answer; the guest is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReadError {
    /// The plugin may not read this: a collection that it was not granted or that has no key, an image that is not its
    /// device's.
    Denied(String),
    /// It cannot be had now.
    Unavailable(String),
}

/// Answers with documents as earlier calls of the binding left them.
///
/// ```
/// # use causeway_host::{ReadError, Records};
/// /// A gateway without collections.
/// struct Nothing;
///
/// impl Records for Nothing {
///     fn get(&mut self, _message: u32, collection: &str, _key: &[&str]) -> Result<Option<String>, ReadError> {
///         Err(ReadError::Denied(format!("there is no collection `{collection}`")))
///     }
/// }
/// ```
pub trait Records: Send {
    /// The document of a key, a JSON object; `message` is an index into the batch of the call and always valid.
    ///
    /// # Errors
    /// [`ReadError`].
    fn get(&mut self, message: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError>;
}

impl Host for Context<Reads> {
    fn get(
        &mut self,
        message: u32,
        collection: String,
        key: Vec<String>,
    ) -> wasmtime::Result<Result<Option<String>, Raw>> {
        self.host_call()?;
        self.check_message(message)?;
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let answer = self.reads.records.get(message, &collection, &key);
        Ok(answer.map_err(|error| match error {
            ReadError::Denied(reason) => Raw::Denied(reason),
            ReadError::Unavailable(reason) => Raw::Unavailable(reason),
        }))
    }
}
