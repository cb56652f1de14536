//! What becomes of one device of a campaign, whatever is told of it and in whatever order.

use proptest::prelude::*;

use super::*;

fn failed(attempt: u32) -> Change {
    Change::of_turn(&Turn::Failed { attempt, reason: "it runs 0.1.0 again".to_owned() }, 1)
}

fn unfit() -> Change {
    Change::skipped("0.2.0 is older".to_owned(), 1)
}

/// A device that was queued, after these changes.
fn after(changes: &[Change]) -> Target {
    let mut target = Target::queued(1, 0);
    changes.iter().for_each(|change| _ = target.apply(change));
    target
}

#[test]
fn a_failed_device_that_is_then_unfit_failed_for_good_whichever_is_told_first() {
    for changes in [[failed(1), unfit()], [unfit(), failed(1)]] {
        let target = after(&changes);
        assert_eq!((target.standing, target.failures, target.is_erring()), (Standing::Quarantined, 1, true));
    }
    let never_tried = after(&[unfit()]);
    assert_eq!((never_tried.standing, never_tried.is_erring()), (Standing::Skipped, false));
}

#[test]
fn a_device_that_is_found_unfit_again_and_again_changes_once() {
    for mut target in [after(&[failed(1), unfit()]), after(&[unfit()])] {
        let before = target.clone();
        assert!(!target.apply(&Change { at_ms: 2, ..unfit() }));
        assert_eq!(target, before);
    }
}

#[test]
fn an_attempt_of_which_is_told_twice_has_failed_once() {
    let turns = [Turn::Started, Turn::SwapSent(1)].map(|turn| Change::of_turn(&turn, 1));
    let once = [turns.to_vec(), vec![failed(1)]].concat();
    assert_eq!((after(&once).failures, after(&[once.clone(), once.clone()].concat()).failures), (1, 1));
    assert_eq!(after(&[once.clone(), turns.to_vec(), vec![failed(2)]].concat()).failures, 2);
    // Nobody counted it.
    assert_eq!(after(&[failed(0)]).failures, 1);
}

#[test]
fn an_attempt_that_failed_before_the_device_was_told_to_start_the_release_is_shown_all_the_same() {
    let told = [Change::of_turn(&Turn::Started, 1), failed(3), Change::of_turn(&Turn::Quarantined, 1)];
    let target = after(&told);
    assert_eq!((target.standing, target.failures, target.attempt), (Standing::Quarantined, 3, 3));
    let uncounted = [Change::of_turn(&Turn::SwapSent(2), 1), failed(0)];
    assert_eq!(after(&uncounted).attempt, 2, "nobody counted the one that failed");
}

#[test]
fn a_device_stands_so_since_it_came_to_it() {
    let since = |turns: &[Turn]| {
        let changes: Vec<_> = (1..).zip(turns).map(|(at_ms, turn)| Change::of_turn(turn, at_ms)).collect();
        after(&changes).at_ms
    };
    assert_eq!(since(&[Turn::Assigned, Turn::Started, Turn::SwapSent(1), Turn::SwapSent(1)]), 2);
}

#[test]
fn a_device_that_runs_the_release_after_all_succeeded() {
    for mut target in [after(&[unfit()]), after(&[failed(1), unfit()]), after(&[failed(1)])] {
        assert!(target.apply(&Change::found(2)));
        assert_eq!((target.standing, target.reason.as_deref()), (Standing::Succeeded, None));
        assert!(!target.is_erring() && !target.apply(&failed(2)));
    }
}

/// All that may be told of a device, but that it failed too often: that a device is forgiven makes a difference.
fn change() -> impl Strategy<Value = Change> {
    let turn = prop_oneof![
        Just(Turn::Assigned),
        Just(Turn::Started),
        (1..4_u32).prop_map(Turn::SwapSent),
        (1..4_u32).prop_map(|attempt| Turn::Failed { attempt, reason: "old".to_owned() }),
    ];
    let found = prop_oneof![Just(unfit()), Just(Change::found(1))];
    prop_oneof![6 => turn.prop_map(|turn| Change::of_turn(&turn, 1)), 1 => found]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        Just(Turn::Assigned),
        Just(Turn::Started),
        (1..4_u32).prop_map(Turn::SwapSent),
        (1..4_u32).prop_map(|attempt| Turn::Failed { attempt, reason: "old".to_owned() }),
        Just(Turn::Quarantined),
        Just(Turn::Confirmed),
    ]
}

proptest! {
    #[test]
    fn whatever_the_order_the_same_devices_fail(
        (told, shuffled) in prop::collection::vec(change(), 0..8)
            .prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle())),
    ) {
        let (target, other) = (after(&told), after(&shuffled));
        prop_assert_eq!(target.is_erring(), other.is_erring(), "{:?} {:?}", target, other);
        let run = |target: &Target| target.standing == Standing::Succeeded;
        prop_assert_eq!(run(&target), run(&other));
    }

    #[test]
    fn the_same_turns_once_more_change_nothing(turns in prop::collection::vec(turn(), 0..12)) {
        let changes: Vec<_> = (1..).zip(&turns).map(|(at_ms, turn)| Change::of_turn(turn, at_ms)).collect();
        prop_assert_eq!(after(&[changes.clone(), changes.clone()].concat()), after(&changes));
    }
}
