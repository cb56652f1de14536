//! What a shadow remembers: where its own values are others than those of the binding's version, they are kept here and
//! win over what was answered to that one; where both are the same nothing is kept.
//!
//! The binding's values are followed as well. When one has changed otherwise than by an outcome that was seen (an effect
//! that was refused, an input that was dropped, a version that went back), the shadow's own value says nothing any more
//! and is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thiserror::Error;

use crate::recording::{Answer, Blob, Effect, Input, Outcome};

/// About as many bytes as an entry takes besides its texts and values.
const ENTRY: usize = 160;

/// A value; none if there is nothing under the name.
type Value = Option<Blob>;

/// The shadow remembers more than it may.
#[derive(Debug, Error)]
#[error("its own state has more than {most} bytes (`canary.max_state`)")]
pub(super) struct Full {
    most: usize,
}

/// The values of a shadow that are not the binding's.
#[derive(Debug)]
pub(super) struct OwnState {
    keys: HashMap<String, BTreeMap<String, Pair>>,
    bytes: usize,
    most: usize,
}

/// A value of the shadow and the binding's under the same name; none where it is not known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Pair {
    own: Option<Value>,
    theirs: Option<Value>,
}

impl OwnState {
    pub(super) fn new(most: usize) -> Self {
        Self { keys: HashMap::new(), bytes: 0, most }
    }

    /// Bytes that are kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the shadow is answered on behalf of an input: as the binding's version was, but with the shadow's own values.
    /// A value that cannot be known is not among the answers.
    pub(super) fn answers(&mut self, input: &Input) -> Vec<Answer> {
        self.meet(input);
        let Some(names) = self.keys.get(&input.key) else { return input.answers.clone() };
        let recorded = input.answers.iter().filter(|answer| match answer {
            Answer::State { name, .. } => !names.contains_key(name),
            Answer::Record { .. } => true,
        });
        let own = names.iter().filter_map(|(name, pair)| {
            pair.own.as_ref().map(|value| Answer::State { name: name.clone(), value: value.clone() })
        });
        recorded.cloned().chain(own).collect()
    }

    /// Takes over what the shadow and the binding's version made of an input.
    ///
    /// # Errors
    /// [`Full`]; the shadow is of no more use.
    pub(super) fn absorb(&mut self, input: &Input, outcome: &Outcome) -> Result<(), Full> {
        if matches!(input.outcome, Outcome::Unavailable(_)) {
            // The input is asked about again: this was not its outcome.
            return Ok(());
        }
        let (own, theirs) = (changes(outcome), changes(&input.outcome));
        for name in own.keys().chain(theirs.keys()).copied().collect::<BTreeSet<_>>() {
            let before = self.before(input, name);
            let after = Pair {
                own: own.get(name).map(|value| (*value).clone()).or(before.own),
                theirs: theirs.get(name).map(|value| (*value).clone()).or(before.theirs),
            };
            self.put(&input.key, name, after);
        }
        if self.bytes > self.most { Err(Full { most: self.most }) } else { Ok(()) }
    }

    /// Forgets the own values of which the binding's counterparts are not what they were thought to be.
    fn meet(&mut self, input: &Input) {
        for answer in &input.answers {
            let Answer::State { name, value } = answer else { continue };
            let Some(pair) = self.keys.get_mut(&input.key).and_then(|names| names.get_mut(name)) else { continue };
            match &pair.theirs {
                Some(theirs) if theirs != value => self.remove(&input.key, name),
                Some(_) => {}
                None => {
                    let own = pair.own.clone();
                    self.put(&input.key, name, Pair { own, theirs: Some(value.clone()) });
                }
            }
        }
    }

    /// What the values under a name were when the input was asked about.
    fn before(&self, input: &Input, name: &str) -> Pair {
        if let Some(pair) = self.keys.get(&input.key).and_then(|names| names.get(name)) {
            return pair.clone();
        }
        let answered = input.answers.iter().find_map(|answer| match answer {
            Answer::State { name: of, value } if of == name => Some(value.clone()),
            _ => None,
        });
        Pair { own: answered.clone(), theirs: answered }
    }

    fn put(&mut self, key: &str, name: &str, pair: Pair) {
        self.remove(key, name);
        if pair.own.is_none() && pair.theirs.is_none() || pair.own.is_some() && pair.own == pair.theirs {
            return;
        }
        self.bytes += size(key, name, &pair);
        self.keys.entry(key.to_owned()).or_default().insert(name.to_owned(), pair);
    }

    fn remove(&mut self, key: &str, name: &str) {
        let Some(names) = self.keys.get_mut(key) else { return };
        if let Some(pair) = names.remove(name) {
            self.bytes -= size(key, name, &pair);
        }
        if names.is_empty() {
            self.keys.remove(key);
        }
    }
}

/// What an outcome changes; of several changes under one name the last one counts.
fn changes(outcome: &Outcome) -> BTreeMap<&str, &Value> {
    let Outcome::Effects(effects) = outcome else { return BTreeMap::new() };
    let changes = effects.iter().filter_map(|effect| match effect {
        Effect::SetState { name, value } => Some((name.as_str(), value)),
        Effect::Put { .. } | Effect::Publish { .. } => None,
    });
    changes.collect()
}

fn size(key: &str, name: &str, pair: &Pair) -> usize {
    let value = |value: &Option<Value>| value.iter().flatten().map(|Blob(bytes)| bytes.len()).sum::<usize>();
    ENTRY + key.len() + name.len() + value(&pair.own) + value(&pair.theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::input;

    fn value(text: &str) -> Value {
        Some(Blob(text.as_bytes().to_vec()))
    }

    fn sets(text: &str) -> Outcome {
        Outcome::Effects(vec![Effect::SetState { name: "n".to_owned(), value: value(text) }])
    }

    fn nothing() -> Outcome {
        Outcome::Effects(Vec::new())
    }

    /// An input of which the binding's version read `n` and then did this.
    fn read(answer: Option<&str>, outcome: Outcome) -> Input {
        let answers = vec![Answer::State { name: "n".to_owned(), value: answer.and_then(value) }];
        Input { answers, outcome, ..input("t") }
    }

    fn unread(outcome: Outcome) -> Input {
        Input { outcome, ..input("t") }
    }

    /// What the shadow reads under `n`; none if it gets no answer.
    fn seen(state: &mut OwnState, input: &Input) -> Option<Value> {
        state.answers(input).into_iter().find_map(|answer| match answer {
            Answer::State { name, value } if name == "n" => Some(value),
            _ => None,
        })
    }

    #[test]
    fn a_shadow_that_remembers_the_same_keeps_nothing() {
        let mut state = OwnState::new(0);
        for (before, after) in [(None, "1"), (Some("1"), "2")] {
            let input = read(before, sets(after));
            assert_eq!(seen(&mut state, &input), Some(before.and_then(value)));
            state.absorb(&input, &sets(after)).unwrap();
            state.absorb(&unread(sets(after)), &sets(after)).unwrap();
        }
        assert_eq!(state.bytes(), 0);
    }

    #[test]
    fn what_a_shadow_remembers_otherwise_wins_until_both_are_the_same_again() {
        let mut state = OwnState::new(1 << 20);
        state.absorb(&read(Some("1"), sets("2")), &sets("3")).unwrap();
        assert_eq!(seen(&mut state, &read(Some("2"), nothing())), Some(value("3")));
        assert_eq!(seen(&mut state, &unread(nothing())), Some(value("3")), "also if only the shadow asks");
        let other = Input { key: "d2".to_owned(), ..read(Some("7"), nothing()) };
        assert_eq!(seen(&mut state, &other), Some(value("7")), "of another key");
        state.absorb(&read(Some("2"), sets("3")), &nothing()).unwrap();
        assert_eq!(state.bytes(), 0);
    }

    #[test]
    fn what_only_the_bindings_version_changes_stays_as_it_was_for_the_shadow() {
        let mut state = OwnState::new(1 << 20);
        state.absorb(&read(None, sets("alarm")), &nothing()).unwrap();
        assert_eq!(seen(&mut state, &read(Some("alarm"), nothing())), Some(None));
        state.absorb(&unread(sets("x")), &Outcome::Malformed("no".to_owned())).unwrap();
        assert_eq!(seen(&mut state, &read(Some("x"), nothing())), Some(None));
    }

    #[test]
    fn a_value_that_nobody_can_know_is_no_answer() {
        let mut state = OwnState::new(1 << 20);
        state.absorb(&unread(sets("2")), &nothing()).unwrap();
        assert_eq!(seen(&mut state, &read(Some("2"), nothing())), None);
    }

    #[test]
    fn a_value_of_the_bindings_that_changed_unseen_is_the_shadows_too() {
        let mut state = OwnState::new(1 << 20);
        state.absorb(&read(Some("1"), sets("2")), &sets("3")).unwrap();
        assert_eq!(seen(&mut state, &read(Some("1"), nothing())), Some(value("1")), "its effects were refused");
        assert_eq!(state.bytes(), 0);
    }

    #[test]
    fn an_input_that_will_be_asked_about_again_changes_nothing() {
        let mut state = OwnState::new(0);
        let unavailable = Outcome::Unavailable("later".to_owned());
        state.absorb(&read(Some("1"), unavailable), &sets("2")).unwrap();
        assert_eq!(state.bytes(), 0);
    }

    #[test]
    fn what_a_shadow_remembers_is_bounded() {
        let mut state = OwnState::new(10 * (ENTRY + 20));
        let mut remember = |key: usize| {
            let input = Input { key: format!("{key:>10}"), ..read(None, nothing()) };
            state.absorb(&input, &sets("12345")).map(|()| state.bytes())
        };
        let filled = (0..100).take_while(|key| remember(*key).is_ok()).count();
        assert!((5..15).contains(&filled), "{filled}");
        assert!(remember(0).unwrap_err().to_string().contains("canary.max_state"));
    }
}
