//! What a DFU plugin can read during a call: the image that the device of the call is to get, and patches towards it.
//! Everything else is denied, whatever the plugin names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_core::dfu::Release;
use causeway_host::{Patch, ReadError};

use crate::firmware::{Firmware, Unready};

/// What answers the reads of a plugin's instance; clones share the call.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Arc<Mutex<Call>>);

/// What can be read just now: nothing, while there is no release to be had.
#[derive(Default)]
struct Call {
    release: Option<(Firmware, Arc<Release>)>,
    /// The patches that the plugin looked up.
    patches: Vec<Patch>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Call").finish_non_exhaustive()
    }
}

impl Blocks {
    /// A call begins about a device that is to get this.
    pub(super) fn begin(&self, release: Option<(Firmware, Arc<Release>)>) {
        *self.lock() = Call { release, patches: Vec::new() };
    }

    /// The call has ended; the patches that the plugin looked up, by format and size.
    pub(super) fn end(&self) -> Vec<(String, u64)> {
        let call = std::mem::take(&mut *self.lock());
        call.patches.into_iter().map(|patch| (patch.format, patch.size)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl causeway_host::Firmware for Blocks {
    fn block(&mut self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        let call = self.lock();
        let known = call
            .release
            .as_ref()
            .filter(|(_, release)| release.image == image || call.patches.iter().any(|patch| patch.image == image));
        let denied = || ReadError::Denied("it is neither the image of the device's assignment nor a patch".to_owned());
        let (firmware, _) = known.ok_or_else(denied)?;
        let found = firmware.image(image).map_err(unready)?;
        let block = found.block(offset, length);
        let complain = |error: &std::io::Error| tracing::error!(image, %error, "an image cannot be read");
        let block = block.inspect_err(complain).map_err(|error| ReadError::Unavailable(error.to_string()))?;
        Ok(block.into())
    }

    fn patch_from(&mut self, running: &str, formats: &[&str]) -> Result<Option<Patch>, ReadError> {
        let mut call = self.lock();
        let denied = || ReadError::Denied("the device is to get no release".to_owned());
        let (firmware, release) = call.release.as_ref().ok_or_else(denied)?;
        let formats: Vec<_> = formats.iter().map(|format| (*format).to_owned()).collect();
        let found = firmware.patch(&release.name, running, release, &formats).map_err(unready)?;
        let found = found.map(|patch| Patch { format: patch.format, image: patch.image, size: patch.size });
        call.patches.extend(found.clone());
        Ok(found)
    }
}

fn unready(why: Unready) -> ReadError {
    ReadError::Unavailable(why.to_string())
}
