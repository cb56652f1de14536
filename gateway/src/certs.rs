//! A small certificate authority in a directory: makes, signs, revokes and lists certificates.
//!
//! For fleets without an authority of their own, for demos and for tests. The gateway itself never reads this
//! directory: its listeners name the files they need. `cli/certs.rs` is the command line in front of it.

mod authority;
mod csr;
mod files;
mod index;
mod request;
mod show;

pub use self::authority::{Authority, CA, CRL, Issued, Listed, Revoked, SERVER, SERVER_KEY};
pub use self::request::{DeviceRequest, KeyKind, Reason, ServerRequest};
pub use self::show::{Description, describe};

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What `init` makes.
#[derive(Debug, Clone)]
pub struct InitRequest {
    /// The authority's common name; without it a new one each time, because two authorities of one name in one
    /// bundle cannot be told apart.
    pub name: Option<String>,
    /// How long the authority is valid.
    pub days: u32,
    /// The key of the authority.
    pub key: KeyKind,
    /// The gateway's certificate.
    pub server: ServerRequest,
    /// Replace what is there, keys included.
    pub force: bool,
}

impl Default for InitRequest {
    fn default() -> Self {
        Self { name: None, days: 3_650, key: KeyKind::P256, server: ServerRequest::default(), force: false }
    }
}

/// Why a certificate, a key or a list was not made. Nothing was changed, except as [`CertsError::Io`] says.
#[derive(Debug, Error)]
pub enum CertsError {
    /// A file would be overwritten.
    #[error("{} exists; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// The directory has no authority.
    #[error("{} has no authority; `causeway certs init --dir {}` makes one", .0.display(), .0.display())]
    NoAuthority(PathBuf),
    /// Another process works on the directory.
    #[error("another `causeway certs` is working on {}", .0.display())]
    Locked(PathBuf),
    /// A file could not be read or written. Files written before it are complete.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A name cannot stand in a certificate or in a file's name.
    #[error("the name `{name}` {why}")]
    Name {
        /// The name, printable.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A signing request is refused.
    #[error("{}: {message}", file.display())]
    Request {
        /// The file of the request.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// The authority is not valid any more, so nothing it signs would be.
    #[error("the authority in {} has expired; make a new one", .0.display())]
    AuthorityExpired(PathBuf),
    /// There is nothing like that to revoke.
    #[error("`{0}` is neither a device, nor a serial number, nor a certificate of this authority")]
    NotIssued(String),
    /// A certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl CertsError {
    fn io(file: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { file: file.to_owned(), source }
    }

    fn damaged(file: &Path, message: impl ToString) -> Self {
        Self::Damaged { file: file.to_owned(), message: message.to_string() }
    }
}

#[cfg(test)]
mod tests;
