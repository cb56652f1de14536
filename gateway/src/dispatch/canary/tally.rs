//! Holds what a shadow made of inputs against what the binding's version made of them: counts, and the last differences,
//! bounded in number and bytes.
//!
//! Without the operator's word nothing of a payload is kept: a difference names its input and which parts differ.

use std::collections::VecDeque;

use serde_json::Value as Json;

use crate::recording::{Input, Outcome, Played, Version, differing, same};

/// What came of one input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Both made the same of it.
    Equal,
    /// They did not.
    Different,
    /// The shadow asked what the binding's version had not asked: its outcome says nothing.
    NotComparable,
    /// The shadow did not return, and the binding's version had.
    Trapped,
}

impl Verdict {
    fn of(recorded: &Outcome, played: &Played) -> Self {
        let trap = |outcome: &Outcome| matches!(outcome, Outcome::Trap { .. });
        match () {
            () if !played.unanswered.is_empty() => Self::NotComparable,
            () if same(recorded, &played.outcome) => Self::Equal,
            () if trap(&played.outcome) && !trap(recorded) => Self::Trapped,
            () => Self::Different,
        }
    }
}

/// How many inputs, by what came of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CanaryCounts {
    /// Both versions made the same of them.
    pub equal: u64,
    /// They made something else.
    pub different: u64,
    /// The canary asked for what the binding's version had not asked for.
    pub not_comparable: u64,
    /// Only the canary did not return.
    pub trapped: u64,
}

impl CanaryCounts {
    /// All of them.
    #[must_use]
    pub const fn inputs(&self) -> u64 {
        self.equal + self.different + self.not_comparable + self.trapped
    }

    const fn of(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Equal => &mut self.equal,
            Verdict::Different => &mut self.different,
            Verdict::NotComparable => &mut self.not_comparable,
            Verdict::Trapped => &mut self.trapped,
        }
    }
}

/// An input of which the versions did not make the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its number since the counting began, from 1.
    pub number: u64,
    /// Its topic.
    pub topic: String,
    /// Its sender.
    pub sender: String,
    /// The unit of order that it belongs to.
    pub key: String,
    /// When it was received, Unix ms.
    pub received_ms: u64,
    /// What differs, without values.
    pub what: Vec<String>,
    /// What the binding's version and the canary made of it, if the configuration wants it kept.
    pub outcomes: Option<(Json, Json)>,
    bytes: usize,
}

/// What is kept of differences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) most: usize,
    pub(super) bytes: usize,
    pub(super) outcomes: bool,
}

/// The comparison with one version of the binding's plugin.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    keep: Keep,
    pub(super) against: Version,
    pub(super) since_ms: u64,
    pub(super) counts: CanaryCounts,
    pub(super) differences: VecDeque<Difference>,
    bytes: usize,
}

impl Tally {
    pub(super) fn new(keep: Keep, now_ms: u64) -> Self {
        let (against, counts) = (Version::default(), CanaryCounts::default());
        Self { keep, against, since_ms: now_ms, counts, differences: VecDeque::new(), bytes: 0 }
    }

    /// Whether an outcome of this version is to be compared. With a newer version the counting begins anew; what an older
    /// one still did, in another partition, says nothing about it.
    pub(super) fn concerns(&mut self, version: &Version, now_ms: u64) -> bool {
        if version.digest == self.against.digest {
            self.against.number = self.against.number.max(version.number);
            return true;
        }
        let newer = version.number > self.against.number;
        if newer {
            *self = Self { against: version.clone(), ..Self::new(self.keep, now_ms) };
        }
        newer
    }

    /// Counts an input.
    pub(super) fn count(&mut self, input: &Input, played: &Played) -> Verdict {
        let verdict = Verdict::of(&input.outcome, played);
        *self.counts.of(verdict) += 1;
        if matches!(verdict, Verdict::Different | Verdict::Trapped) {
            self.remember(input, &played.outcome);
        }
        verdict
    }

    fn remember(&mut self, input: &Input, outcome: &Outcome) {
        let (one, other) = (&input.outcome, outcome);
        let mut difference = Difference {
            number: self.counts.inputs(),
            topic: input.topic.clone(),
            sender: input.sender.clone(),
            key: input.key.clone(),
            received_ms: input.received_ms,
            what: differing(one, other),
            outcomes: self.keep.outcomes.then(|| (one.json(), other.json())),
            bytes: 0,
        };
        difference.bytes = size(&difference);
        if difference.bytes > self.keep.bytes {
            difference.outcomes = None;
            difference.bytes = size(&difference);
        }
        self.bytes += difference.bytes;
        self.differences.push_back(difference);
        while self.differences.len() > self.keep.most || self.bytes > self.keep.bytes {
            let Some(oldest) = self.differences.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
    }
}

/// About as many bytes as it keeps in memory; of outcomes those of their text.
fn size(difference: &Difference) -> usize {
    let Difference { topic, sender, key, what, outcomes, .. } = difference;
    let told: usize = [topic, sender, key].into_iter().chain(what).map(|text| size_of::<String>() + text.len()).sum();
    let outcomes = outcomes.iter().map(|(one, other)| one.to_string().len() + other.to_string().len());
    size_of::<Difference>() + told + outcomes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::input;

    const KEEP: Keep = Keep { most: 3, bytes: 1 << 20, outcomes: false };

    fn played(outcome: Outcome) -> Played {
        Played { outcome, unanswered: Vec::new(), lines: Vec::new() }
    }

    fn malformed() -> Outcome {
        Outcome::Malformed("a secret".to_owned())
    }

    fn trap() -> Outcome {
        Outcome::Trap { limit: "trap".to_owned(), reason: "r".to_owned() }
    }

    fn version(digest: &str, number: u64) -> Version {
        Version { digest: digest.to_owned(), number }
    }

    fn numbers(tally: &Tally) -> Vec<u64> {
        tally.differences.iter().map(|kept| kept.number).collect()
    }

    #[test]
    fn every_input_is_counted_as_what_came_of_it() {
        let mut tally = Tally::new(KEEP, 5);
        let effects = input("t").outcome;
        let trapped = Input { outcome: trap(), ..input("t") };
        let asked = Played { unanswered: vec!["state n".to_owned()], ..played(malformed()) };
        for (of, came, verdict) in [
            (&input("t"), played(effects.clone()), Verdict::Equal),
            (&input("t"), played(malformed()), Verdict::Different),
            (&input("t"), played(trap()), Verdict::Trapped),
            (&trapped, played(trap()), Verdict::Equal),
            (&trapped, played(effects), Verdict::Different),
            (&input("t"), asked, Verdict::NotComparable),
        ] {
            assert_eq!(tally.count(of, &came), verdict);
        }
        let counts = CanaryCounts { equal: 2, different: 2, not_comparable: 1, trapped: 1 };
        assert_eq!((tally.counts, tally.counts.inputs(), numbers(&tally)), (counts, 6, vec![2, 3, 5]));
        assert!(!format!("{:?}", tally.differences).contains("secret"));
    }

    #[test]
    fn the_last_differences_are_kept_within_their_bounds() {
        let differ = |keep| {
            let mut tally = Tally::new(keep, 5);
            for _ in 0..5 {
                assert_eq!(tally.count(&input("t"), &played(malformed())), Verdict::Different);
            }
            assert_eq!(tally.counts.different, 5);
            tally
        };
        let tally = differ(KEEP);
        assert_eq!(numbers(&tally), [3, 4, 5]);
        assert_eq!(numbers(&differ(Keep { bytes: 2 * size(&tally.differences[0]), ..KEEP })), [4, 5]);
        assert_eq!(numbers(&differ(Keep { bytes: 10, ..KEEP })), [0; 0]);
    }

    #[test]
    fn outcomes_are_kept_only_if_they_are_wanted_and_fit() {
        let differ = |bytes, text: &str| {
            let mut tally = Tally::new(Keep { outcomes: true, bytes, ..KEEP }, 5);
            tally.count(&input("t"), &played(Outcome::Malformed(text.to_owned())));
            tally.differences.pop_front().unwrap().outcomes
        };
        let (one, other) = differ(1 << 20, "a secret").unwrap();
        assert_eq!(one, serde_json::json!({ "effects": [] }));
        assert_eq!(other, serde_json::json!({ "malformed": "a secret" }));
        assert!(differ(2_000, &"x".repeat(5_000)).is_none());
    }

    #[test]
    fn another_version_of_the_binding_begins_the_counting_anew_and_an_older_one_is_passed_over() {
        let mut tally = Tally::new(KEEP, 5);
        assert!(tally.concerns(&version("a", 1), 6));
        tally.count(&input("t"), &played(malformed()));
        assert!(tally.concerns(&version("a", 2), 7));
        assert_eq!((tally.counts.different, tally.since_ms), (1, 6));
        assert!(tally.concerns(&version("b", 3), 8));
        assert_eq!((tally.counts.inputs(), tally.differences.len(), tally.since_ms), (0, 0, 8));
        assert!(!tally.concerns(&version("a", 2), 9));
        assert!(tally.concerns(&version("a", 4), 10), "it went back");
    }
}
