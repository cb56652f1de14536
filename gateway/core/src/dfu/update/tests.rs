//! A device's update by what it says and is told.

use proptest::prelude::*;

use super::*;
use crate::dfu::Progress;

const LIMITS: Limits = Limits { attempts: 3, back_off_ms: 1_000, max_back_off_ms: 3_000, swaps: 2, restarts: 5 };

fn release(version: &str) -> Arc<Release> {
    release_of(version, "sha256:00")
}

fn release_of(version: &str, image: &str) -> Arc<Release> {
    Arc::new(Release {
        name: "app".to_owned(),
        version: version.to_owned(),
        image: image.to_owned(),
        size: 1_000,
        checksum: [0; 32],
        from: Vec::new(),
    })
}

fn rule() -> By {
    By::Rule("all".to_owned())
}

fn says(version: &str, progress: Option<(&str, u64)>) -> Heard {
    let progress = progress.map(|(version, offset)| Progress { version: version.to_owned(), offset, patch: None });
    Heard { version: version.to_owned(), mtu: None, progress, formats: Vec::new() }
}

fn failed(attempt: u32, reason: &str) -> Turn {
    Turn::Failed { attempt, reason: reason.to_owned() }
}

/// A device and the gateway that speaks with it.
struct Scene {
    standing: Standing,
    wanted: Option<(Arc<Release>, By)>,
    now_ms: u64,
}

impl Scene {
    fn new(wanted: &str) -> Self {
        Self { standing: Standing::default(), wanted: Some((release(wanted), rule())), now_ms: 10 }
    }

    fn hears(&mut self, version: &str, progress: Option<(&str, u64)>) -> Outcome {
        self.now_ms += 1;
        let wanted = match &self.wanted {
            Some((release, by)) => Wanted::Release(release, by),
            None => Wanted::Nothing,
        };
        self.standing.heard(&says(version, progress), wanted, &LIMITS, self.now_ms)
    }

    fn tells(&mut self, step: &Step) -> Outcome {
        let (release, by) = self.wanted.clone().unwrap();
        let attempt = self.standing.attempt(&release.version);
        let restart = self.standing.restart(&release.version);
        let assignment = Assignment { release, by, swap: true, attempt, restart };
        self.standing.told(&assignment, step, self.now_ms)
    }

    /// The order to start it is on the disk and goes out.
    fn starts(&mut self) -> Outcome {
        let outcome = self.tells(&Step::Swap);
        assert!(self.standing.sent());
        outcome
    }

    fn writes(&mut self, offset: u64, length: u32) -> Outcome {
        self.tells(&Step::Write { offset, length, patch: None })
    }

    /// Gets all of it and is told to start it.
    fn transfers(&mut self) {
        self.hears("1", None);
        self.writes(0, 600);
        self.hears("1", Some(("2", 600)));
        self.writes(600, 400);
        self.hears("1", Some(("2", 1_000)));
        self.starts();
    }

    fn tally(&self) -> &Tally {
        &self.standing.target.as_ref().unwrap().tally
    }
}

fn turns(outcome: &Outcome) -> Vec<Turn> {
    outcome.turns.iter().map(|(_, turn)| turn.clone()).collect()
}

#[test]
fn an_update_turns_when_it_is_assigned_begins_is_started_and_runs() {
    let mut scene = Scene::new("2");
    assert_eq!(turns(&scene.hears("1", None)), [Turn::Assigned]);
    assert_eq!(turns(&scene.writes(0, 600)), [Turn::Started]);
    assert!(scene.hears("1", Some(("2", 600))).is_empty());
    assert!(scene.writes(600, 400).is_empty());
    assert!(scene.hears("1", Some(("2", 1_000))).is_empty());
    assert_eq!(turns(&scene.tells(&Step::Swap)), [Turn::SwapSent(1)]);
    assert_eq!(scene.standing.state, State::Swapping);
    let outcome = scene.hears("2", None);
    assert_eq!(turns(&outcome), [Turn::Confirmed]);
    let [ended] = outcome.ended.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&ended.end, ended.attempt, ended.target.from.as_str()), (&End::Confirmed, 1, "1"));
    assert_eq!((ended.target.tally.blocks, ended.target.tally.bytes), (2, 1_000));
    assert!(scene.hears("2", None).is_empty());
    assert_eq!(scene.standing.state, State::Confirmed);
}

#[test]
fn a_device_that_runs_the_release_already_is_confirmed_without_a_history() {
    let mut scene = Scene::new("1");
    let outcome = scene.hears("1", None);
    assert_eq!((turns(&outcome), outcome.ended.len()), (vec![Turn::Assigned, Turn::Confirmed], 0));
}

#[test]
fn an_empty_image_is_started_without_a_block() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    assert_eq!(turns(&scene.tells(&Step::Swap)), [Turn::Started, Turn::SwapSent(1)]);
    assert_eq!(turns(&scene.hears("2", None)), [Turn::Confirmed]);
}

#[test]
fn the_old_version_after_a_swap_is_a_failed_attempt() {
    let mut scene = Scene::new("2");
    scene.transfers();
    let outcome = scene.hears("1", None);
    let reason = "it runs 1 after it was told to start 2".to_owned();
    assert_eq!(turns(&outcome), [failed(1, &reason)]);
    assert_eq!(outcome.ended[0].end, End::Failed(reason));
    assert_eq!(scene.standing.state, State::Failed);
    assert_eq!((scene.standing.attempt("2"), scene.standing.restart("2")), (2, true));
    assert!(scene.hears("1", None).is_empty(), "one attempt fails once");
}

#[test]
fn a_device_that_has_not_heard_is_told_again_within_the_same_attempt_and_not_for_ever() {
    let mut scene = Scene::new("2");
    scene.transfers();
    assert!(scene.hears("1", Some(("2", 1_000))).is_empty());
    assert_eq!(scene.standing.attempt("2"), 1);
    assert_eq!(turns(&scene.starts()), [Turn::SwapSent(1)]);
    let outcome = scene.hears("1", Some(("2", 1_000)));
    assert!(matches!(turns(&outcome).as_slice(), [Turn::Failed { .. }]), "{outcome:?}");
}

#[test]
fn a_device_that_has_nothing_to_report_of_an_empty_image_is_told_again_too() {
    let mut scene = Scene::new("2");
    scene.wanted = Some((Arc::new(Release { size: 0, ..(*release("2")).clone() }), rule()));
    scene.hears("1", None);
    scene.starts();
    assert!(scene.hears("1", None).is_empty());
    assert_eq!(turns(&scene.starts()), [Turn::SwapSent(1)]);
    assert!(matches!(turns(&scene.hears("1", None)).as_slice(), [Turn::Failed { .. }]));
}

#[test]
fn an_order_to_start_that_does_not_go_out_is_none() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    for _ in 0..10 {
        assert!(scene.hears("1", Some(("2", 1_000))).is_empty());
        assert_eq!(turns(&scene.tells(&Step::Swap)), [Turn::SwapSent(1)]);
        assert!(scene.hears("1", Some(("2", 1_000))).is_empty(), "it cannot have heard");
        assert!(scene.tells(&Step::Swap).is_empty(), "one waits already");
        assert!(scene.standing.unsent(scene.now_ms) && !scene.standing.sent() && !scene.standing.unsent(0));
        assert_eq!((scene.standing.state, scene.standing.attempts.of("2").made), (State::Transferring, 0));
    }
    scene.starts();
    scene.tells(&Step::Swap);
    assert!(scene.standing.unsent(scene.now_ms));
    assert_eq!((scene.standing.state, scene.tally().swaps), (State::Swapping, 1), "the first one did");
    assert!(matches!(turns(&scene.hears("1", None)).as_slice(), [Turn::Failed { .. }]));
}

#[test]
fn a_device_that_lost_what_it_had_while_the_order_to_start_it_waited_begins_anew_without_it() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    scene.hears("1", Some(("2", 1_000)));
    scene.tells(&Step::Swap);
    assert!(scene.hears("1", None).is_empty());
    assert!(scene.writes(0, 600).taken_back);
    assert_eq!((scene.standing.state, scene.standing.attempts.of("2").made), (State::Transferring, 0));
    assert!(!scene.standing.sent(), "the order comes too late");
}

#[test]
fn an_order_to_start_is_taken_back_by_whatever_else_the_device_is_told() {
    for step in [Step::Wait, Step::Sync, Step::Write { offset: 0, length: 600, patch: None }] {
        let mut scene = Scene::new("2");
        scene.hears("1", Some(("2", 1_000)));
        scene.tells(&Step::Swap);
        assert!(scene.tells(&step).taken_back, "{step:?}");
        assert!(!scene.standing.sent() && scene.standing.attempts.of("2").made == 0);
    }
}

#[test]
fn a_device_that_counts_on_from_where_it_was_is_told_to_look_before_it_begins_anew() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    scene.hears("1", Some(("2", 600)));
    scene.wanted = Some((release("3"), rule()));
    scene.hears("1", Some(("2", 600)));
    assert!(scene.standing.restart("3"));
    scene.writes(0, 600);
    scene.hears("1", Some(("3", 1_200)));
    assert!(scene.standing.is_astray() && scene.standing.restart("3"));
    scene.hears("1", Some(("3", 600)));
    assert!(!scene.standing.is_astray() && !scene.standing.restart("3"), "it has looked");
    let mut stubborn = Scene::new("2");
    stubborn.standing = scene.standing.clone();
    stubborn.wanted = Some((release("4"), rule()));
    stubborn.hears("1", Some(("3", 600)));
    stubborn.writes(0, 600);
    for (offset, astray) in [(1_200, true), (1_200, false), (1_800, true)] {
        stubborn.hears("1", Some(("4", offset)));
        assert_eq!(stubborn.standing.is_astray(), astray, "it gets the first block again in between");
    }
}

#[test]
fn a_device_that_counts_on_from_where_it_was_for_ever_fails_as_others_do() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    scene.wanted = Some((release("3"), rule()));
    scene.hears("1", Some(("2", 600)));
    for attempt in 1..=3 {
        scene.writes(0, 600);
        for restart in 1..=5 {
            assert!(scene.hears("1", Some(("3", 1_200))).is_empty());
            assert_eq!((scene.standing.is_astray(), scene.tally().restarts), (true, restart));
            assert!(scene.hears("1", Some(("3", 1_200))).is_empty());
            scene.writes(0, 600);
        }
        let outcome = scene.hears("1", Some(("3", 1_200)));
        let reason = "it was to begin 3 anew more than 5 times".to_owned();
        assert_eq!(turns(&outcome)[0], Turn::Failed { attempt, reason });
        assert!(!scene.standing.is_astray(), "after a while it may try again");
    }
    assert_eq!(scene.standing.state, State::Quarantined);
}

#[test]
fn a_device_that_went_astray_and_begins_anew_does_so_once() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    scene.wanted = Some((release("3"), rule()));
    scene.hears("1", Some(("2", 600)));
    scene.writes(0, 600);
    scene.hears("1", Some(("3", 1_200)));
    scene.hears("1", Some(("3", 0)));
    assert_eq!((scene.standing.is_astray(), scene.tally().restarts, scene.tally().offset), (false, 1, 0));
}

#[test]
fn a_third_version_after_a_swap_is_a_failed_attempt_too() {
    let mut scene = Scene::new("2");
    scene.transfers();
    let outcome = scene.hears("0", Some(("2", 1_000)));
    assert_eq!(turns(&outcome), [failed(1, "it runs 0 after it was told to start 2")]);
}

#[test]
fn the_pause_between_attempts_doubles_up_to_its_bound_and_then_comes_quarantine() {
    let mut scene = Scene::new("2");
    for (attempt, pause_ms) in [(1, 1_000), (2, 2_000), (3, 3_000)] {
        scene.transfers();
        let outcome = scene.hears("1", None);
        let last = attempt == 3;
        assert_eq!(turns(&outcome).contains(&Turn::Quarantined), last, "{attempt}");
        let stored = scene.standing.attempts.of("2");
        assert_eq!((stored.made, stored.until_ms - scene.now_ms, stored.quarantined), (attempt, pause_ms, last));
    }
    assert_eq!(scene.standing.state, State::Quarantined);
    assert!(scene.hears("1", None).is_empty());
    scene.wanted = Some((release("2"), By::Campaign("c".to_owned())));
    assert_eq!(turns(&scene.hears("1", None)), [Turn::Assigned, Turn::Quarantined], "whoever asks next hears of it");
}

#[test]
fn what_is_forgiven_is_tried_again_from_the_first_attempt() {
    let mut scene = Scene::new("2");
    assert!(!scene.standing.forgive(1));
    for _ in 0..3 {
        scene.transfers();
        scene.hears("1", None);
    }
    assert!(scene.standing.forgive(99));
    assert_eq!((scene.standing.state, scene.standing.since_ms), (State::Assigned, 99));
    assert_eq!((scene.standing.attempt("2"), scene.standing.attempts.of("2").quarantined), (1, false));
    assert!(scene.standing.restart("2"), "what it has stored has failed");
}

#[test]
fn another_version_counts_its_own_attempts() {
    let mut scene = Scene::new("2");
    scene.transfers();
    scene.hears("1", None);
    scene.wanted = Some((release("3"), rule()));
    scene.hears("1", None);
    assert_eq!((scene.standing.attempt("3"), scene.standing.attempt("2")), (1, 2));
}

#[test]
fn another_release_in_the_middle_of_a_transfer_ends_it() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    scene.wanted = Some((release("3"), rule()));
    let outcome = scene.hears("1", Some(("2", 600)));
    assert_eq!(turns(&outcome), [Turn::Assigned]);
    assert_eq!((&outcome.ended[0].end, outcome.ended[0].target.version.as_str()), (&End::Superseded, "2"));
    assert_eq!((scene.standing.state, scene.tally().offset), (State::Assigned, 0));
    assert!(scene.standing.restart("3"));
    scene.wanted = None;
    scene.hears("1", None);
    assert_eq!((scene.standing.state, scene.standing.target.is_none()), (State::Idle, true));
}

#[test]
fn a_release_that_cannot_be_looked_up_changes_nothing() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    let outcome = scene.standing.heard(&says("1", Some(("2", 600))), Wanted::Unknown, &LIMITS, 20);
    assert!(outcome.is_empty());
    assert_eq!((scene.standing.state, scene.tally().offset), (State::Transferring, 600));
}

#[test]
fn what_was_stored_of_another_image_is_built_on_only_once_the_device_has_begun_anew() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    assert!(!scene.standing.restart("2"), "of a first assignment the device's own offset is the truth");
    scene.writes(0, 600);
    scene.hears("1", Some(("2", 600)));
    scene.wanted = Some((release_of("2", "sha256:11"), rule()));
    scene.hears("1", Some(("2", 600)));
    assert!(scene.standing.restart("2"));
    scene.writes(0, 400);
    scene.hears("1", Some(("2", 600)));
    assert!(scene.standing.restart("2"), "it has not taken the first block");
    scene.writes(0, 400);
    scene.hears("1", Some(("2", 400)));
    assert!(!scene.standing.restart("2"));
}

#[test]
fn a_device_that_begins_anew_is_counted() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    scene.writes(0, 600);
    scene.hears("1", Some(("2", 600)));
    scene.hears("1", None);
    scene.writes(0, 600);
    assert_eq!((scene.tally().restarts, scene.tally().blocks, scene.tally().offset), (1, 2, 0));
}

#[test]
fn a_device_that_begins_anew_for_ever_fails_as_others_do() {
    let mut scene = Scene::new("2");
    for attempt in 1..=3 {
        for _ in 0..=5 {
            assert!(!scene.hears("1", None).turns.iter().any(|(_, turn)| matches!(turn, Turn::Failed { .. })));
            scene.writes(0, 600);
            scene.hears("1", Some(("2", 600)));
        }
        let outcome = scene.hears("1", None);
        let reason = "it began 2 anew more than 5 times".to_owned();
        assert_eq!(turns(&outcome)[0], Turn::Failed { attempt, reason });
        assert_eq!((outcome.ended[0].attempt, outcome.ended[0].target.tally.restarts), (attempt, 5));
        let stored = scene.standing.attempts.of("2");
        assert_eq!((stored.made, stored.quarantined), (attempt, attempt == 3));
    }
    assert_eq!(scene.standing.state, State::Quarantined);
}

#[test]
fn a_device_that_asks_for_its_first_block_again_does_not_begin_anew() {
    let mut scene = Scene::new("2");
    for _ in 0..20 {
        scene.hears("1", None);
        scene.writes(0, 1_000);
    }
    assert_eq!((scene.standing.state, scene.tally().restarts), (State::Transferring, 0));
}

#[test]
fn a_device_that_falls_back_after_it_ran_the_release_has_failed() {
    let mut scene = Scene::new("2");
    scene.transfers();
    scene.hears("2", None);
    let outcome = scene.hears("1", None);
    assert_eq!(turns(&outcome), [failed(1, "it runs 1 although it has run 2")]);
    assert_eq!(scene.standing.attempt("2"), 2);
}

#[test]
fn a_release_that_went_well_starts_at_the_first_attempt_when_it_comes_again() {
    let mut scene = Scene::new("2");
    scene.transfers();
    scene.hears("2", None);
    scene.wanted = Some((release("1"), rule()));
    assert_eq!(turns(&scene.hears("2", None)), [Turn::Assigned]);
    scene.wanted = Some((release("2"), rule()));
    scene.hears("1", None);
    assert_eq!(scene.standing.attempt("2"), 1);
}

#[test]
fn what_went_well_is_forgotten_on_the_disk_too_when_nothing_is_wanted_any_more() {
    let mut scene = Scene::new("2");
    scene.transfers();
    scene.hears("2", None);
    scene.wanted = None;
    assert!(scene.hears("2", None).is_empty(), "it runs it");
    assert!(scene.hears("3", None).taken_back);
    assert_eq!((scene.standing.state, scene.standing.attempts.all().len()), (State::Idle, 0));
    assert!(scene.hears("3", None).is_empty());
}

#[test]
fn a_device_that_comes_up_late_is_confirmed() {
    let mut scene = Scene::new("2");
    scene.transfers();
    scene.hears("1", None);
    assert_eq!(turns(&scene.hears("2", None)), [Turn::Confirmed]);
    assert_eq!((scene.standing.state, scene.standing.reason), (State::Confirmed, None));
}

#[test]
fn a_device_is_stalled_when_it_is_silent_while_an_attempt_is_under_way() {
    let mut scene = Scene::new("2");
    scene.hears("1", None);
    let heard_ms = scene.now_ms;
    assert!(!scene.standing.is_stalled(100, heard_ms + 100), "nothing is under way");
    scene.writes(0, 600);
    assert!(!scene.standing.is_stalled(100, heard_ms + 99));
    assert!(scene.standing.is_stalled(100, heard_ms + 100));
    assert!(!scene.standing.is_stalled(100, 0), "a clock that was put back is no silence");
}

#[test]
fn the_attempts_at_no_more_than_a_few_versions_are_remembered() {
    let mut attempts = Attempts::default();
    for version in 0..20 {
        attempts.count(&version.to_string());
    }
    assert_eq!((attempts.all().len(), attempts.of("12").made, attempts.of("11").made), (8, 1, 0));
}

#[derive(Clone, Debug)]
enum Act {
    Heard { version: u8, progress: Option<(u8, u64)> },
    Wanted(Option<u8>),
    Unknown,
    Write(u64, u32),
    Swap,
    Sent(bool),
    Forgive,
}

fn act() -> impl Strategy<Value = Act> {
    let progress = proptest::option::of((1..4_u8, prop::sample::select(vec![0, 1, 500, 1_000, u64::MAX])));
    prop_oneof![
        6 => (1..4_u8, progress).prop_map(|(version, progress)| Act::Heard { version, progress }),
        1 => proptest::option::of(1..4_u8).prop_map(Act::Wanted),
        1 => Just(Act::Unknown),
        3 => (0..1_000_u64, any::<u32>()).prop_map(|(offset, length)| Act::Write(offset, length)),
        3 => Just(Act::Swap),
        3 => prop::sample::select(vec![true, true, false]).prop_map(Act::Sent),
        1 => Just(Act::Forgive),
    ]
}

proptest! {
    /// Whatever devices say, as long as nobody is told anything against what is known of them.
    #[test]
    fn attempts_are_counted_bounded_and_ended(acts in proptest::collection::vec(act(), 1..200)) {
        let mut scene = Scene::new("2");
        let (mut begun, mut over) = (0, 0);
        for act in acts {
            scene.now_ms += 500;
            let before = scene.standing.clone();
            let outcome = match act {
                Act::Heard { version, progress } => {
                    let progress = progress.map(|(version, offset)| (version.to_string(), offset));
                    let progress = progress.as_ref().map(|(version, offset)| (version.as_str(), *offset));
                    scene.hears(&version.to_string(), progress)
                }
                Act::Wanted(wanted) => {
                    scene.wanted = wanted.map(|version| (release(&version.to_string()), rule()));
                    continue;
                }
                Act::Unknown => {
                    let heard = says("1", None);
                    scene.standing.heard(&heard, Wanted::Unknown, &LIMITS, scene.now_ms)
                }
                Act::Sent(sent) => {
                    let waits = if sent { scene.standing.sent() } else { scene.standing.unsent(scene.now_ms) };
                    prop_assert!(!waits || before.state == State::Swapping);
                    continue;
                }
                Act::Forgive => {
                    scene.standing.forgive(scene.now_ms);
                    continue;
                }
                Act::Write(..) | Act::Swap => {
                    let Some((wanted, _)) = &scene.wanted else { continue };
                    let attempt = scene.standing.attempts.of(&wanted.version);
                    let runs_it = scene.standing.running.as_deref() == Some(wanted.version.as_str());
                    let waits = attempt.quarantined || attempt.until_ms > scene.now_ms;
                    // Nobody is spoken to who has not spoken.
                    if runs_it || waits || scene.standing.running.is_none() {
                        continue;
                    }
                    match act {
                        Act::Write(offset, length) if scene.standing.state != State::Swapping => {
                            scene.writes(offset, length)
                        }
                        _ => scene.tells(&Step::Swap),
                    }
                }
            };
            begun += turns(&outcome).iter().filter(|turn| **turn == Turn::Started).count();
            let verdicts = outcome.ended.iter().filter(|ended| ended.target.started_ms.is_some()).count();
            over += verdicts;
            for turn in turns(&outcome) {
                match turn {
                    Turn::SwapSent(number) => {
                        prop_assert!((1..=LIMITS.attempts).contains(&number));
                        prop_assert_eq!(number, before.attempt(&scene.standing.target.as_ref().unwrap().version));
                    }
                    Turn::Confirmed => {
                        let running = scene.standing.running.as_deref().unwrap_or_default();
                        prop_assert!(outcome.ended.iter().any(|ended| ended.target.version == running)
                            || scene.standing.target.as_ref().is_none_or(|target| target.version == running)
                            || before.target.as_ref().is_some_and(|target| target.version == running));
                    }
                    _ => {}
                }
            }
            let standing = &scene.standing;
            prop_assert_eq!(standing.target.is_none(), standing.state == State::Idle);
            for attempt in standing.attempts.all() {
                prop_assert!(attempt.made <= LIMITS.attempts, "{:?}", attempt);
                prop_assert!(attempt.until_ms <= scene.now_ms + LIMITS.max_back_off_ms);
            }
        }
        prop_assert!(over >= begun - usize::from(scene.standing.state.is_under_way()), "{over} of {begun}");
    }
}
