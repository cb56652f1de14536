//! How long to wait before a request is sent again. Pure.

use std::time::Duration;

use super::error::Again;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// A peer that wants to be left alone for longer is asked again another time, by whoever needs it.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// How long to wait before the attempt after `failed` attempts; `None`: not again. `random` spreads the gateways of a
/// fleet, so that a registry that comes back is not asked by all of them at once.
pub(super) fn pause(failed: u32, again: Again, random: u32) -> Option<Duration> {
    let longest = FIRST.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST);
    let jittered = longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX));
    match again {
        Again::Never => None,
        Again::Soon => Some(jittered),
        Again::After(asked) if asked > LONGEST_ASKED => None,
        Again::After(asked) => Some(asked.max(jittered)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_spread_over_half_of_their_length() {
        let at = |failed, random| pause(failed, Again::Soon, random).unwrap().as_millis();
        assert_eq!((at(1, 0), at(1, u32::MAX)), (125, 250));
        assert_eq!((at(2, 0), at(2, u32::MAX)), (250, 500));
        assert_eq!((at(20, 0), at(u32::MAX, u32::MAX)), (5_000, 10_000));
    }

    #[test]
    fn a_peer_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let after = |seconds| pause(1, Again::After(Duration::from_secs(seconds)), 0);
        assert_eq!(after(0), Some(Duration::from_millis(125)));
        assert_eq!(after(7), Some(Duration::from_secs(7)));
        assert_eq!(after(31), None);
        assert_eq!(pause(1, Again::Never, 0), None);
    }
}
