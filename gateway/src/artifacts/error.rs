//! Why an artifact was not fetched, by what the caller may do about it.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::files::FileError;
use super::lockfile::LockfileError;

/// An artifact was not fetched; one line with the reason and what to do.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Nobody answers, or not us: what is kept of an earlier time may run, and asking again later may help.
    #[error("{reference}: {reason}")]
    Unreachable {
        /// What was asked for.
        reference: String,
        /// Why there was no answer.
        reason: String,
    },
    /// It must not run: what came is not what was asked for, or nobody trusted answers for it.
    #[error("{reference} is refused: {reason}")]
    Refused {
        /// What was asked for.
        reference: String,
        /// The rule that it broke.
        because: Because,
        /// How.
        reason: String,
    },
    /// The registry, the layout or the folder answers, and has no such artifact.
    #[error("{reference} is not there: {reason}")]
    NotFound {
        /// What was asked for.
        reference: String,
        /// Where it was looked for.
        reason: String,
    },
    /// The lockfile is no lockfile: the operator mends it.
    #[error("{0}")]
    Lockfile(String),
    /// What was fetched cannot be kept, or what was kept cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The rule that an artifact or its registry broke.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Because {
    /// It has no signature, and the configuration asks for one.
    Unsigned,
    /// It has signatures, and none of them counts.
    Signature,
    /// Its digest is revoked.
    Revoked,
    /// Its bytes have another digest.
    Digest,
    /// It is larger than it may be, or larger or smaller than it says.
    Size,
    /// It is no manifest, or not one of an artifact that is understood.
    Manifest,
    /// Its registry leads somewhere that the configuration does not allow.
    Redirect,
}

impl Because {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Revoked => "revoked",
            Self::Digest => "digest",
            Self::Size => "size",
            Self::Manifest => "manifest",
            Self::Redirect => "redirect",
        }
    }
}

impl From<LockfileError> for FetchError {
    fn from(error: LockfileError) -> Self {
        match error {
            LockfileError::Read(FileError::Disk { path, source }) | LockfileError::Write { path, source } => {
                Self::Disk { path, source }
            }
            other => Self::Lockfile(other.to_string()),
        }
    }
}

impl FetchError {
    /// Nobody answers.
    pub fn unreachable(reference: &impl Display, reason: impl Display) -> Self {
        Self::Unreachable { reference: reference.to_string(), reason: reason.to_string() }
    }

    /// It must not run.
    pub fn refused(reference: &impl Display, because: Because, reason: impl Display) -> Self {
        Self::Refused { reference: reference.to_string(), because, reason: reason.to_string() }
    }

    /// There is none.
    pub fn not_found(reference: &impl Display, reason: impl Display) -> Self {
        Self::NotFound { reference: reference.to_string(), reason: reason.to_string() }
    }

    /// The disk does not play along.
    #[must_use]
    pub fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.to_owned(), source }
    }
}
