//! Durations (`10s`, `500ms`) and sizes (`64MiB`) as an operator writes them.
//!
//! Both always carry a unit and both print back exactly: what is printed parses to the same value.

use std::fmt;
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

impl Size {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index of memory; saturates where a pointer is smaller than 64 bits.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }
}

const SIZES: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |unit: &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(unit.1);
        let (unit, factor) = SIZES.iter().find(exact).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

const NANOS_PER_MILLI: u128 = 1_000_000;
const DURATIONS: [(&str, u128); 6] = [
    ("d", 86_400_000 * NANOS_PER_MILLI),
    ("h", 3_600_000 * NANOS_PER_MILLI),
    ("m", 60_000 * NANOS_PER_MILLI),
    ("s", 1_000 * NANOS_PER_MILLI),
    ("ms", NANOS_PER_MILLI),
    ("us", 1_000),
];

/// Parses a size such as `64MiB`.
pub fn parse_size(text: &str) -> Option<Size> {
    let (count, unit) = split(text)?;
    let factor = SIZES.iter().find(|known| known.0 == unit)?.1;
    count.checked_mul(factor).map(Size)
}

/// Parses a duration such as `10s` or `1h30m`, down to microseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let end = rest.get(unit_at..)?.find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| unit_at + at);
        let (count, unit) = split(rest.get(..end)?)?;
        let factor = DURATIONS.iter().find(|known| known.0 == unit)?.1;
        nanos = nanos.checked_add(u128::from(count) * factor)?;
        rest = rest.get(end..)?;
    }
    let seconds = u64::try_from(nanos / (1_000 * NANOS_PER_MILLI)).ok()?;
    let below = u32::try_from(nanos % (1_000 * NANOS_PER_MILLI)).ok()?;
    (!text.is_empty()).then(|| Duration::new(seconds, below))
}

/// Prints a duration in the largest unit that leaves no rest, down to microseconds.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let exact = |unit: &&(&str, u128)| nanos > 0 && nanos.is_multiple_of(unit.1);
    match DURATIONS.iter().find(exact) {
        Some((unit, factor)) => format!("{}{unit}", nanos / factor),
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{}us", nanos / 1_000),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at_checked(unit_at)?;
    Some((count.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_durations_need_a_unit() {
        assert_eq!(parse_size("64MiB"), Some(Size::mib(64)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5_400)));
        for wrong in ["", "64", "MiB", "64MB", "6 4MiB", "-1s", "1.5s", "10", "s", "10s5", "99999999999999999999s"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_parses_to_itself(bytes in any::<u64>(), shift in 0u32..50) {
            let size = Size(bytes >> shift << (shift / 2));
            prop_assert_eq!(parse_size(&size.to_string()), Some(size));
        }

        #[test]
        fn a_printed_duration_parses_to_itself(micros in any::<u64>(), unit in 0usize..6) {
            let duration = Duration::from_micros(micros % 1_000_000) * u32::try_from(DURATIONS[unit].1 / 1_000 % 100_000).unwrap();
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*", numbers in "[0-9a-zA-Z]{0,30}") {
            for text in [text, numbers] {
                let _ = (parse_size(&text), parse_duration(&text));
            }
        }
    }
}
