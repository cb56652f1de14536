//! The flash of a device, in a folder: what it runs, and what it has received of what it is to run next.
//!
//! The updater of `embedded-update` checks nothing of a command, so the flash does: the offset and the version of each
//! block, and the checksum of all of them. What is stored is also the progress, so it survives the loss of power.

use crate::{Options, say};
use embedded_update::{FirmwareDevice, FirmwareStatus};
use ring::digest;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use thiserror::Error;

/// What a simulated loss of power ends the program with.
const POWER_CUT: i32 = 75;

/// The flash of one device that takes blocks of `MTU` bytes.
pub(crate) struct Flash<const MTU: usize> {
    name: String,
    folder: PathBuf,
    running: String,
    /// The version of the image that is being received, and the bytes of it that are stored.
    next: Option<(String, u32)>,
    blocks: u32,
    power_cut_at: Option<u32>,
    rolls_back: bool,
}

/// Why a command cannot be followed.
#[derive(Debug, Error)]
pub(crate) enum FlashError {
    #[error("{0:?} cannot be read or written: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("a block for byte {got}, but byte {wanted} is next")]
    Offset { wanted: u32, got: u32 },
    #[error("a block of {0} bytes, more than this device takes")]
    TooLong(usize),
    #[error("a version that is no text")]
    Version,
    #[error("told to start {told}, but what is stored has another checksum")]
    Checksum { told: String },
}

impl<const MTU: usize> Flash<MTU> {
    /// What a device finds when it starts.
    pub(crate) fn open(name: &str, options: &Options) -> Result<Self, FlashError> {
        let folder = options.flash.join(name);
        fs::create_dir_all(&folder).map_err(|error| FlashError::Io(folder.clone(), error))?;
        let mut flash = Self {
            name: name.into(),
            folder,
            running: String::new(),
            next: None,
            blocks: 0,
            power_cut_at: options.power_cut_at,
            rolls_back: options.rolls_back,
        };
        flash.running = flash.text("running")?.unwrap_or_else(|| options.factory.clone());
        if let Some(version) = flash.text("next")? {
            flash.next = Some((version, flash.stored()?));
        }
        Ok(flash)
    }

    /// The version that runs.
    pub(crate) fn running(&self) -> &str {
        &self.running
    }

    /// The folder has `running` and `next`, which are versions, and `image` and `next.image`, which are theirs.
    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn text(&self, file: &str) -> Result<Option<String>, FlashError> {
        let path = self.path(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FlashError::Io(path, error)),
        }
    }

    fn stored(&self) -> Result<u32, FlashError> {
        let path = self.path("next.image");
        let length = fs::metadata(&path).map_err(|error| FlashError::Io(path, error))?.len();
        Ok(u32::try_from(length).unwrap_or(u32::MAX))
    }

    fn write_file(&self, file: &str, bytes: &[u8]) -> Result<(), FlashError> {
        let path = self.path(file);
        fs::write(&path, bytes).map_err(|error| FlashError::Io(path, error))
    }

    /// Empties the half of the flash that does not run. The image goes first: without it there is no progress.
    fn erase(&mut self, version: &str) -> Result<(), FlashError> {
        self.write_file("next.image", &[])?;
        self.write_file("next", version.as_bytes())?;
        (self.next, self.blocks) = (Some((version.into(), 0)), 0);
        Ok(())
    }

    fn append(&self, data: &[u8]) -> Result<(), FlashError> {
        let path = self.path("next.image");
        let append = || File::options().append(true).open(&path)?.write_all(data);
        append().map_err(|error| FlashError::Io(path, error))
    }

    /// Starts what is stored, as the boot loader of a board would.
    fn start_next(&mut self, version: &str) -> Result<(), FlashError> {
        if self.rolls_back {
            say(&self.name, format_args!("{version} does not start, goes on with {}", self.running));
        } else {
            let path = self.path("next.image");
            fs::rename(&path, self.path("image")).map_err(|error| FlashError::Io(path, error))?;
            self.write_file("running", version.as_bytes())?;
        }
        let path = self.path("next");
        fs::remove_file(&path).map_err(|error| FlashError::Io(path, error))
    }
}

impl<const MTU: usize> FirmwareDevice for Flash<MTU> {
    const MTU: usize = MTU;
    type Version = Vec<u8>;
    type Error = FlashError;

    async fn status(&mut self) -> Result<FirmwareStatus<Vec<u8>>, FlashError> {
        Ok(FirmwareStatus {
            current_version: self.running.clone().into(),
            next_offset: self.next.as_ref().map_or(0, |next| next.1),
            next_version: self.next.as_ref().map(|next| next.0.clone().into()),
        })
    }

    async fn start(&mut self, version: &[u8]) -> Result<(), FlashError> {
        let version = std::str::from_utf8(version).map_err(|_| FlashError::Version)?.to_owned();
        self.erase(&version)
    }

    async fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), FlashError> {
        if data.len() > MTU {
            return Err(FlashError::TooLong(data.len()));
        }
        let wanted = self.next.as_ref().map_or(0, |next| next.1);
        if offset != wanted {
            return Err(FlashError::Offset { wanted, got: offset });
        }
        self.append(data)?;
        let stored = self.stored()?;
        if let Some(next) = &mut self.next {
            next.1 = stored;
        }
        self.blocks += 1;
        if self.power_cut_at.is_some_and(|at| stored >= at) {
            say(&self.name, format_args!("loses power with {stored} bytes stored, {} blocks", self.blocks));
            std::process::exit(POWER_CUT);
        }
        Ok(())
    }

    async fn update(&mut self, version: &[u8], checksum: &[u8]) -> Result<(), FlashError> {
        let version = std::str::from_utf8(version).map_err(|_| FlashError::Version)?.to_owned();
        // A swap without a block before it: the image is empty.
        if self.next.as_ref().is_none_or(|next| next.0 != version) {
            self.erase(&version)?;
        }
        let path = self.path("next.image");
        let image = fs::read(&path).map_err(|error| FlashError::Io(path, error))?;
        if digest::digest(&digest::SHA256, &image).as_ref() != checksum {
            // What is stored is of no use: the next attempt begins at its first byte.
            self.write_file("next.image", &[])?;
            return Err(FlashError::Checksum { told: version });
        }
        say(&self.name, format_args!("starts {version}, {} bytes in {} blocks", image.len(), self.blocks));
        self.start_next(&version)
    }

    async fn synced(&mut self) -> Result<(), FlashError> {
        say(&self.name, format_args!("{} is good", self.running));
        Ok(())
    }
}
