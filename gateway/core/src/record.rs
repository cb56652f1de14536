//! The framing of the journal: segment headers and records, encoded to bytes and read back with suspicion.
//!
//! Nothing here touches a file: the journal's disk layer hands over bytes and acts on what is found in them.
//! Every segment has a random epoch that is mixed into each checksum, so that a record left over in a recycled
//! file, or one smuggled in as the payload of another, is never taken for a record of the segment.
//! A record's head has a checksum of its own: when only a body is damaged, the scan knows which record was hit and
//! where the next one starts.

mod segment;

pub use segment::{COPY_AT, HEADER_LEN, HeaderError, RECORDS_AT, SegmentHeader};

use bytes::BufMut;

/// The version of the record's layout, written into each record.
const FORMAT: u8 = 1;

/// Bytes before a record's body.
pub const HEAD_LEN: usize = 28;

/// Records start at multiples of this, so that a search for the next record looks at one place in eight.
pub const ALIGN: usize = 8;

/// The largest body that a record can have.
pub const MAX_BODY: usize = 512 << 20;

/// What stands in front of a record's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Length of the body in bytes.
    pub len: u32,
    /// Checksum of the body.
    body_crc: u32,
    /// The record's position: later records have higher ones.
    pub position: u64,
    /// Unix seconds at which the record was accepted.
    pub seconds: u32,
    /// What the body is; the journal does not look inside.
    pub kind: u8,
    /// The record's place in the batch that was written and synced together, from 0.
    /// When a record is whole, everything before the start of its batch had been synced before.
    pub nth: u16,
}

impl Head {
    /// Returns the bytes that the whole record takes in the segment, padding included.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        frame_len(self.len as usize)
    }

    /// Returns the position of the first record of this record's batch.
    #[must_use]
    pub fn batch_start(&self) -> u64 {
        self.position.saturating_sub(u64::from(self.nth))
    }

    /// Tells whether `body` is what was written behind this head.
    #[must_use]
    pub fn vouches_for(&self, body: &[u8], epoch: Epoch) -> bool {
        body.len() == self.len as usize && crc32c::crc32c_append(epoch.seed(), body) == self.body_crc
    }
}

/// The random number of a segment, mixed into all its checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    fn seed(self) -> u32 {
        crc32c::crc32c(&self.0.to_le_bytes())
    }
}

/// Returns the bytes that a record with a body of `body_len` takes in a segment.
#[must_use]
pub fn frame_len(body_len: usize) -> usize {
    (HEAD_LEN + body_len).next_multiple_of(ALIGN)
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The record's position.
    pub position: u64,
    /// Unix seconds at which it was accepted.
    pub seconds: u32,
    /// What the body is.
    pub kind: u8,
    /// Its place in the batch.
    pub nth: u16,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Appends the record's frame to `out`.
    pub fn encode(&self, epoch: Epoch, out: &mut Vec<u8>) {
        let seed = epoch.seed();
        let start = out.len();
        out.put_u32_le(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        out.put_u32_le(crc32c::crc32c_append(seed, self.body));
        out.put_u64_le(self.position);
        out.put_u32_le(self.seconds);
        out.put_u8(FORMAT);
        out.put_u8(self.kind);
        out.put_u16_le(self.nth);
        let head_crc = crc32c::crc32c_append(seed, out.get(start..).unwrap_or_default());
        out.put_u32_le(head_crc);
        out.extend_from_slice(self.body);
        out.resize(start + frame_len(self.body.len()), 0);
    }
}

/// Reads the head at the start of `bytes`; `None` when there is no intact head of this epoch.
#[must_use]
pub fn read_head(bytes: &[u8], epoch: Epoch) -> Option<Head> {
    let (head, _) = bytes.split_first_chunk::<HEAD_LEN>()?;
    let [
        l0,
        l1,
        l2,
        l3,
        b0,
        b1,
        b2,
        b3,
        p0,
        p1,
        p2,
        p3,
        p4,
        p5,
        p6,
        p7,
        s0,
        s1,
        s2,
        s3,
        format,
        kind,
        n0,
        n1,
        crc @ ..,
    ] = *head;
    // The format byte first: it turns zero-filled space and most other bytes away before anything is summed up.
    if format != FORMAT {
        return None;
    }
    let summed = head.split_last_chunk::<4>().map(|(summed, _)| summed)?;
    if crc32c::crc32c_append(epoch.seed(), summed) != u32::from_le_bytes(crc) {
        return None;
    }
    let head = Head {
        len: u32::from_le_bytes([l0, l1, l2, l3]),
        body_crc: u32::from_le_bytes([b0, b1, b2, b3]),
        position: u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
        seconds: u32::from_le_bytes([s0, s1, s2, s3]),
        kind,
        nth: u16::from_le_bytes([n0, n1]),
    };
    (head.len as usize <= MAX_BODY).then_some(head)
}

/// Returns the offset in `bytes` of the first intact head of this epoch with a position above `after`.
///
/// Only multiples of [`ALIGN`] are looked at, so `bytes` has to start at one.
#[must_use]
pub fn find_head(bytes: &[u8], epoch: Epoch, after: u64) -> Option<(usize, Head)> {
    (0..bytes.len().saturating_sub(HEAD_LEN - 1)).step_by(ALIGN).find_map(|at| {
        let head = read_head(bytes.get(at..)?, epoch)?;
        (head.position > after).then_some((at, head))
    })
}

#[cfg(test)]
mod tests;
