//! A release on its way to one device, what is counted of it, and how it ends.

use super::super::{By, Heard, Progress, Release};

/// A release on its way to a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The firmware's name.
    pub name: String,
    /// The release's version.
    pub version: String,
    /// The digest of its image.
    pub image: String,
    /// The image's size in bytes.
    pub size: u64,
    /// Who assigned it.
    pub by: By,
    /// What the device ran before.
    pub from: String,
    /// What the device has stored of a release of this version is not of this image, or an attempt with it has failed.
    pub restart: bool,
    /// It counts on from where it was instead of beginning anew, as devices of `embedded-update` do until they are told
    /// that what they run is right: told once, then it gets the first block again. Not kept on the disk.
    pub astray: bool,
    /// The order to start it waits for its turn to be on the disk, and has not gone out. Not kept on the disk.
    pub waiting: bool,
    /// When the running attempt, or else the last one, began, Unix ms.
    pub started_ms: Option<u64>,
    /// What was counted in it.
    pub tally: Tally,
}

/// What is counted in one attempt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// What the device has of the release; of the patch, if it gets one.
    pub offset: u64,
    /// The format of the patch that it gets, if it is not the image itself.
    pub patch: Option<String>,
    /// Blocks, those that were sent again too.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often the device began anew, or was to because it had gone astray.
    pub restarts: u32,
    /// How often it was told to start the release.
    pub swaps: u32,
    /// The length of the last block at the beginning of the image.
    pub first: u32,
}

/// An attempt that is over: a line of the device's history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ended {
    /// The release as it was on its way.
    pub target: Target,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// How it ended.
    pub end: End,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The device runs the release.
    Confirmed,
    /// It does not; the text says what it does.
    Failed(String),
    /// It is to get something else.
    Superseded,
}

impl Target {
    /// Whether it is that very release.
    pub(super) fn is(&self, release: &Release) -> bool {
        self.version == release.version && self.name == release.name && self.image == release.image
    }

    /// How often it was told to start it, as far as that has gone out.
    pub(super) fn given(&self) -> u32 {
        self.tally.swaps.saturating_sub(self.waiting.into())
    }

    /// How far the device is with it, as it says.
    pub(super) fn offset(&self, heard: &Heard) -> u64 {
        let progress = heard.progress.as_ref().filter(|progress| progress.version == self.version);
        // Devices count in 32 bits; one that claims more is past every end.
        progress.map_or(0, |progress| progress.offset.min(u64::from(u32::MAX)))
    }

    /// Whether the device had something of it, and has nothing of it any more.
    pub(super) fn begins_anew(&self, heard: &Heard) -> bool {
        self.tally.offset > 0 && self.offset(heard) == 0
    }

    /// Whether the device was given the first block to begin anew with, and counts on from where it was. Of one that is
    /// astray already it is not said again: it gets the first block in between.
    pub(super) fn goes_astray(&self, heard: &Heard) -> bool {
        let first = u64::from(self.tally.first);
        !self.astray && self.restart && first > 0 && self.offset(heard) > first
    }

    /// Whether the order to start it may not have been heard: the device still has all that it had then.
    pub(super) fn may_not_be_heard(&self, heard: &Heard) -> bool {
        let has_all = |progress: &Progress| progress.version == self.version && progress.offset >= self.tally.offset;
        // Of an empty image there is nothing to report.
        heard.version == self.from && heard.progress.as_ref().map_or(self.size == 0, has_all)
    }

    pub(super) fn new(release: &Release, by: &By, from: String, restart: bool) -> Self {
        let Release { name, version, image, size, .. } = release.clone();
        Self {
            name,
            version,
            image,
            size,
            by: by.clone(),
            from,
            restart,
            astray: false,
            waiting: false,
            started_ms: None,
            tally: Tally::default(),
        }
    }
}

impl Tally {
    pub(super) fn write(&mut self, offset: u64, length: u32, patch: &Option<String>) {
        self.offset = offset;
        if offset == 0 {
            self.first = length;
        }
        self.patch.clone_from(patch);
        self.blocks = self.blocks.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(length));
    }
}
