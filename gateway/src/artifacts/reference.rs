//! Where an artifact is found, as an operator writes it; parsed once.
//!
//! A registry is always named: nothing is looked for on a public one by default.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::digest::{Digest, DigestError};

const REGISTRY: &str = "oci://";
const LAYOUT: &str = "oci-layout://";
const FILE: &str = "file://";
const BUILTIN: &str = "builtin:";

/// Longest repository name, with its registry (as registries limit it).
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;
const MAX_REFERENCE: usize = 4096;

/// Where an artifact is found.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reference {
    /// `oci://host[:port]/repository[:tag][@sha256:hex]`: in a registry.
    Registry(ImageReference),
    /// `oci-layout://path[:tag][@sha256:hex]`: in a folder; without tag and digest the only image of it.
    Layout {
        /// The folder.
        path: PathBuf,
        /// Its `org.opencontainers.image.ref.name` there.
        tag: Option<String>,
        /// Its digest; it wins over the tag.
        digest: Option<Digest>,
    },
    /// `file://path`, or just a path: one file.
    File(PathBuf),
    /// `builtin:name`: part of the program.
    Builtin(String),
}

/// An image in a registry; it has a tag or a digest, or both.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ImageReference {
    /// `host[:port]`, in lower case.
    pub registry: String,
    /// The repository within the registry.
    pub repository: String,
    /// A name that may point to another image tomorrow.
    pub tag: Option<String>,
    /// The image itself; it wins over the tag.
    pub digest: Option<Digest>,
}

/// A text is no reference; the operator writes it otherwise.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ReferenceError {
    /// Nothing is named.
    #[error(
        "`{0}` names nothing; write `oci://host/repository:tag`, `oci-layout://folder:tag`, `file://path` or `builtin:name`"
    )]
    Empty(String),
    /// No such kind of place.
    #[error("`{0}` begins with no scheme that is known; write `oci://`, `oci-layout://`, `file://` or `builtin:`")]
    Scheme(String),
    /// Only the registry, or only the repository.
    #[error("`{0}` names no repository; write the registry too: `oci://host/repository:tag`")]
    Repository(String),
    /// A registry that cannot be one.
    #[error("`{0}` is no registry; write a host name or address, and its port if it is not 443")]
    Host(String),
    /// A repository that cannot be one.
    #[error("`{0}` is no repository; it has lower-case letters and digits, with `.`, `_`, `-` and `/` between them")]
    Name(String),
    /// A tag that cannot be one.
    #[error("`{0}` is no tag; it has letters, digits, `_`, `.` and `-`, at most 128 of them")]
    Tag(String),
    /// A digest that cannot be one.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Neither tag nor digest: nothing is taken for granted.
    #[error("`{0}` has neither tag nor digest; add `:tag`, or `@sha256:` and its digest")]
    Unpinned(String),
    /// Longer than any reference, or with control characters in it.
    #[error("the reference is longer than 4096 bytes or has control characters in it")]
    Text,
}

impl Reference {
    /// A relative path begins at `base` from now on.
    #[must_use]
    pub fn resolved(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            Self::Layout { path, tag, digest } => Self::Layout { path: base.join(path), tag, digest },
            other => other,
        }
    }

    /// `host[:port]/repository` of an image in a registry.
    #[must_use]
    pub fn repository_name(&self) -> Option<String> {
        match self {
            Self::Registry(image) => Some(image.repository_name()),
            Self::Layout { .. } | Self::File(_) | Self::Builtin(_) => None,
        }
    }

    /// The same place, and this image in it.
    #[must_use]
    pub fn at(self, digest: Digest) -> Self {
        match self {
            Self::Registry(image) => Self::Registry(image.at(digest)),
            Self::Layout { path, tag, .. } => Self::Layout { path, tag, digest: Some(digest) },
            other => other,
        }
    }

    /// The digest that is part of the reference.
    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Registry(image) => image.digest,
            Self::Layout { digest, .. } => *digest,
            Self::File(_) | Self::Builtin(_) => None,
        }
    }
}

impl ImageReference {
    /// `host[:port]/repository`: what a signature and the scope of a key name.
    #[must_use]
    pub fn repository_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository, and this image in it.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository, and what has this tag in it.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = split_digest(text)?;
        let (registry, rest) = name.split_once('/').ok_or_else(|| ReferenceError::Repository(shown(text)))?;
        let (repository, tag) = split_tag(rest)?;
        if repository.is_empty() {
            return Err(ReferenceError::Repository(shown(text)));
        }
        let registry = registry.to_ascii_lowercase();
        if !is_host(&registry) {
            return Err(ReferenceError::Host(shown(&registry)));
        }
        if registry.len() + repository.len() > MAX_REPOSITORY || !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Name(shown(repository)));
        }
        if tag.is_none() && digest.is_none() {
            return Err(ReferenceError::Unpinned(shown(text)));
        }
        Ok(Self { registry, repository: repository.to_owned(), tag, digest })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_REFERENCE || text.chars().any(char::is_control) {
            return Err(ReferenceError::Text);
        }
        let empty = || ReferenceError::Empty(shown(text));
        let path = |path: &str| if path.is_empty() { Err(empty()) } else { Ok(PathBuf::from(path)) };
        if let Some(name) = text.strip_prefix(BUILTIN) {
            return if name.is_empty() { Err(empty()) } else { Ok(Self::Builtin(name.to_owned())) };
        }
        if let Some(image) = text.strip_prefix(REGISTRY) {
            return ImageReference::parse(image).map(Self::Registry);
        }
        if let Some(layout) = text.strip_prefix(LAYOUT) {
            let (name, digest) = split_digest(layout)?;
            let (folder, tag) = split_tag(name)?;
            return Ok(Self::Layout { path: path(folder)?, tag, digest });
        }
        if let Some(file) = text.strip_prefix(FILE) {
            return path(file).map(Self::File);
        }
        if text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/')) {
            return Err(ReferenceError::Scheme(shown(text)));
        }
        path(text).map(Self::File)
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(image) => write!(f, "{REGISTRY}{image}"),
            Self::Layout { path, tag, digest } => {
                write!(f, "{LAYOUT}{}", path.display())?;
                write_pin(f, tag.as_deref(), digest.as_ref())
            }
            Self::File(path) => write!(f, "{FILE}{}", path.display()),
            Self::Builtin(name) => write!(f, "{BUILTIN}{name}"),
        }
    }
}

impl Display for ImageReference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        write_pin(f, self.tag.as_deref(), self.digest.as_ref())
    }
}

fn write_pin(f: &mut Formatter<'_>, tag: Option<&str>, digest: Option<&Digest>) -> fmt::Result {
    tag.map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
    digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
}

/// Whether `name` is `prefix` or lies below it: `host/team` covers `host/team/plugin` and not `host/teams`.
///
/// A prefix that ends with `/` covers everything that begins with it. What follows a host after a colon is a port, and
/// another registry; what follows the last part of a path is a tag or a digest, and covered. A path that goes up is below
/// nothing but a whole scheme.
#[must_use]
pub fn is_below(name: &str, prefix: &str) -> bool {
    let Some(rest) = name.strip_prefix(prefix) else { return false };
    let pin = rest.starts_with([':', '@']) && !rest.contains('/');
    let border = rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/') || pin;
    let goes_up = rest.split('/').any(|part| part == "..") && !prefix.ends_with("://");
    border && !prefix.is_empty() && !goes_up
}

/// Whether a text is `host[:port]`.
#[must_use]
pub fn is_host(text: &str) -> bool {
    const LONGEST: usize = 253;
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return address.parse::<std::net::Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= LONGEST && host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// One part of a repository's name: runs of letters and digits, with one `.`, one or two `_`, or any `-` between them.
fn is_path_component(text: &str) -> bool {
    let is_run = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if is_run(byte) {
            continue;
        }
        // A separator stands between two runs, never first or last.
        let (mut length, first) = (1, byte);
        while bytes.next_if_eq(&first).is_some() {
            length += 1;
        }
        let known = matches!((first, length), (b'.', 1) | (b'_', 1 | 2) | (b'-', _));
        if !known || !bytes.peek().copied().is_some_and(is_run) {
            return false;
        }
    }
    text.bytes().next().is_some_and(is_run)
}

fn is_tag(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && text.len() <= MAX_TAG && text.bytes().all(rest)
}

/// What stands before `@sha256:...`, and the digest.
fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    match text.rsplit_once('@') {
        Some((name, digest)) if digest.contains(':') || !digest.contains('/') => Ok((name, Some(digest.parse()?))),
        _ => Ok((text, None)),
    }
}

/// What stands before `:tag`, and the tag; a colon before the last `/` is part of the name.
fn split_tag(text: &str) -> Result<(&str, Option<String>), ReferenceError> {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => {
            if is_tag(tag) {
                Ok((name, Some(tag.to_owned())))
            } else {
                Err(ReferenceError::Tag(shown(tag)))
            }
        }
        _ => Ok((text, None)),
    }
}

/// As much of a text as a message shows.
fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
