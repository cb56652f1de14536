//! Campaigns by value: every turn that devices can take, in any order.

mod late;

use proptest::prelude::*;

use super::*;
use crate::dfu::Turn;

const NOW: u64 = 1_000_000;

/// A campaign with its devices, kept as whoever runs one keeps it.
#[derive(Clone, Debug)]
struct Run {
    plan: Plan,
    progress: Progress,
    targets: Vec<Target>,
}

impl Run {
    fn new(plan: Plan, devices: u32) -> Self {
        let sizes = plan.divide(devices);
        let waves = (1..).zip(&sizes).flat_map(|(wave, size)| (0..*size).map(move |_| wave));
        let targets = waves.map(|wave| Target::queued(wave, NOW)).collect();
        Self { progress: Progress::new(&plan), plan, targets }
    }

    fn started(plan: Plan, devices: u32) -> Self {
        let mut run = Self::new(Plan { start: Start::Now, ..plan }, devices);
        run.settle();
        run
    }

    fn tallies(&self) -> Vec<Tally> {
        let waves = self.targets.iter().map(|target| target.wave).max().unwrap_or(0);
        (0..=waves)
            .map(|wave| {
                let mut tally = Tally::default();
                self.targets.iter().filter(|target| target.wave == wave).for_each(|target| tally.put(target));
                tally
            })
            .collect()
    }

    /// Lets happen what happens by itself.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let Some(next) = self.progress.next(&self.plan, &self.tallies(), NOW) else { return };
            assert_ne!(next, self.progress);
            self.become_(next);
        }
        panic!("it never settles");
    }

    fn become_(&mut self, next: Progress) {
        self.progress = next;
        if self.progress.state == State::Aborted {
            for target in self.targets.iter_mut().filter(|target| !target.standing.is_final()) {
                target.standing = Standing::Cancelled;
            }
        }
    }

    fn turn(&mut self, device: usize, turn: &Turn) {
        self.change(device, &Change::of_turn(turn, NOW));
    }

    fn change(&mut self, device: usize, change: &Change) {
        self.progress.apply(&mut self.targets[device], change);
        self.settle();
    }

    fn succeed(&mut self, devices: std::ops::Range<usize>) {
        devices.for_each(|device| self.turn(device, &Turn::Confirmed));
    }

    fn fail(&mut self, device: usize) {
        self.turn(device, &Turn::Failed { attempt: 1, reason: "it runs 0.1.0 again".to_owned() });
    }

    fn tell(&mut self, command: Command) -> Result<(), CommandError> {
        let next = self.progress.command(&command, &self.plan, &self.tallies(), NOW)?;
        self.become_(next);
        self.settle();
        Ok(())
    }

    fn offers(&self) -> Vec<Offer> {
        self.targets.iter().map(|target| self.progress.offer(&self.plan, target, NOW)).collect()
    }

    fn state(&self) -> (State, u32) {
        (self.progress.state, self.progress.wave)
    }
}

fn waves(sizes: &[&str]) -> Plan {
    Plan { waves: sizes.iter().map(|size| size.parse().unwrap()).collect(), ..Plan::default() }
}

#[test]
fn waves_are_counts_or_shares_of_all_and_the_rest_is_one_more() {
    for (sizes, devices, expected) in [
        (&["5", "10%", "50%"][..], 100, &[5, 10, 50, 35][..]),
        (&["1"], 3, &[1, 2]),
        (&["10%"], 3, &[1, 2]),
        (&["100%"], 3, &[3]),
        (&["2", "2", "2"], 3, &[2, 1]),
        (&[], 4, &[4]),
        (&["5"], 0, &[]),
    ] {
        assert_eq!(waves(sizes).divide(devices), expected, "{sizes:?} of {devices}");
    }
    for wrong in ["", "0", "0%", "101%", "-1", "1.5", "x", "%", "5 %"] {
        assert!(wrong.parse::<Share>().is_err(), "{wrong}");
    }
}

#[test]
fn the_next_wave_opens_when_enough_of_the_last_one_succeeded() {
    let mut run = Run::started(Plan { success: 50, ..waves(&["2", "2"]) }, 5);
    assert_eq!(run.state(), (State::Running, 1));
    assert_eq!(run.offers()[1..3], [Offer::Get { swap: true }, Offer::Stay]);
    run.succeed(0..1);
    assert_eq!(run.state(), (State::Running, 2));
    run.succeed(2..3);
    assert_eq!(run.state(), (State::Running, 3));
    run.succeed(0..5);
    assert_eq!(run.state(), (State::Finished, 3));
}

#[test]
fn too_many_failures_of_a_wave_pause_it_until_an_operator_resumes() {
    let mut run = Run::started(Plan { error: Some(40), ..waves(&["5"]) }, 10);
    run.fail(0);
    assert_eq!(run.state(), (State::Running, 1));
    run.fail(1);
    assert_eq!(run.state(), (State::Paused, 1));
    assert_eq!(run.progress.why.as_deref(), Some("2 of 5 devices of wave 1 failed"));
    assert_eq!(run.offers()[0], Offer::Hold(Hold::Paused));
    run.tell(Command::Resume).unwrap();
    assert_eq!(run.state(), (State::Running, 1));
    run.fail(2);
    assert_eq!(run.state(), (State::Paused, 1));
}

#[test]
fn a_failure_counts_that_comes_after_a_tolerated_device_has_succeeded() {
    let mut run = Run::started(Plan { error: Some(20), ..waves(&["5"]) }, 10);
    run.fail(0);
    run.tell(Command::Resume).unwrap();
    run.succeed(0..1);
    assert_eq!(run.state(), (State::Running, 1));
    run.fail(1);
    assert_eq!(run.state(), (State::Paused, 1));
}

#[test]
fn too_many_failures_abort_it_when_that_is_wanted() {
    let mut run = Run::started(Plan { on_error: OnError::Abort, ..waves(&["5"]) }, 10);
    run.succeed(0..1);
    run.fail(1);
    assert_eq!(run.state(), (State::Aborted, 1));
    let standings: Vec<_> = run.targets.iter().map(|target| target.standing).collect();
    assert_eq!(standings[0], Standing::Succeeded);
    assert!(standings[1..].iter().all(|standing| *standing == Standing::Cancelled));
    assert!(run.offers().iter().all(|offer| *offer == Offer::Nothing));
}

#[test]
fn without_an_error_threshold_no_failures_stop_it() {
    let mut run = Run::started(Plan { error: None, ..Plan::default() }, 2);
    run.fail(0);
    run.fail(1);
    assert_eq!(run.state(), (State::Running, 1));
    run.turn(0, &Turn::Quarantined);
    run.turn(1, &Turn::Quarantined);
    assert_eq!(run.state(), (State::Finished, 1));
}

#[test]
fn a_wave_that_is_over_with_too_few_successes_pauses_and_resume_goes_on_to_the_next() {
    let mut run = Run::started(Plan { success: 100, error: Some(100), ..waves(&["2"]) }, 3);
    run.succeed(0..1);
    run.fail(1);
    run.turn(1, &Turn::Quarantined);
    assert_eq!(run.state(), (State::Paused, 1));
    let why = "wave 1 is over and 1 of 2 devices succeeded, fewer than 100 %";
    assert_eq!(run.progress.why.as_deref(), Some(why));
    run.tell(Command::Resume).unwrap();
    assert_eq!(run.state(), (State::Running, 2));
    run.succeed(2..3);
    assert_eq!(run.state(), (State::Finished, 2));
}

#[test]
fn a_device_that_failed_and_succeeds_after_all_does_not_count_as_failed() {
    let mut run = Run::started(Plan { success: 100, error: Some(60), ..waves(&["2"]) }, 3);
    run.fail(0);
    run.turn(0, &Turn::Started);
    assert_eq!((run.targets[0].standing, run.tallies()[1].erring()), (Standing::InProgress, 1));
    run.succeed(0..1);
    assert_eq!(run.tallies()[1].erring(), 0);
    run.fail(1);
    assert_eq!(run.state(), (State::Running, 1));
}

#[test]
fn an_approval_comes_before_the_start() {
    let mut run = Run::new(Plan { approval: true, start: Start::Now, ..Plan::default() }, 1);
    run.settle();
    assert_eq!(run.state(), (State::Draft, 0));
    assert_eq!(run.tell(Command::Start), Err(CommandError::Unapproved));
    run.tell(Command::Approve).unwrap();
    assert_eq!(run.state(), (State::Running, 1));
    assert_eq!(run.tell(Command::Approve), Err(CommandError::Approved));
    let mut by_hand = Run::new(Plan { approval: true, ..Plan::default() }, 1);
    by_hand.tell(Command::Approve).unwrap();
    assert_eq!(by_hand.state(), (State::Draft, 0));
    by_hand.tell(Command::Start).unwrap();
    assert_eq!(by_hand.state(), (State::Running, 1));
}

#[test]
fn a_scheduled_campaign_waits_for_its_time_also_when_it_was_paused() {
    let mut run = Run::new(Plan { start: Start::At(NOW + 1), ..Plan::default() }, 1);
    run.settle();
    assert_eq!((run.state(), &run.offers()[0]), ((State::Scheduled, 0), &Offer::Nothing));
    run.tell(Command::Pause).unwrap();
    assert_eq!((run.state(), &run.offers()[0]), ((State::Paused, 0), &Offer::Nothing));
    run.tell(Command::Resume).unwrap();
    assert_eq!(run.state(), (State::Scheduled, 0));
    let begun = run.progress.next(&run.plan, &run.tallies(), NOW + 1).unwrap();
    assert_eq!((begun.state, begun.started_ms), (State::Running, Some(NOW + 1)));
}

#[test]
fn outside_of_its_windows_devices_wait_or_only_receive() {
    // Unix time began on a Thursday.
    let windows = vec!["thu 12:00-13:00".parse().unwrap()];
    let run = Run::started(Plan { windows: windows.clone(), ..Plan::default() }, 1);
    let opens_ms = Some(12 * 3_600_000);
    assert_eq!(run.offers(), [Offer::Hold(Hold::Window { opens_ms })]);
    let preload = Run::started(Plan { windows, preload: true, ..Plan::default() }, 1);
    assert_eq!(preload.offers(), [Offer::Get { swap: false }]);
}

#[test]
fn a_campaign_without_devices_that_are_due_is_finished_when_it_begins() {
    let run = Run::started(waves(&["5"]), 0);
    assert_eq!(run.progress.state, State::Finished);
}

#[test]
fn what_is_over_takes_no_orders() {
    let mut run = Run::started(Plan::default(), 1);
    run.succeed(0..1);
    for (command, done) in [
        (Command::Approve, "approved"),
        (Command::Start, "started"),
        (Command::Pause, "paused"),
        (Command::Resume, "resumed"),
        (Command::Abort, "aborted"),
    ] {
        let expected = format!("it is finished and cannot be {done}");
        assert_eq!(run.tell(command).unwrap_err().to_string(), expected);
    }
}

#[test]
fn what_a_release_is_to_a_device_depends_on_what_it_runs() {
    let release = Release {
        name: "sensor".to_owned(),
        version: "0.2.0".to_owned(),
        image: String::new(),
        size: 0,
        checksum: [0; 32],
        from: Vec::new(),
    };
    assert_eq!(fitness(None, &release, false), Fitness::Due);
    assert_eq!(fitness(Some("0.1.0"), &release, false), Fitness::Due);
    assert_eq!(fitness(Some("0.2.0"), &release, false), Fitness::Done);
    assert!(matches!(fitness(Some("0.3.0"), &release, false), Fitness::Unfit(reason) if reason.contains("older")));
    assert_eq!(fitness(Some("0.3.0"), &release, true), Fitness::Due);
}

#[derive(Clone, Debug)]
enum Event {
    Turn(usize, Turn),
    Skip(usize),
    Late(usize),
    Tell(Command),
}

fn event(devices: usize) -> impl Strategy<Value = Event> {
    let turn = prop_oneof![
        Just(Turn::Assigned),
        Just(Turn::Started),
        (1..4_u32).prop_map(Turn::SwapSent),
        Just(Turn::Confirmed),
        Just(Turn::Confirmed),
        (1..4_u32).prop_map(|attempt| Turn::Failed { attempt, reason: "old".to_owned() }),
        Just(Turn::Quarantined),
    ];
    let command = prop::sample::select(vec![Command::Pause, Command::Resume, Command::Resume, Command::Start]);
    prop_oneof![
        12 => (0..devices, turn).prop_map(|(device, turn)| Event::Turn(device, turn)),
        1 => (0..devices).prop_map(Event::Skip),
        1 => (0..devices).prop_map(Event::Late),
        2 => command.prop_map(Event::Tell),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let error = prop::option::weighted(0.9, 1..=100_u32);
    let share = prop_oneof![(1..4_u32).prop_map(Share::Count), (1..=100_u32).prop_map(Share::Percent)];
    (prop::collection::vec(share, 0..4), 1..=100_u32, error, any::<bool>()).prop_map(
        |(waves, success, error, abort)| Plan {
            waves,
            success,
            error,
            on_error: if abort { OnError::Abort } else { OnError::Pause },
            ..Plan::default()
        },
    )
}

/// What must hold whatever happened before.
fn check_invariants(run: &Run, before: &Run, resumed: bool) -> Result<(), TestCaseError> {
    let tallies = run.tallies();
    // Counts add up.
    let total: u64 = tallies.iter().map(Tally::devices).sum();
    prop_assert_eq!(total, run.targets.len() as u64);
    for tally in &tallies {
        prop_assert!(tally.open() <= tally.devices() && tally.counted() <= tally.devices());
        prop_assert!(tally.erring() <= tally.counted());
    }
    // Nobody of a wave that is not open gets anything.
    for (target, offer) in run.targets.iter().zip(run.offers()) {
        if target.wave > run.progress.wave || run.progress.state.is_over() {
            prop_assert!(!matches!(offer, Offer::Get { .. } | Offer::Hold(_)), "{:?} {:?}", target, offer);
        }
    }
    // A wave opens only behind one that has enough successes, and never while too many fail.
    for wave in before.progress.wave.max(1)..run.progress.wave {
        let tally = tallies[wave as usize];
        let enough = tally.count(Standing::Succeeded) * 100 >= u64::from(run.plan.success) * tally.counted();
        prop_assert!(enough || resumed, "wave {} opened: {:?}", wave + 1, tally);
    }
    if run.progress.state == State::Running && !resumed && run.progress.wave > before.progress.wave {
        let beyond = run.plan.error.is_some_and(|error| {
            (1..=run.progress.wave)
                .map(|wave| tallies[wave as usize])
                .any(|tally| tally.erring() > 0 && tally.erring() * 100 >= u64::from(error) * tally.counted())
        });
        let total: u64 = (1..=run.progress.wave).map(|wave| tallies[wave as usize].erring()).sum();
        prop_assert!(!beyond || total <= run.progress.tolerated);
    }
    // What is over waits for nobody.
    if run.progress.state.is_over() {
        prop_assert!(tallies.iter().all(|tally| tally.open() == 0) && run.progress.ended_ms.is_some());
    }
    Ok(())
}

proptest! {
    #[test]
    fn waves_never_overtake_their_thresholds_and_counts_add_up(
        plan in any_plan(),
        devices in 1..12_usize,
        events in prop::collection::vec(event(12), 0..60),
    ) {
        let mut run = Run::started(plan, u32::try_from(devices).unwrap());
        for event in events {
            let before = run.clone();
            let mut resumed = false;
            match event {
                Event::Turn(device, turn) => run.turn(device % devices, &turn),
                Event::Skip(device) => run.change(device % devices, &Change::skipped("old".to_owned(), NOW)),
                Event::Late(device) => run.change(device % devices, &Change::timed_out(5, NOW)),
                Event::Tell(command) => resumed = run.tell(command.clone()).is_ok() && command == Command::Resume,
            }
            check_invariants(&run, &before, resumed)?;
        }
    }

    #[test]
    fn an_abort_reaches_everybody(
        plan in any_plan(),
        devices in 1..12_usize,
        events in prop::collection::vec(event(12), 0..30),
    ) {
        let mut run = Run::started(plan, u32::try_from(devices).unwrap());
        for event in events {
            if let Event::Turn(device, turn) = event {
                run.turn(device % devices, &turn);
            }
        }
        if run.progress.state.is_over() {
            return Ok(());
        }
        run.tell(Command::Abort).unwrap();
        prop_assert!(run.targets.iter().all(|target| target.standing.is_final()));
        prop_assert!(run.offers().iter().all(|offer| *offer == Offer::Nothing));
    }

    #[test]
    fn all_devices_are_in_a_wave_and_no_wave_is_empty(plan in any_plan(), devices in 0..10_000_u32) {
        let sizes = plan.divide(devices);
        prop_assert_eq!(sizes.iter().sum::<u32>(), devices);
        prop_assert!(sizes.iter().all(|size| *size > 0));
    }

    #[test]
    fn tallies_kept_change_by_change_are_those_that_are_counted(
        turns in prop::collection::vec(event(1), 0..30),
    ) {
        let mut target = Target::queued(1, NOW);
        let mut tally = Tally::default();
        tally.put(&target);
        for event in turns {
            let Event::Turn(_, turn) = event else { continue };
            tally.take(&target);
            target.apply(&Change::of_turn(&turn, NOW));
            tally.put(&target);
            let mut counted = Tally::default();
            counted.put(&target);
            prop_assert_eq!(tally, counted);
        }
    }
}
