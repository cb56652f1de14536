//! The header of a segment: which epoch its records belong to and which positions it covers.
//!
//! It is written twice, half a page apart, so that one flipped bit does not hide a whole segment, and the records
//! start on the next page, so that appending never rewrites the header's sectors.

use bytes::BufMut;
use thiserror::Error;

use super::Epoch;

const MAGIC: [u8; 7] = *b"CWJOURN";

/// The version of the segment's layout, written behind the magic bytes.
const VERSION: u8 = 1;

/// Bytes of one copy of the header.
pub const HEADER_LEN: usize = 52;

/// Where the second copy stands.
pub const COPY_AT: usize = 2048;

/// Where the records start.
pub const RECORDS_AT: usize = 4096;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Mixed into the checksums of all its records.
    pub epoch: Epoch,
    /// The last position before the range that the segment stands for.
    pub after: u64,
    /// No record of the segment has a lower position. Above `after + 1` when positions were skipped.
    pub first: u64,
    /// For a compacted segment, the last position of the range that it stands for; 0 when the segment was written by
    /// appending and ends where the next one begins.
    pub upto: u64,
    /// Unix seconds at which it was begun.
    pub seconds: u32,
}

/// Why bytes are not a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Neither copy is intact.
    #[error("neither copy of the segment's header is intact")]
    Damaged,
    /// An intact header of a version that this program does not know.
    #[error("written by a newer version of the program (layout {0}, this program knows {VERSION})")]
    Newer(u8),
}

impl SegmentHeader {
    /// Returns the first page of the segment: both copies, the rest zero.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_LEN);
        copy.put_slice(&MAGIC);
        copy.put_u8(VERSION);
        copy.put_u64_le(self.epoch.0);
        copy.put_u64_le(self.after);
        copy.put_u64_le(self.first);
        copy.put_u64_le(self.upto);
        copy.put_u32_le(self.seconds);
        copy.put_u32_le(0);
        copy.put_u32_le(crc32c::crc32c(&copy));
        let mut page = copy.clone();
        page.resize(COPY_AT, 0);
        page.extend_from_slice(&copy);
        page.resize(RECORDS_AT, 0);
        page
    }

    /// Reads the header from the first page of a segment.
    ///
    /// # Errors
    /// When neither copy is intact, or when a newer program wrote it.
    pub fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        let copies = [page, page.get(COPY_AT..).unwrap_or_default()];
        let mut newer = None;
        for copy in copies {
            match decode_copy(copy) {
                Some((VERSION, header)) => return Ok(header),
                Some((version, _)) => newer = Some(version),
                None => {}
            }
        }
        Err(newer.map_or(HeaderError::Damaged, HeaderError::Newer))
    }
}

fn decode_copy(bytes: &[u8]) -> Option<(u8, SegmentHeader)> {
    let (copy, _) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let (summed, crc) = copy.split_last_chunk::<4>()?;
    if crc32c::crc32c(summed) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (magic, rest) = summed.split_first_chunk::<7>()?;
    let (version, rest) = rest.split_first()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (after, rest) = rest.split_first_chunk::<8>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (upto, rest) = rest.split_first_chunk::<8>()?;
    let (seconds, _) = rest.split_first_chunk::<4>()?;
    let header = SegmentHeader {
        epoch: Epoch(u64::from_le_bytes(*epoch)),
        after: u64::from_le_bytes(*after),
        first: u64::from_le_bytes(*first),
        upto: u64::from_le_bytes(*upto),
        seconds: u32::from_le_bytes(*seconds),
    };
    (*magic == MAGIC).then_some((*version, header))
}
