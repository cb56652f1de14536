//! How much of a long job one transaction may do, so that no other write waits for long.

use std::time::{Duration, Instant};

/// The rest of one transaction's share of a job.
#[derive(Debug)]
pub struct Slice {
    rows: u64,
    until: Option<Instant>,
}

impl Slice {
    /// So many rows, however long they take.
    #[must_use]
    pub const fn rows(rows: u64) -> Self {
        Self { rows, until: None }
    }

    /// So many rows at most, and none that begins after this time.
    #[must_use]
    pub fn within(rows: u64, time: Duration) -> Self {
        Self { rows, until: Some(Instant::now() + time) }
    }

    /// How many rows to do next, `chunk` at most; none when the share is used up.
    pub fn take(&mut self, chunk: u64) -> u64 {
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        let granted = if late { 0 } else { self.rows.min(chunk) };
        self.rows -= granted;
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_used_up_by_rows_or_by_time() {
        let mut slice = Slice::rows(20);
        assert_eq!([16, 16, 16].map(|chunk| slice.take(chunk)), [16, 4, 0]);
        assert_eq!(Slice::within(20, Duration::ZERO).take(16), 0);
        assert_eq!(Slice::within(20, Duration::from_secs(3600)).take(16), 16);
    }
}
