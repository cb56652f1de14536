//! Small guests against recordings that were made by hand.

use causeway_host::{Binary, Component, Engine, EngineConfig};

use super::*;
use crate::guest;

/// Traps when its instance has seen more than two inputs: what a plugin must not remember.
pub(crate) const REMEMBERS: &str = "
    (global.set $seen (i32.add (global.get $seen) (local.get 3)))
    (if (i32.gt_u (global.get $seen) (i32.const 2)) (then (unreachable)))
    (call $ok (local.get 3))";

/// Traps when it is asked about more than one input, and about nothing else.
pub(crate) const ALONE: &str = "
    (if (i32.gt_u (local.get 3) (i32.const 1)) (then (unreachable)))
    (call $ok (local.get 3))";

/// Malformed for a key of which it remembers the name `no`.
const READS: &str = "
    (call $state (i32.const 0) (i32.const 1100) (i32.const 2) (i32.const 3000))
    (if (result i32) (i32.load8_u (i32.const 3000))
      (then (call $outcome (i32.const 1) (i32.const 0) (i32.const 0)))
      (else (call $outcome (i32.const 0) (i32.const 0) (i32.const 0))))";

const EVERY_MODE: [Mode; 4] = [
    Mode { fresh: true, batch: 1 },
    Mode { fresh: false, batch: 1 },
    Mode { fresh: false, batch: 64 },
    Mode { fresh: true, batch: 3 },
];

pub(crate) fn recording(inputs: Vec<Input>) -> Recording {
    let end = End { why: Why::Stopped, inputs: inputs.len() as u64, ended_ms: 9, crc32c: 0 };
    Recording { header: header(), inputs, end }
}

pub(crate) fn player(body: &str, inputs: Vec<Input>) -> Player {
    let engine = Arc::new(Engine::start(EngineConfig::default()).unwrap());
    let component = Component::load(&engine, &Binary::of(guest::component(body)), None, |_| {}).unwrap();
    Player::new(&engine, &component, &recording(inputs)).unwrap()
}

fn outcomes(player: &Player, mode: Mode) -> Vec<Outcome> {
    player.play(mode).unwrap().into_iter().map(|played| played.outcome).collect()
}

pub(crate) fn five() -> Vec<Input> {
    (0..5).map(|number| input(&number.to_string())).collect()
}

fn none() -> Outcome {
    Outcome::Effects(Vec::new())
}

#[test]
fn a_plugin_that_remembers_is_told_by_its_rhythm() {
    let player = player(REMEMBERS, five());
    assert_eq!(outcomes(&player, Mode { fresh: true, batch: 1 }), vec![none(); 5]);
    let long_lived = outcomes(&player, Mode { fresh: false, batch: 1 });
    assert!(matches!(long_lived[2], Outcome::Trap { .. }), "{long_lived:?}");
}

#[test]
fn a_batch_that_traps_is_asked_again_input_by_input() {
    let player = player(ALONE, five());
    for mode in EVERY_MODE {
        assert_eq!(outcomes(&player, mode), vec![none(); 5], "{mode:?}");
    }
}

#[test]
fn imports_answer_what_they_answered_then() {
    let answered = |value: Option<&[u8]>| Input {
        answers: vec![Answer::State { name: "no".to_owned(), value: value.map(|value| Blob(value.to_vec())) }],
        ..input("t")
    };
    let player = player(READS, vec![answered(Some(b"yes")), answered(None), input("t")]);
    for mode in EVERY_MODE {
        let played = player.play(mode).unwrap();
        assert!(matches!(played[0].outcome, Outcome::Malformed(_)), "{mode:?}: {played:?}");
        assert_eq!((&played[1].outcome, &played[2].outcome), (&none(), &none()), "{mode:?}");
        let unanswered: Vec<_> = played.iter().map(|played| played.unanswered.len()).collect();
        assert_eq!((unanswered, played[2].unanswered[0].as_str()), (vec![0, 0, 1], "state no"), "{mode:?}");
    }
}

#[test]
fn a_component_of_no_kind_is_not_replayed() {
    let engine = Arc::new(Engine::start(EngineConfig::default()).unwrap());
    let component =
        Component::load(&engine, &Binary::of(wat::parse_str("(component)").unwrap()), None, |_| {}).unwrap();
    assert!(Player::new(&engine, &component, &recording(five())).is_err());
}
