//! Components by digest: the versions that a binding may have to go back to, wherever they came from.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use causeway_host::Digest;

/// A folder with one file for each component, named by its digest.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Keeps a component; a crash leaves all of it or nothing.
    pub(super) fn keep(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// A component, if it is there and has this digest.
    pub(super) fn get(&self, digest: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(digest)) {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| Digest::of(bytes).to_string() == digest)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes every component that is not among `digests`.
    pub(super) fn retain(&self, digests: &[String]) -> io::Result<()> {
        let wanted: Vec<_> = digests.iter().map(|digest| self.path(digest)).collect();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if !wanted.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> PathBuf {
        let name: String = digest.chars().filter(char::is_ascii_alphanumeric).collect();
        self.0.join(name).with_extension("wasm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_found_by_its_digest_unless_it_was_changed() {
        let home = tempfile::tempdir().unwrap();
        let kept = Kept::open(&home.path().join("components")).unwrap();
        let (one, two) = (Digest::of(b"one").to_string(), Digest::of(b"two").to_string());
        kept.keep(&one, b"one").unwrap();
        kept.keep(&two, b"two").unwrap();
        assert_eq!(kept.get(&one).unwrap().as_deref(), Some(&b"one"[..]));
        fs::write(kept.path(&two), b"other").unwrap();
        assert_eq!(kept.get(&two).unwrap(), None);
        kept.retain(std::slice::from_ref(&one)).unwrap();
        assert!(kept.path(&one).exists() && !kept.path(&two).exists());
    }
}
