//! What is wanted, and where what was found came from: what grants, downgrades and the way back are decided by.

use causeway_host::Binary;
use semver::Version;

use crate::store::versions::Came;

/// Which plugin is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// `builtin:<name>`, `oci://<host>/<repository>`, `oci-layout://<folder>`, `file://<path>` or a path.
    pub reference: String,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
    /// Whether a tag stands for what it stands for now, and not for what it stood for when it was first used.
    pub newest: bool,
    /// What it is to be used as.
    pub kind: &'static str,
}

impl Wanted {
    /// What a reference stood for when it was first used.
    #[must_use]
    pub fn locked(kind: &'static str, reference: &str, signed_as: Option<&str>) -> Self {
        Self { reference: reference.to_owned(), signed_as: signed_as.map(str::to_owned), newest: false, kind }
    }

    /// What a reference stands for now.
    #[must_use]
    pub fn newest(kind: &'static str, reference: &str, signed_as: Option<&str>) -> Self {
        Self { newest: true, ..Self::locked(kind, reference, signed_as) }
    }
}

/// A component as it was found.
#[derive(Debug)]
pub struct Found {
    /// Its bytes, with the digest that they were verified to have.
    pub binary: Binary<'static>,
    /// Where it came from.
    pub origin: Origin,
}

/// Kinds of places where plugins come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Source {
    /// It is part of the program.
    Builtin,
    /// It is a file of the operator's.
    #[default]
    File,
    /// It is an artifact of a registry or of a layout.
    Oci,
}

impl Source {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::File => "file",
            Self::Oci => "oci",
        }
    }

    /// What a word stands for; a file is trusted least.
    fn of(word: &str) -> Self {
        [Self::Builtin, Self::Oci].into_iter().find(|source| source.as_str() == word).unwrap_or_default()
    }
}

/// Where a component came from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// The kind of place.
    pub source: Source,
    /// The reference that led to it.
    pub reference: String,
    /// The repository that its signature was to be about, if that was another than the reference's.
    pub signed_as: Option<String>,
    /// The digest of its manifest, if it has one.
    pub manifest: Option<String>,
    /// The repository that it was published in, if it was.
    pub repository: Option<String>,
    /// The id of the key that signed it, if one did.
    pub signer: Option<String>,
    /// The version that its manifest says, if it is one.
    pub version: Option<Version>,
}

impl Origin {
    /// A place without a repository.
    #[must_use]
    pub fn new(source: Source, reference: &str) -> Self {
        Self { source, reference: reference.to_owned(), ..Self::default() }
    }

    /// What is kept of it.
    #[must_use]
    pub fn came(&self) -> Came {
        let Self { source, reference, signed_as, manifest, repository, signer, version } = self.clone();
        let (source, version) = (source.as_str().to_owned(), version.map(|version| version.to_string()));
        Came { source, reference, signed_as, manifest, repository, signer, version }
    }
}

impl From<&Came> for Origin {
    fn from(came: &Came) -> Self {
        let Came { source, reference, signed_as, manifest, repository, signer, version } = came.clone();
        let version = version.and_then(|version| version.parse().ok());
        Self { source: Source::of(&source), reference, signed_as, manifest, repository, signer, version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_it_was_when_it_was_kept() {
        let origin = Origin {
            source: Source::Oci,
            reference: "oci://h/p:1".to_owned(),
            signed_as: Some("h/q".to_owned()),
            manifest: Some("sha256:00".to_owned()),
            repository: Some("h/q".to_owned()),
            signer: Some("release".to_owned()),
            version: Some(Version::new(1, 2, 3)),
        };
        assert_eq!(Origin::from(&origin.came()), origin);
        for source in [Source::Builtin, Source::File] {
            let origin = Origin::new(source, "x");
            assert_eq!(Origin::from(&origin.came()), origin);
        }
    }
}
