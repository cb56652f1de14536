//! Devices that take too long. How the time is counted is not tested here: that is an argument.

use super::*;

fn limited(plan: Plan) -> Plan {
    Plan { device_timeout: Some(30), ..plan }
}

impl Run {
    /// Ends the wait for who is overdue when so much time counted for everybody.
    fn wait(&mut self, passed: Duration) {
        for device in 0..self.targets.len() {
            if let Some(change) = self.progress.overdue(&self.plan, &self.targets[device], passed, NOW) {
                self.change(device, &change);
            }
        }
    }

    fn standings(&self) -> Vec<Standing> {
        self.targets.iter().map(|target| target.standing).collect()
    }
}

#[test]
fn a_device_that_takes_too_long_counts_as_failed_and_is_waited_for_no_longer() {
    let mut run = Run::started(limited(Plan { error: Some(50), ..Plan::default() }), 3);
    run.turn(0, &Turn::Started);
    run.succeed(1..2);
    run.wait(30 * MINUTE - Duration::from_millis(1));
    assert_eq!(run.standings()[0], Standing::InProgress);
    run.wait(30 * MINUTE);
    assert_eq!(run.standings(), [Standing::TimedOut, Standing::Succeeded, Standing::Queued]);
    assert_eq!(run.targets[0].reason.as_deref(), Some("it has been in progress for 30 minutes"));
    assert_eq!((run.tallies()[1].erring(), run.tallies()[1].open()), (1, 1));
    run.succeed(2..3);
    assert_eq!(run.state(), (State::Finished, 1));
}

#[test]
fn too_many_that_take_too_long_stop_it() {
    let mut run = Run::started(limited(Plan { error: Some(50), ..Plan::default() }), 2);
    run.turn(0, &Turn::Started);
    run.wait(30 * MINUTE);
    assert_eq!(run.progress.why.as_deref(), Some("1 of 2 devices of wave 1 failed"));
}

#[test]
fn a_device_that_comes_late_may_go_on_and_succeeds() {
    let mut run = Run::started(limited(Plan { error: Some(100), ..Plan::default() }), 2);
    run.turn(0, &Turn::Started);
    run.wait(30 * MINUTE);
    assert_eq!(run.offers()[0], Offer::Get { swap: true });
    run.turn(0, &Turn::SwapSent(1));
    assert_eq!(run.standings()[0], Standing::TimedOut, "nobody waits for it again");
    run.turn(0, &Turn::Confirmed);
    assert_eq!((run.standings()[0], run.tallies()[1].erring()), (Standing::Succeeded, 0));
}

#[test]
fn only_an_attempt_that_is_in_progress_takes_too_long() {
    let mut run = Run::started(limited(Plan { error: Some(100), ..Plan::default() }), 3);
    run.turn(0, &Turn::Assigned);
    run.fail(1);
    run.wait(60 * MINUTE);
    assert_eq!(run.standings(), [Standing::Offered, Standing::Failed, Standing::Queued]);
    // What was found before it got on comes too late.
    run.change(1, &Change::timed_out(30, NOW));
    assert_eq!(run.standings()[1], Standing::Failed);
}

#[test]
fn nobody_takes_too_long_in_a_pause_and_without_a_limit() {
    let mut paused = Run::started(limited(Plan::default()), 1);
    let mut unlimited = Run::started(Plan::default(), 1);
    paused.turn(0, &Turn::Started);
    unlimited.turn(0, &Turn::Started);
    paused.tell(Command::Pause).unwrap();
    for mut run in [paused, unlimited] {
        run.wait(60 * MINUTE);
        assert_eq!(run.standings(), [Standing::InProgress]);
    }
}

#[test]
fn time_counts_while_it_runs_and_a_window_is_open() {
    const HOUR: u64 = 3_600_000;
    // Unix time began on a Thursday.
    let windows = vec!["thu 00:00-02:00".parse().unwrap(), "thu 02:00-03:00".parse().unwrap()];
    let mut run = Run::new(limited(Plan { windows, ..Plan::default() }), 1);
    let going = |run: &Run| [0, 1, 2, 3].map(|hour| run.progress.is_going(&run.plan, hour * HOUR));
    assert_eq!(going(&run), [false; 4], "it has not begun");
    run.tell(Command::Start).unwrap();
    assert_eq!(going(&run), [true, true, true, false]);
    run.tell(Command::Pause).unwrap();
    assert_eq!(going(&run), [false; 4]);
}
