//! DFU plugins: what a device says about its firmware in, what it is told out.

use crate::Failure;

pub use crate::bindings::config::exports::causeway::plugin::config::Setup;
pub use crate::bindings::dfu::causeway::plugin::firmware::{Patch, ReadError};
pub use crate::bindings::dfu::exports::causeway::plugin::dfu_handler::{
    Answer, Assignment, Block, Device, Orders, Progress, Refusal, Request, Status, Step,
};
pub use crate::bindings::telemetry::causeway::plugin::types::Failure as Reason;

/// A DFU plugin.
///
/// The gateway makes and drops instances as it likes, so what `self` remembers beyond its setup must never change
/// what it returns.
pub trait Handler: Sized + Send + Sync + 'static {
    /// Reads the configuration; the error tells the operator which key to mend.
    ///
    /// # Errors
    /// The configuration is not usable. The binding does not start.
    fn configure(setup: &Setup) -> Result<Self, String>;

    /// Answers one status of one device: reads its language, decides what it is told, and says so in the same language.
    ///
    /// The gateway may ask twice about the same status, with other orders.
    ///
    /// # Errors
    /// The status cannot be answered as it was meant; see [`Refusal`].
    fn handle<F: Firmware + ?Sized>(&self, request: &Request, firmware: &F) -> Result<Answer, Refusal>;
}

/// Reads the firmware that the device of the call is to get.
///
/// In a guest these are the imports; what a plugin does not call vanishes from its component.
pub trait Firmware {
    /// The bytes of `image` from `offset` on: `length` of them, fewer at its end, none behind it; at most 64 KiB.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]: the device is best told to wait.
    fn block(&self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError>;

    /// A patch from the version that the device runs, in one of `formats`; none when there is none that is worth it.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]: it is being made.
    fn patch_from(&self, running: &str, formats: &[String]) -> Result<Option<Patch>, ReadError>;
}

impl Device {
    /// The value of an attribute that the registry has of the device.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Refusal {
    /// A refusal that leaves the device without an answer.
    #[must_use]
    pub fn new(reason: Failure) -> Self {
        Self { reason: reason.into_inner(), command: None, content_type: None }
    }

    /// What the device is told all the same.
    #[must_use]
    pub fn command(self, command: Vec<u8>, content_type: Option<String>) -> Self {
        Self { command: Some(command), content_type, ..self }
    }
}

/// The imports of a guest.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Imports;

#[cfg(target_arch = "wasm32")]
impl Firmware for Imports {
    fn block(&self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        crate::bindings::dfu::causeway::plugin::firmware::block(image, offset, length)
    }

    fn patch_from(&self, running: &str, formats: &[String]) -> Result<Option<Patch>, ReadError> {
        crate::bindings::dfu::causeway::plugin::firmware::patch_from(running, formats)
    }
}

/// The body of the exported `configure`.
#[doc(hidden)]
pub fn configure<H: Handler>(setup: &Setup) -> Result<H, String> {
    crate::rt::install_hook();
    H::configure(setup)
}

/// Exports a [`Handler`] as a DFU plugin. Outside of a guest it expands to nothing, so that a plugin's logic can be tested
/// with plain `cargo test`.
#[macro_export]
macro_rules! export_dfu {
    ($handler:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the ABI between guest and host")]
        const _: () = {
            use $crate::bindings::config::exports::causeway::plugin::config;
            use $crate::bindings::dfu::exports::causeway::plugin::dfu_handler;
            use $crate::dfu::{Answer, Handler, Refusal, Request};

            static HANDLER: ::std::sync::OnceLock<$handler> = ::std::sync::OnceLock::new();
            struct Plugin;

            impl config::Guest for Plugin {
                fn configure(setup: config::Setup) -> Result<(), String> {
                    let handler = $crate::rt::configure_dfu::<$handler>(&setup)?;
                    HANDLER.set(handler).map_err(|_| "configured twice".to_owned())
                }

                fn state_version() -> u32 {
                    // Plugins of this kind keep no state.
                    0
                }
            }

            impl dfu_handler::Guest for Plugin {
                fn handle(request: Request) -> Result<Answer, Refusal> {
                    let handler = HANDLER.get().expect("the gateway configures an instance before it calls it");
                    handler.handle(&request, &$crate::rt::Imports)
                }
            }

    $crate::bindings::config::export!(Plugin with_types_in $crate::bindings::config);
    $crate::bindings::dfu::export!(Plugin with_types_in $crate::bindings::dfu);
        };
    };
}
