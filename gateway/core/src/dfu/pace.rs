//! How fast a transfer goes: a rate over the last moments, and how long the rest will take at it.

use std::collections::VecDeque;

/// Moments that are remembered.
const MOMENTS: usize = 8;

/// Time between two of them, in milliseconds.
const SPACING_MS: u64 = 4_000;

/// The last moments of a transfer: when, and how many bytes had gone out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pace {
    moments: VecDeque<(u64, u64)>,
}

impl Pace {
    /// So many bytes have gone out since the transfer began.
    pub fn note(&mut self, bytes: u64, now_ms: u64) {
        let due = self.moments.back().is_none_or(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= SPACING_MS);
        if due {
            if self.moments.len() >= MOMENTS {
                self.moments.pop_front();
            }
            self.moments.push_back((now_ms, bytes));
        }
    }

    /// Bytes in a second, when `bytes` have gone out until now; none before there is anything to measure.
    #[must_use]
    pub fn rate(&self, bytes: u64, now_ms: u64) -> Option<u64> {
        let (at_ms, before) = self.moments.front()?;
        let millis = now_ms.checked_sub(*at_ms).filter(|millis| *millis > 0)?;
        let rate = u128::from(bytes.saturating_sub(*before)) * 1_000 / u128::from(millis);
        u64::try_from(rate).ok()
    }

    /// Milliseconds until `left` bytes have gone out, when `bytes` have until now.
    #[must_use]
    pub fn left_ms(&self, left: u64, bytes: u64, now_ms: u64) -> Option<u64> {
        let rate = self.rate(bytes, now_ms).filter(|rate| *rate > 0)?;
        u64::try_from(u128::from(left) * 1_000 / u128::from(rate)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_moments() {
        let mut pace = Pace::default();
        assert_eq!((pace.rate(0, 1_000), pace.left_ms(10, 0, 1_000)), (None, None));
        pace.note(0, 1_000);
        assert_eq!(pace.rate(0, 1_000), None, "no time has passed");
        assert_eq!(pace.rate(500, 1_500), Some(1_000));
        assert_eq!(pace.left_ms(2_000, 500, 1_500), Some(2_000));
        for second in 0..60 {
            pace.note(10 * second, 2_000 + 1_000 * second);
        }
        assert_eq!(pace.rate(590, 61_000), Some(10), "the fast beginning is long past");
    }

    #[test]
    fn a_transfer_that_stands_still_has_no_end() {
        let mut pace = Pace::default();
        pace.note(100, 1_000);
        assert_eq!((pace.rate(100, 2_000), pace.left_ms(5, 100, 2_000)), (Some(0), None));
    }

    proptest! {
        #[test]
        fn no_numbers_make_it_fail_and_its_memory_is_bounded(notes in proptest::collection::vec(any::<(u64, u64)>(), 0..100)) {
            let mut pace = Pace::default();
            for (bytes, now_ms) in notes {
                pace.note(bytes, now_ms);
                let _ = (pace.rate(bytes, now_ms), pace.left_ms(bytes, now_ms, now_ms));
                prop_assert!(pace.moments.len() <= MOMENTS);
            }
        }
    }
}
