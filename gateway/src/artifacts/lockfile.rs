//! The lockfile: which digest a tag stands for on this gateway.
//!
//! A small YAML file that can be read, compared and carried about. It is written in one step and the same way each time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::Digest;
use super::files::{self, FileError};
use super::reference::Reference;

const VERSION: u64 = 1;

/// The largest lockfile that is read.
const MAX_BYTES: u64 = 1 << 20;

const HEAD: &str = "# Which digests the tags of plugins and firmware stand for here. Written by causeway; `causeway plugin lock` and `causeway firmware pin` renew it.\n";

/// A lockfile cannot be used; one line with the remedy.
#[derive(Debug, Error)]
pub enum LockfileError {
    /// It is not one.
    #[error("{path} is no lockfile: {reason}; mend it, or delete it and run `causeway plugin lock`", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// It cannot be written.
    #[error("{path}: the lockfile cannot be written: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What tags stand for, by reference.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lockfile(pub BTreeMap<Reference, Digest>);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u64,
    plugins: BTreeMap<String, String>,
}

impl Lockfile {
    /// Reads a lockfile; one that is not there says nothing.
    ///
    /// # Errors
    /// [`LockfileError`].
    pub fn read(path: &Path) -> Result<Self, LockfileError> {
        let Some(file) = files::open_regular(path)? else { return Ok(Self::default()) };
        let bytes = files::read_bounded(file, path, MAX_BYTES)?;
        Self::parse(&bytes).map_err(|reason| LockfileError::Content { path: path.to_owned(), reason })
    }

    /// Writes it in one step.
    ///
    /// # Errors
    /// [`LockfileError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), LockfileError> {
        let written = files::replace(path, self.to_text().as_bytes());
        written.map_err(|source| LockfileError::Write { path: path.to_owned(), source })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_yaml::from_slice(bytes).map_err(|error| error.to_string())?;
        if raw.version != VERSION {
            return Err(format!("its version is {} and not {VERSION}", raw.version));
        }
        let entry = |(reference, digest): (String, String)| {
            let reference = reference.parse::<Reference>().map_err(|error| error.to_string())?;
            Ok((reference, digest.parse::<Digest>().map_err(|error| error.to_string())?))
        };
        raw.plugins.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    fn to_text(&self) -> String {
        let plugins = self.0.iter().map(|(reference, digest)| (reference.to_string(), digest.to_string())).collect();
        // Texts and a number alone: there is nothing that YAML does not take.
        HEAD.to_owned() + &serde_yaml::to_string(&Raw { version: VERSION, plugins }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lockfile() -> Lockfile {
        let entry = |name: &str| (name.parse().unwrap(), Digest::of(name.as_bytes()));
        Lockfile(["oci://r.lan:5000/b:1", "oci-layout:///srv/stick:2", "oci://r.lan/a:latest"].map(entry).into())
    }

    #[test]
    fn a_lockfile_is_written_the_same_way_each_time_and_reads_back() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("plugins.lock");
        assert_eq!(Lockfile::read(&path).unwrap(), Lockfile::default());
        lockfile().write(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert_eq!(Lockfile::read(&path).unwrap(), lockfile());
        Lockfile::read(&path).unwrap().write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        let text = String::from_utf8(first).unwrap();
        assert!(text.contains("\nversion: 1\nplugins:\n") && text.contains("oci://r.lan:5000/b:1: sha256:"), "{text}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_lockfile_is_refused_with_its_name_and_a_remedy() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("plugins.lock");
        let refused = |text: &str, words: &str| {
            std::fs::write(&path, text).unwrap();
            let told = Lockfile::read(&path).unwrap_err().to_string();
            assert!(told.contains(words) && told.contains("plugins.lock"), "{told}");
        };
        refused("", "no lockfile");
        refused("version: 2\nplugins: {}\n", "its version is 2");
        refused("version: 1\nplugins: {\"oci://r.lan/a:1\": sha256:00}\n", "no digest");
        refused("version: 1\nplugins: {\"https://r.lan/a:1\": sha256:00}\n", "no scheme");
        refused("version: 1\nplugins: {}\nmore: 1\n", "more");
        refused(&"#".repeat(2 << 20), "1048576 at most");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(Lockfile::read(&path).unwrap_err().to_string().contains("no regular file"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>(), text in "[a-z:/@{}\\[\\]&*! \n-]{0,80}") {
            let _ = (Lockfile::parse(&bytes), Lockfile::parse(text.as_bytes()));
            let _ = Lockfile::parse(format!("version: 1\nplugins: {text}").as_bytes());
        }
    }
}
