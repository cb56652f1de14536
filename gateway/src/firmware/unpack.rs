//! One file out of the layers of a container image: streamed and bounded. What a header declares is not believed, and no
//! path of an archive is ever used as one.
//!
//! What the bytes are worth is for those who asked: they compare them with what was promised.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use thiserror::Error;

use crate::artifacts::Blob;
use crate::artifacts::digest::{Digest, Hasher};

/// The unit of an archive.
const BLOCK: usize = 512;
const CHUNK: usize = 64 << 10;

/// What a layer may hold beside the file that is wanted.
const BESIDE: u64 = 1 << 20;

/// Layers do not hold the file that was promised; whoever made the image makes it otherwise.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// No archive.
    #[error("a layer of it is no tar archive that can be read: {0}")]
    Archive(String),
    /// A compression that is not read.
    #[error("a layer of it is `{0}`; layers are tar archives, with gzip or without")]
    Layer(String),
    /// More than it may have.
    #[error("a layer of it unpacks to more than {0} bytes; `firmware.max_image` says how many an image may have")]
    Bomb(u64),
    /// Nothing of that name.
    #[error("it has no file `{0}`")]
    Missing(&'static str),
    /// What is meant would be a matter of luck.
    #[error("it has two files `{0}`; make an image of one")]
    Twice(&'static str),
    /// Larger than it may be.
    #[error("its file `{file}` has {size} bytes, more than the {most} that are allowed")]
    Size {
        /// The file.
        file: &'static str,
        /// What the archive declares.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// The file that it is written into.
    #[error("{0}")]
    Disk(#[source] io::Error),
}

/// A layer, and how it is packed.
pub(super) struct Layer {
    blob: Blob,
    gzip: bool,
}

impl Layer {
    /// A layer of this media type.
    ///
    /// # Errors
    /// It is none that is read.
    pub(super) fn new(blob: Blob, media_type: &str) -> Result<Self, UnpackError> {
        match packed(media_type) {
            Some(gzip) => Ok(Self { blob, gzip }),
            None => Err(UnpackError::Layer(media_type.chars().filter(|c| !c.is_control()).take(120).collect())),
        }
    }
}

/// Whether a media type is that of an archive, and whether of one with gzip.
pub(super) fn packed(media_type: &str) -> Option<bool> {
    let plain = media_type.ends_with(".tar") || media_type == "application/x-tar";
    let gzip = [".tar+gzip", ".tar.gzip"].iter().any(|end| media_type.ends_with(end));
    (plain || gzip).then_some(gzip)
}

/// The bytes of a small file of the layers, `most` of them at most.
///
/// # Errors
/// [`UnpackError`].
pub(super) fn small(layers: &[Layer], file: &'static str, most: u64, bound: u64) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = Vec::new();
    extract(layers, file, most, bound, &mut bytes)?;
    Ok(bytes)
}

/// Copies the file of this name, of `most` bytes at most, out of the layers; `bound` is for all that a layer holds beside
/// it. Returns what was written.
///
/// # Errors
/// [`UnpackError`]; something may have been written then.
pub(super) fn extract(
    layers: &[Layer],
    file: &'static str,
    most: u64,
    bound: u64,
    to: &mut dyn Write,
) -> Result<(Digest, u64), UnpackError> {
    let mut found = None;
    for layer in layers {
        let bytes = Bytes { blob: &layer.blob, at: 0 };
        let packed: Box<dyn Read> = if layer.gzip { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        let mut bounded =
            Bounded { inner: packed, left: bound.saturating_add(BESIDE), bound: bound.saturating_add(BESIDE) };
        if let Some(here) = search(&mut bounded, (file, most), to)?
            && found.replace(here).is_some()
        {
            return Err(UnpackError::Twice(file));
        }
    }
    found.ok_or(UnpackError::Missing(file))
}

/// Copies the file of this name out of one archive, if it is there.
fn search(
    archive: &mut impl Read,
    (file, most): (&'static str, u64),
    to: &mut dyn Write,
) -> Result<Option<(Digest, u64)>, UnpackError> {
    let mut found = None;
    while let Some(entry) = next(archive)? {
        if entry.is_file && entry.name == file {
            if found.is_some() {
                return Err(UnpackError::Twice(file));
            }
            if entry.size > most {
                return Err(UnpackError::Size { file, size: entry.size, most });
            }
            found = Some(copy(archive, entry.size, to)?);
            skip(archive, padding(entry.size))?;
        } else {
            skip(archive, entry.size.saturating_add(padding(entry.size)))?;
        }
    }
    Ok(found)
}

/// What stands before the bytes of a file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Its name, if that is in the root; anything else is never equal to a name that is looked for.
    name: String,
    size: u64,
    is_file: bool,
}

/// The next header; none at the end.
fn next(from: &mut impl Read) -> Result<Option<Entry>, UnpackError> {
    let mut header = [0; BLOCK];
    let mut filled = 0;
    while let Some(rest) = header.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest).map_err(broken)? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(UnpackError::Archive("it ends within a header".to_owned())),
            read => filled += read,
        }
    }
    if header.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    parse(&header).map(Some).ok_or_else(|| UnpackError::Archive("a header of it is damaged".to_owned()))
}

fn parse(header: &[u8; BLOCK]) -> Option<Entry> {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    if number(header.get(148..156)?)? != sum {
        return None;
    }
    let text = |from: usize, to: usize| {
        let field = header.get(from..to).unwrap_or_default();
        String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    let prefix = if header.get(257..262) == Some(b"ustar") { text(345, 500) } else { String::new() };
    let name = text(0, 100);
    let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
    let name = name.strip_prefix("./").or_else(|| name.strip_prefix('/')).unwrap_or(&name).to_owned();
    Some(Entry { name, size: number(header.get(124..136)?)?, is_file: matches!(header.get(156), Some(b'0' | 0)) })
}

/// A number of a header: octal digits, or bytes after a set first bit.
fn number(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        let (high, low) = field.split_at_checked(field.len().checked_sub(8)?)?;
        let is_small = high.iter().enumerate().all(|(at, byte)| *byte == if at == 0 { 0x80 } else { 0 });
        return is_small.then(|| u64::from_be_bytes(low.try_into().unwrap_or_default()));
    }
    let digits = field.split(|byte| matches!(byte, 0 | b' ')).find(|digits| !digits.is_empty()).unwrap_or_default();
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn copy(from: &mut impl Read, size: u64, to: &mut dyn Write) -> Result<(Digest, u64), UnpackError> {
    let (mut hasher, mut chunk, mut left) = (Hasher::new(), vec![0; CHUNK], size);
    while left > 0 {
        let room = chunk.len().min(usize::try_from(left).unwrap_or(CHUNK));
        let part = chunk.get_mut(..room).unwrap_or_default();
        let read = from.read(part).map_err(broken)?;
        let Some(bytes) = part.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Err(UnpackError::Archive("it ends within a file".to_owned()));
        };
        hasher.update(bytes);
        to.write_all(bytes).map_err(UnpackError::Disk)?;
        left -= read as u64;
    }
    Ok((hasher.finish(), size))
}

fn skip(from: &mut impl Read, bytes: u64) -> Result<(), UnpackError> {
    match io::copy(&mut from.take(bytes), &mut io::sink()).map_err(broken)? {
        skipped if skipped == bytes => Ok(()),
        _ => Err(UnpackError::Archive("it ends within a file".to_owned())),
    }
}

fn broken(error: io::Error) -> UnpackError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TooMuch>()) {
        Some(TooMuch(bound)) => UnpackError::Bomb(*bound),
        None => UnpackError::Archive(error.to_string()),
    }
}

/// The bytes of a blob, in order.
struct Bytes<'b> {
    blob: &'b Blob,
    at: u64,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[derive(Debug, Error)]
#[error("more than {0} bytes")]
struct TooMuch(u64);

/// So many bytes at most.
struct Bounded<R> {
    inner: R,
    left: u64,
    bound: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 && !buffer.is_empty() {
            return Err(io::Error::other(TooMuch(self.bound)));
        }
        let read = self.inner.read(buffer.get_mut(..room).unwrap_or_default())?;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
