//! Latencies in buckets of 3 % width: constant memory, no allocation while measuring.

use serde_json::{Value, json};

const STEPS: usize = 32;
const BUCKETS: usize = 64 * STEPS;

/// How often each latency was seen, in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `share` of all stay below, in milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(at).min(self.max) as f64 / 1e6;
            }
        }
        0.0
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "count": self.total, "p50": self.percentile(0.5), "p99": self.percentile(0.99),
            "p999": self.percentile(0.999), "max": self.max as f64 / 1e6,
        })
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let exponent = 63 - nanos.leading_zeros() as usize;
    let step = (nanos >> (exponent - 5)) as usize & (STEPS - 1);
    (exponent - 4) * STEPS + step
}

/// The end of a bucket.
fn upper(at: usize) -> u64 {
    if at < STEPS {
        return at as u64;
    }
    let (exponent, step) = (at / STEPS + 4, at % STEPS);
    ((STEPS + step + 1) as u64) << (exponent - 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_four_percent() {
        let mut histogram = Histogram::new();
        for n in 1..=100_000_u64 {
            histogram.record(n * 1000);
        }
        for (share, expected) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let seen = histogram.percentile(share);
            assert!((expected..expected * 1.04).contains(&seen), "{share}: {seen}");
        }
    }
}
