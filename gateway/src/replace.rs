//! A file that is replaced in one step: whoever reads it, and whatever ends the process, sees the old content or the new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// For its owner alone.
pub(crate) const OWNER: u32 = 0o600;

/// For everybody, as far as the process's umask lets them.
pub(crate) const ALL: u32 = 0o666;

/// Writes a file whole and synced under its name; `prepare` sees it before anything is in it.
///
/// # Errors
/// What the system says; the file is what it was.
pub(crate) fn replace(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // What a process of the same number left, or somebody else put there, is not written into.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        prepare(&file)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| drop(fs::remove_file(&draft)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_new_as_a_whole_or_what_it_was_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        replace(&path, b"old", OWNER, |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let failed = replace(&path, b"new", OWNER, |_| Err(io::Error::other("no")));
        assert!(failed.is_err() && fs::read(&path).unwrap() == b"old");
        replace(&path, b"new", OWNER, |_| Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_its_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("key"), folder.path().join("other"));
        fs::write(&other, "other").unwrap();
        let draft = folder.path().join(format!(".key.{}.new", std::process::id()));
        std::os::unix::fs::symlink(&other, draft).unwrap();
        replace(&path, b"new", OWNER, |_| Ok(())).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"other".to_vec()));
    }
}
