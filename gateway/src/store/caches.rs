//! Files that can be made again: beyond their share of the budget those that were written first are removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders of the data directory whose files can be made again.
const FOLDERS: [&str; 1] = ["plugins/compiled"];

/// What is there and what was removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pruned {
    pub(super) bytes: u64,
    pub(super) removed: u64,
}

/// Removes the oldest files until the rest has `max_bytes` at most. A file that is in use stays readable for whoever
/// has it open.
pub(super) fn prune(data_dir: &Path, max_bytes: u64) -> Pruned {
    let mut files: Vec<_> = FOLDERS.iter().flat_map(|folder| files(&data_dir.join(folder))).collect();
    files.sort_unstable();
    let mut pruned = Pruned { bytes: files.iter().map(|(_, bytes, _)| bytes).sum(), removed: 0 };
    for (_, bytes, path) in files {
        if pruned.bytes <= max_bytes {
            break;
        }
        match fs::remove_file(&path) {
            Ok(()) => {
                pruned.bytes -= bytes;
                pruned.removed += 1;
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "a cached file could not be removed"),
        }
    }
    pruned
}

/// When each file of a folder was written, its bytes and its path. A folder that is not there has none.
fn files(folder: &Path) -> Vec<(SystemTime, u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((metadata.modified().ok()?, metadata.len(), entry.path()))
    };
    entries.filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_files_beyond_the_share_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("plugins/compiled");
        fs::create_dir_all(folder.join("inner")).unwrap();
        for (age, name) in ["new", "older", "oldest"].into_iter().enumerate() {
            let path = folder.join(name);
            fs::write(&path, [0; 100]).unwrap();
            let written = SystemTime::now() - Duration::from_secs(1000 * age as u64);
            fs::File::options().append(true).open(path).unwrap().set_modified(written).unwrap();
        }
        assert_eq!(prune(home.path(), 300), Pruned { bytes: 300, removed: 0 });
        assert_eq!(prune(home.path(), 150), Pruned { bytes: 100, removed: 2 });
        assert!(folder.join("new").exists() && folder.join("inner").exists());
        assert_eq!(prune(&home.path().join("nowhere"), 0), Pruned::default());
    }
}
