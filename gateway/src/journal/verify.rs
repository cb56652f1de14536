//! Reads the whole journal of a stopped gateway and counts; nothing is changed.

use std::path::Path;

use causeway_core::record::HeaderError;

use super::Position;
use super::disk::{Directory, Disk};
use super::recover::{Candidate, OpenError, SUFFIX, candidate, io_error, segment_name};
use super::scan::{Found, Scan};
use super::segment::RECORDS;

/// What a journal holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Files with records.
    pub segments: usize,
    /// Whole records.
    pub records: u64,
    /// Records that were on disk and are not readable any more.
    pub damaged: u64,
    /// Files that were set aside, or of which nothing can be told.
    pub unreadable: usize,
    /// The last position.
    pub last: Position,
}

/// Reads every segment of a journal that no gateway uses. A journal that was never made has no records.
///
/// # Errors
/// It is in use, of a newer version, or cannot be read.
pub fn verify(path: &Path) -> Result<Verified, OpenError> {
    let mut verified = Verified::default();
    if !path.exists() {
        return Ok(verified);
    }
    let disk = Directory::lock(path.to_path_buf()).map_err(|source| io_error("directory", source))?;
    let disk = disk.ok_or(OpenError::InUse)?;
    let mut names = disk.list().map_err(|source| io_error("directory", source))?;
    names.sort_unstable();
    verified.unreadable = names.iter().filter(|name| name.ends_with(".damaged")).count();
    for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
        segment(&disk, name, &mut verified)?;
    }
    Ok(verified)
}

fn segment(disk: &dyn Disk, name: &str, verified: &mut Verified) -> Result<(), OpenError> {
    let failed = |source| io_error(name, source);
    let Candidate { file, size, header } = candidate(disk, name)?;
    // As at a start: a name that is not the header's is that of a file which was taken for reuse.
    let header = match header {
        Ok(header) if segment_name(header.first) != name => return Ok(()),
        Ok(header) => header,
        Err(source @ HeaderError::Newer(_)) => return Err(OpenError::Newer { file: name.to_owned(), source }),
        Err(HeaderError::Damaged) => {
            verified.unreadable += 1;
            return Ok(());
        }
    };
    verified.segments += 1;
    let mut scan = Scan::new(file, header.epoch, RECORDS, size, header.after);
    loop {
        match scan.next().map_err(failed)? {
            Found::Record { head, .. } => {
                verified.records += 1;
                verified.last = verified.last.max(head.position);
            }
            Found::Damaged(hole) => verified.damaged += hole.records,
            Found::End { .. } => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prometheus_client::registry::Registry;

    use super::super::{Journal, JournalConfig, JournalMetrics, Kind};
    use super::*;

    #[test]
    fn whole_and_damaged_records_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal");
        assert_eq!(verify(&path).unwrap(), Verified::default());
        assert!(!path.exists());
        let metrics = JournalMetrics::new(&mut Registry::default());
        let (journal, _) = Journal::open(&path, &JournalConfig::default(), metrics).unwrap();
        for _ in 0..20 {
            journal.append(Kind::Publish, Bytes::from_static(&[5; 300])).unwrap();
        }
        assert!(matches!(verify(&path), Err(OpenError::InUse)));
        journal.shutdown();
        drop(journal);
        let whole = verify(&path).unwrap();
        assert_eq!((whole.records, whole.damaged, whole.last), (20, 0, 20));

        let segment = path.join(segment_name(1));
        // A file whose name was lost while it was taken for reuse: the next start removes it.
        std::fs::copy(&segment, path.join(segment_name(900))).unwrap();
        assert_eq!(verify(&path).unwrap(), whole);
    }
}
