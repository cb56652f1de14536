//! Reads a recording back. Whatever the file is, the answer is its content or one clear error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::format::{End, Header, Input, Item, MAGIC, NAME};

/// Why a file cannot be replayed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The disk, or the path.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("not a recording of Causeway")]
    Foreign,
    /// It was made by another version of the program.
    #[error("a recording of another version; this program reads version 1")]
    Version,
    /// The gateway ended, or the disk was full, before it was finished.
    #[error("the recording is torn after {inputs} inputs: the gateway did not finish it")]
    Torn {
        /// Whole inputs before the tear.
        inputs: usize,
    },
    /// Its bytes are not those that were written.
    #[error("the recording is damaged after {inputs} inputs: {reason}")]
    Damaged {
        /// Inputs before the damage.
        inputs: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A whole recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// What was recorded.
    pub header: Header,
    /// The inputs in the order in which the plugin was asked.
    pub inputs: Vec<Input>,
    /// How it ended.
    pub end: End,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(file: &Path) -> Result<Self, ReadError> {
        Self::read(BufReader::new(File::open(file)?))
    }

    /// Reads a recording to its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(from: impl BufRead) -> Result<Self, ReadError> {
        let mut reading = Reading::begin(from)?;
        let mut inputs = Vec::new();
        loop {
            match reading.next()? {
                Next::Input(input) => inputs.push(*input),
                Next::End(end) => return Ok(Self { header: reading.header, inputs, end }),
            }
        }
    }
}

/// A recording that is read input by input: whether it is whole is known at its end alone.
pub(super) struct Reading<R> {
    from: Checked<R>,
    pub(super) header: Header,
    inputs: usize,
}

/// What comes next in a recording.
pub(super) enum Next {
    Input(Box<Input>),
    /// Nothing follows, and everything before was what had been written.
    End(End),
}

impl Reading<BufReader<File>> {
    /// Begins to read a file.
    pub(super) fn open(file: &Path) -> Result<Self, ReadError> {
        Self::begin(BufReader::new(File::open(file)?))
    }
}

impl<R: BufRead> Reading<R> {
    fn begin(from: R) -> Result<Self, ReadError> {
        let mut from = Checked { from, crc32c: 0 };
        check_magic(&mut from)?;
        let header = item(&mut from, 0)?;
        Ok(Self { from, header, inputs: 0 })
    }

    pub(super) fn next(&mut self) -> Result<Next, ReadError> {
        let crc32c = self.from.crc32c;
        match item(&mut self.from, self.inputs)? {
            Item::Input(input) => {
                self.inputs += 1;
                Ok(Next::Input(input))
            }
            Item::End(end) => {
                check_end(&end, crc32c, self.inputs, &mut self.from)?;
                Ok(Next::End(end))
            }
        }
    }
}

fn check_magic(from: &mut impl Read) -> Result<(), ReadError> {
    let mut magic = [0; MAGIC.len()];
    let length = read_up_to(from, &mut magic)?;
    match magic.get(..length) {
        Some(read) if read == MAGIC => Ok(()),
        Some(read) if read.get(1..).is_some_and(|text| text.starts_with(NAME)) => Err(ReadError::Version),
        _ => Err(ReadError::Foreign),
    }
}

fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = into.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn item<T: DeserializeOwned>(from: &mut impl Read, inputs: usize) -> Result<T, ReadError> {
    ciborium::from_reader(from).map_err(|error| match error {
        ciborium::de::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => ReadError::Torn { inputs },
        ciborium::de::Error::Io(error) => ReadError::Io(error),
        ciborium::de::Error::Syntax(_) => damaged(inputs, "not CBOR"),
        ciborium::de::Error::Semantic(_, reason) => damaged(inputs, &reason),
        ciborium::de::Error::RecursionLimitExceeded => damaged(inputs, "nested too deeply"),
    })
}

fn check_end(end: &End, crc32c: u32, inputs: usize, from: &mut impl Read) -> Result<(), ReadError> {
    if end.crc32c != crc32c {
        return Err(damaged(inputs, "its checksum differs"));
    }
    if usize::try_from(end.inputs) != Ok(inputs) {
        return Err(damaged(inputs, "inputs are missing"));
    }
    match read_up_to(from, &mut [0])? {
        0 => Ok(()),
        _ => Err(damaged(inputs, "something follows its end")),
    }
}

fn damaged(inputs: usize, reason: &str) -> ReadError {
    ReadError::Damaged { inputs, reason: reason.to_owned() }
}

/// Counts the checksum of what has been read.
struct Checked<R> {
    from: R,
    crc32c: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, into.get(..length).unwrap_or_default());
        Ok(length)
    }
}
