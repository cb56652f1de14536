//! Telemetry plugins: messages in, rows and publications out.

use crate::bindings::telemetry::causeway::plugin::types::{self as raw, Outcome};
use crate::reads::Reads;
use crate::{Effects, Failure};

pub use crate::bindings::config::exports::causeway::plugin::config::Setup;
pub use crate::bindings::telemetry::causeway::plugin::records::ReadError;
pub use crate::bindings::telemetry::causeway::plugin::types::{Qos, Sender};

/// A telemetry plugin.
///
/// The gateway makes and drops instances as it likes, so what `self` remembers beyond its setup must never change
/// what it returns.
pub trait Router: Sized + Send + Sync + 'static {
    /// How the values that it leaves in its state are to be read. A version of the plugin that writes them in a way that
    /// older versions cannot read has a higher number, and still reads those that an older version left.
    const STATE_VERSION: u32 = 0;

    /// Reads the configuration; the error tells the operator which key to mend.
    ///
    /// # Errors
    /// The configuration is not usable. The binding does not start.
    fn configure(setup: &Setup) -> Result<Self, String>;

    /// Says what one message shall achieve.
    ///
    /// # Errors
    /// The message has no effects; see [`Failure`] for what becomes of it.
    fn route(&self, message: Message<'_>) -> Result<Effects, Failure>;
}

/// One message together with its sender.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The topic under which it was published.
    pub topic: &'a str,
    /// The variables of the topic's template, in order.
    pub variables: &'a [(String, String)],
    /// Who sent it.
    pub sender: &'a Sender,
    /// The payload, as published.
    pub payload: &'a [u8],
    /// The guarantee under which it was published.
    pub qos: Qos,
    /// The publisher asked to retain it.
    pub retain: bool,
    /// When the gateway received it, in Unix milliseconds.
    pub received_ms: u64,
    /// MQTT 5 content type.
    pub content_type: Option<&'a str>,
    /// MQTT 5 user properties.
    pub user_properties: &'a [(String, String)],
    /// What answers for this message; a test makes it with [`testing::Input`](crate::testing::Input).
    pub(crate) reads: Reads<'a>,
}

impl<'a> Message<'a> {
    /// The value of a variable of the topic's template.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&'a str> {
        lookup(self.variables, name)
    }

    /// The value of an attribute of the sender.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        lookup(&self.sender.attributes, name)
    }

    /// What the plugin remembers under `name` for the key of this message, as the calls before this one left it.
    ///
    /// The key is the unit of order: the sender, or the template variable that the binding names.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.reads.state(name)
    }

    /// The document of a key in a collection, a JSON object; `key` has one value for each column of the collection's
    /// key, in the order of its declaration.
    ///
    /// # Errors
    /// [`ReadError::Denied`] is the operator's to mend, [`ReadError::Unavailable`] is best returned: `?` makes each the
    /// failure that fits it.
    pub fn record(&self, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        self.reads.record(collection, key)
    }

    fn of(message: &'a raw::Message, sender: &'a Sender, reads: Reads<'a>) -> Self {
        Self {
            topic: &message.topic,
            variables: &message.variables,
            sender,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            received_ms: message.received,
            content_type: message.content_type.as_deref(),
            user_properties: &message.user_properties,
            reads,
        }
    }
}

fn lookup<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The body of the exported `configure`.
#[doc(hidden)]
pub fn configure<R: Router>(setup: &Setup) -> Result<R, String> {
    crate::rt::install_hook();
    R::configure(setup)
}

/// The body of the exported `route-batch`.
#[doc(hidden)]
pub fn route_batch<R: Router>(router: &R, batch: &raw::Batch) -> Vec<Outcome> {
    let senders = &batch.senders;
    let one = |(message, index): (&raw::Message, u32)| {
        let sender = usize::try_from(message.sender).ok().and_then(|at| senders.get(at));
        let sender = sender.ok_or_else(|| Failure::malformed("the message names no sender of its batch"))?;
        router.route(Message::of(message, sender, Reads::of(index)))
    };
    batch.messages.iter().zip(0..).map(|m| one(m).map(Effects::into_inner).map_err(Failure::into_inner)).collect()
}

/// Exports a [`Router`] as a telemetry plugin. Outside of a guest it expands to nothing, so that a plugin's logic can be
/// tested with plain `cargo test`.
#[macro_export]
macro_rules! export_telemetry {
    ($router:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the ABI between guest and host")]
        const _: () = {
            use $crate::bindings::config::exports::causeway::plugin::config;
            use $crate::bindings::telemetry::causeway::plugin::types::{Batch, Outcome};
            use $crate::bindings::telemetry::exports::causeway::plugin::telemetry_router;

            static ROUTER: ::std::sync::OnceLock<$router> = ::std::sync::OnceLock::new();
            struct Plugin;

            impl config::Guest for Plugin {
                fn configure(setup: config::Setup) -> Result<(), String> {
                    let router = $crate::rt::configure::<$router>(&setup)?;
                    ROUTER.set(router).map_err(|_| "configured twice".to_owned())
                }

                fn state_version() -> u32 {
                    <$router as $crate::telemetry::Router>::STATE_VERSION
                }
            }

            impl telemetry_router::Guest for Plugin {
                fn route_batch(batch: Batch) -> Vec<Outcome> {
                    let router = ROUTER.get().expect("the gateway configures an instance before it calls it");
                    $crate::rt::route_batch(router, &batch)
                }
            }

    $crate::bindings::config::export!(Plugin with_types_in $crate::bindings::config);
    $crate::bindings::telemetry::export!(Plugin with_types_in $crate::bindings::telemetry);
        };
    };
}
