//! Decides what a device is told, from its orders and from what it said. It knows no language.

use std::slice;

use causeway_plugin::Failure;
use causeway_plugin::dfu::{Assignment, Block, Firmware, Orders, ReadError, Step};

use crate::settings::Settings;
use crate::status::Said;

/// What a device is told, with what it needs for it.
#[derive(Debug)]
pub(crate) enum Decision<'a> {
    Wait,
    Sync,
    Write { version: &'a str, offset: u32, data: Vec<u8>, patch: Option<String> },
    Swap { version: &'a str, checksum: &'a [u8] },
}

impl Decision<'_> {
    /// The same for the gateway.
    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Wait => Step::Wait,
            Self::Sync => Step::Sync,
            Self::Write { offset, data, patch, .. } => {
                let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                Step::Write(Block { offset: u64::from(*offset), length, patch: patch.clone() })
            }
            Self::Swap { .. } => Step::Swap,
        }
    }
}

/// Decides.
pub(crate) fn decide<'a, F: Firmware + ?Sized>(
    settings: &Settings,
    orders: &'a Orders,
    said: &Said,
    firmware: &F,
) -> Result<Decision<'a>, Failure> {
    let assignment = match orders {
        Orders::Stay => return Ok(Decision::Sync),
        Orders::Hold(_) => return Ok(Decision::Wait),
        Orders::Update(assignment) => assignment,
    };
    if said.status.version == assignment.version {
        return Ok(Decision::Sync);
    }
    let Some(transfer) = Transfer::of(assignment, said, firmware) else { return Ok(Decision::Wait) };
    let left = transfer.size - u64::from(transfer.offset);
    let version = &assignment.version;
    match (left, assignment.swap) {
        (0, true) => return Ok(Decision::Swap { version, checksum: &assignment.checksum }),
        (0, false) => return Ok(Decision::Wait),
        _ => {}
    }
    let mtu = match said.status.mtu {
        Some(0) => return Err(Failure::malformed("`mtu` is 0, and there is data to be written")),
        mtu => mtu.unwrap_or(settings.mtu).min(settings.max_mtu),
    };
    let length = u32::try_from(left).map_or(mtu, |left| left.min(mtu));
    match firmware.block(&transfer.image, u64::from(transfer.offset), length) {
        Ok(data) if data.is_empty() || data.len() > usize::try_from(length).unwrap_or(usize::MAX) => {
            let Transfer { image, size, offset, .. } = transfer;
            Err(Failure::unavailable(format!("{image} of {size} bytes has no block of {length} bytes at {offset}")))
        }
        Ok(data) => Ok(Decision::Write { version, offset: transfer.offset, data, patch: transfer.patch }),
        Err(ReadError::Unavailable(_)) => Ok(Decision::Wait),
        Err(ReadError::Denied(reason)) => Err(Failure::Rejected(reason)),
    }
}

/// The bytes that a device is to store, and how many of them it has.
struct Transfer {
    image: String,
    size: u64,
    offset: u32,
    /// The format of the patch that they are.
    patch: Option<String>,
}

impl Transfer {
    /// None while a patch is being made.
    fn of<F: Firmware + ?Sized>(assignment: &Assignment, said: &Said, firmware: &F) -> Option<Self> {
        let progress = said.status.progress.as_ref();
        let begun = progress.filter(|progress| !assignment.restart && progress.version == assignment.version);
        let offset = begun.map_or(0, |progress| progress.offset);
        let began_as = begun.and_then(|progress| progress.patch.as_ref());
        // What began as an image stays one, and a patch stays of its format.
        let formats = match began_as {
            Some(format) => slice::from_ref(format),
            None if offset > 0 => &[],
            None => said.status.formats.as_slice(),
        };
        let patch = match formats {
            [] => None,
            formats => match firmware.patch_from(&said.status.version, formats) {
                Ok(patch) => patch.filter(|patch| formats.contains(&patch.format)),
                Err(ReadError::Unavailable(_)) => return None,
                Err(ReadError::Denied(_)) => None,
            },
        };
        let (image, size, format) = match patch {
            Some(patch) => (patch.image, patch.size, Some(patch.format)),
            None => (assignment.image.clone(), assignment.size, None),
        };
        // The device cannot have more than there is, nor a part of the image if it began with a patch that is gone:
        // then what it has is something else, and it starts over.
        let goes_on = offset <= size && began_as == format.as_ref();
        let offset = if goes_on { u32::try_from(offset).unwrap_or(0) } else { 0 };
        Some(Self { image, size, offset, patch: format })
    }
}
