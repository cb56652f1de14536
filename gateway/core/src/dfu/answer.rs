//! Whether a plugin may tell a device what it wants to: the gateway trusts no plugin with a device's firmware.

use thiserror::Error;

use super::{Assignment, Heard, MAX_VERSION_BYTES, Orders, Step};

/// What a plugin must not tell a device. It is the plugin's fault, and the device is not told.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Overstep {
    /// There is nothing that the device is to get.
    #[error("it gives firmware to a device that is to get none")]
    NoOrders,
    /// A version that is longer than versions are.
    #[error("it says that the device runs a version of {0} bytes, more than {MAX_VERSION_BYTES}")]
    Version(usize),
    /// A block that is not of the image, or empty.
    #[error("it gives {length} bytes from {offset} on, of {size}")]
    Outside {
        /// Where the block begins.
        offset: u64,
        /// Its length.
        length: u32,
        /// The size of the image or patch.
        size: u64,
    },
    /// A block of a patch that it did not ask for in this call.
    #[error("it gives blocks of a patch of format `{0}`, which it did not look up")]
    Patch(String),
    /// What the device has stored is not to be built on.
    #[error("it goes on at {0}, and the device is to begin anew")]
    Restart(u64),
    /// The release is not to be started now.
    #[error("it starts a release that is not to be started now")]
    NotNow,
    /// The device does not have all of it.
    #[error("it starts a release of which the device has {has} bytes of {size}")]
    Early {
        /// What the device says that it has.
        has: u64,
        /// The size of the image or patch.
        size: u64,
    },
}

/// Whether a device that is to follow these orders, and says this, may be told that. `patches` are those towards the
/// release that the plugin looked up for this answer: format and size.
///
/// # Errors
/// [`Overstep`].
pub fn check(orders: &Orders, heard: &Heard, step: &Step, patches: &[(String, u64)]) -> Result<(), Overstep> {
    if heard.version.len() > MAX_VERSION_BYTES {
        return Err(Overstep::Version(heard.version.len()));
    }
    let assignment = match (step, orders) {
        (Step::Wait | Step::Sync, _) => return Ok(()),
        (_, Orders::Update(assignment)) => assignment,
        (_, Orders::Stay | Orders::Hold(_)) => return Err(Overstep::NoOrders),
    };
    match step {
        Step::Wait | Step::Sync => Ok(()),
        Step::Write { offset, length, patch } => {
            let size = size(assignment, patch.as_deref(), patches)?;
            let inside = *length > 0 && offset.checked_add((*length).into()).is_some_and(|end| end <= size);
            if !inside {
                return Err(Overstep::Outside { offset: *offset, length: *length, size });
            }
            if assignment.restart && *offset > 0 { Err(Overstep::Restart(*offset)) } else { Ok(()) }
        }
        Step::Swap => swap(assignment, heard, patches),
    }
}

fn swap(assignment: &Assignment, heard: &Heard, patches: &[(String, u64)]) -> Result<(), Overstep> {
    if !assignment.swap {
        return Err(Overstep::NotNow);
    }
    if assignment.release.size == 0 {
        return Ok(());
    }
    let ours = heard.progress.as_ref().filter(|progress| progress.version == assignment.release.version);
    let size = size(assignment, ours.and_then(|progress| progress.patch.as_deref()), patches)?;
    let has = ours.filter(|_| !assignment.restart).map_or(0, |progress| progress.offset);
    if has < size { Err(Overstep::Early { has, size }) } else { Ok(()) }
}

fn size(assignment: &Assignment, patch: Option<&str>, patches: &[(String, u64)]) -> Result<u64, Overstep> {
    let Some(format) = patch else { return Ok(assignment.release.size) };
    let known = patches.iter().find(|(known, _)| known == format);
    known.map(|(_, size)| *size).ok_or_else(|| Overstep::Patch(format.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{By, Hold, Progress, Release};
    use super::*;

    fn assignment() -> Assignment {
        let release = Release {
            name: "app".to_owned(),
            version: "2".to_owned(),
            image: "sha256:00".to_owned(),
            size: 10,
            checksum: [0; 32],
            from: Vec::new(),
        };
        Assignment { release: Arc::new(release), by: By::Rule("r".to_owned()), swap: true, attempt: 1, restart: false }
    }

    fn heard(progress: Option<(&str, u64, Option<&str>)>) -> Heard {
        let progress = progress.map(|(version, offset, patch)| Progress {
            version: version.to_owned(),
            offset,
            patch: patch.map(str::to_owned),
        });
        Heard { version: "1".to_owned(), mtu: None, progress, formats: Vec::new() }
    }

    fn write(offset: u64, length: u32, patch: Option<&str>) -> Step {
        Step::Write { offset, length, patch: patch.map(str::to_owned) }
    }

    fn told(assignment: Assignment, heard: &Heard, step: &Step) -> Result<(), Overstep> {
        check(&Orders::Update(assignment), heard, step, &[("zstd".to_owned(), 4)])
    }

    #[test]
    fn a_device_without_an_assignment_gets_no_firmware() {
        for orders in [Orders::Stay, Orders::Hold(Hold::Paused)] {
            for step in [Step::Swap, write(0, 1, None)] {
                assert_eq!(check(&orders, &heard(None), &step, &[]), Err(Overstep::NoOrders));
            }
            for step in [Step::Wait, Step::Sync] {
                assert_eq!(check(&orders, &heard(None), &step, &[]), Ok(()));
            }
        }
    }

    #[test]
    fn a_block_lies_within_its_image_or_patch() {
        let check = |offset, length, patch, expected| {
            assert_eq!(told(assignment(), &heard(None), &write(offset, length, patch)), expected);
        };
        let outside = |offset, length, size| Err(Overstep::Outside { offset, length, size });
        check(0, 10, None, Ok(()));
        check(9, 1, None, Ok(()));
        check(9, 2, None, outside(9, 2, 10));
        check(10, 0, None, outside(10, 0, 10));
        check(u64::MAX, 1, None, outside(u64::MAX, 1, 10));
        check(0, 4, Some("zstd"), Ok(()));
        check(4, 1, Some("zstd"), outside(4, 1, 4));
        check(0, 1, Some("other"), Err(Overstep::Patch("other".to_owned())));
    }

    #[test]
    fn a_release_is_started_once_all_of_it_is_there_and_it_may_be() {
        let early = |has, size| Err(Overstep::Early { has, size });
        let swap = |progress| told(assignment(), &heard(progress), &Step::Swap);
        assert_eq!(swap(None), early(0, 10));
        assert_eq!(swap(Some(("2", 9, None))), early(9, 10));
        assert_eq!(swap(Some(("3", 10, None))), early(0, 10), "what it has is of another release");
        assert_eq!(swap(Some(("2", 10, None))), Ok(()));
        assert_eq!(swap(Some(("2", 3, Some("zstd")))), early(3, 4));
        assert_eq!(swap(Some(("2", 4, Some("zstd")))), Ok(()));
        assert_eq!(swap(Some(("2", 10, Some("other")))), Err(Overstep::Patch("other".to_owned())));
        let later = Assignment { swap: false, ..assignment() };
        assert_eq!(told(later, &heard(Some(("2", 10, None))), &Step::Swap), Err(Overstep::NotNow));
        let empty = Release { size: 0, ..Release::clone(&assignment().release) };
        let empty = Assignment { release: Arc::new(empty), ..assignment() };
        assert_eq!(told(empty, &heard(None), &Step::Swap), Ok(()), "there is nothing to wait for");
    }

    #[test]
    fn a_device_that_is_to_begin_anew_begins_at_0() {
        let anew = || Assignment { restart: true, ..assignment() };
        let all = heard(Some(("2", 10, None)));
        assert_eq!(told(anew(), &all, &Step::Swap), Err(Overstep::Early { has: 0, size: 10 }));
        assert_eq!(told(anew(), &all, &write(4, 4, None)), Err(Overstep::Restart(4)));
        assert_eq!(told(anew(), &all, &write(0, 4, None)), Ok(()));
    }
}
