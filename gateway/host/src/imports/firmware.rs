//! The import `firmware`: the image that the device of the current call is to get, or a patch towards it, in blocks.

use crate::bindings::dfu::causeway::plugin::firmware::{Host, Patch as RawPatch, ReadError as Raw};
use crate::imports::records::ReadError;
use crate::instance::Context;

/// The most bytes that come at once; the contract says so.
pub const MAX_BLOCK_BYTES: u32 = 64 << 10;

/// A patch that makes the assigned release of the one that the device runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patch {
    /// How it is written, one of the formats that were asked for.
    pub format: String,
    /// What [`Firmware::block`] knows it by.
    pub image: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Answers with parts of the image that the device of the call is to get.
///
/// ```
/// # use causeway_host::{Firmware, Patch, ReadError};
/// /// One image for every device.
/// struct Only(Vec<u8>);
///
/// impl Firmware for Only {
///     fn block(&mut self, _image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError> {
///         let behind = self.0.iter().skip(offset as usize);
///         Ok(behind.take(length as usize).copied().collect())
///     }
///
///     fn patch_from(&mut self, _running: &str, _formats: &[&str]) -> Result<Option<Patch>, ReadError> {
///         Ok(None)
///     }
/// }
/// ```
pub trait Firmware: Send {
    /// The bytes from `offset` on: `length` of them, at most [`MAX_BLOCK_BYTES`], fewer at the end, none behind it.
    ///
    /// # Errors
    /// [`ReadError`].
    fn block(&mut self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError>;

    /// A patch from a version that the device runs, in one of the formats; none if there is none that is worth it.
    ///
    /// # Errors
    /// [`ReadError`].
    fn patch_from(&mut self, running: &str, formats: &[&str]) -> Result<Option<Patch>, ReadError>;
}

impl Host for Context<Box<dyn Firmware>> {
    fn block(&mut self, image: String, offset: u64, length: u32) -> wasmtime::Result<Result<Vec<u8>, Raw>> {
        self.host_call()?;
        self.check_message(0)?;
        let length = length.min(MAX_BLOCK_BYTES);
        let answer = self.reads.block(&image, offset, length);
        if let Ok(block) = &answer {
            self.read(block.len())?;
        }
        Ok(answer.map_err(raw))
    }

    fn patch_from(&mut self, running: String, formats: Vec<String>) -> wasmtime::Result<Result<Option<RawPatch>, Raw>> {
        self.host_call()?;
        self.check_message(0)?;
        let formats: Vec<&str> = formats.iter().map(String::as_str).collect();
        let answer = self.reads.patch_from(&running, &formats);
        let patch = |Patch { format, image, size }| RawPatch { format, image, size };
        Ok(answer.map(|found| found.map(patch)).map_err(raw))
    }
}

fn raw(error: ReadError) -> Raw {
    match error {
        ReadError::Denied(reason) => Raw::Denied(reason),
        ReadError::Unavailable(reason) => Raw::Unavailable(reason),
    }
}
