//! Devices that take too long.

use super::*;

const MINUTE: u64 = 60_000;

fn limited(plan: Plan) -> Plan {
    Plan { device_timeout: Some(30), ..plan }
}

impl Run {
    /// Ends the wait for who is overdue then.
    fn wait_until(&mut self, at_ms: u64) {
        for device in 0..self.targets.len() {
            if let Some(change) = self.progress.overdue(&self.plan, &self.targets[device], at_ms) {
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
    run.wait_until(NOW + 30 * MINUTE - 1);
    assert_eq!(run.standings()[0], Standing::InProgress);
    run.wait_until(NOW + 30 * MINUTE);
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
    run.wait_until(NOW + 30 * MINUTE);
    assert_eq!(run.progress.why.as_deref(), Some("1 of 2 devices of wave 1 failed"));
}

#[test]
fn a_device_that_comes_late_may_go_on_and_succeeds() {
    let mut run = Run::started(limited(Plan { error: Some(100), ..Plan::default() }), 2);
    run.turn(0, &Turn::Started);
    run.wait_until(NOW + 30 * MINUTE);
    assert_eq!(run.offers()[0], Offer::Get { swap: true });
    run.turn(0, &Turn::SwapSent(1));
    assert_eq!(run.standings()[0], Standing::TimedOut, "nobody waits for it again");
    run.turn(0, &Turn::Confirmed);
    assert_eq!((run.standings()[0], run.tallies()[1].erring()), (Standing::Succeeded, 0));
}

#[test]
fn only_an_attempt_that_is_in_progress_takes_too_long_and_each_has_its_own_time() {
    let mut run = Run::started(limited(Plan { error: Some(100), ..Plan::default() }), 3);
    run.turn(0, &Turn::Assigned);
    run.fail(1);
    run.change(2, &Change::of_turn(&Turn::Started, NOW));
    run.change(2, &Change::of_turn(&Turn::Failed { attempt: 1, reason: String::new() }, NOW + 20 * MINUTE));
    run.change(2, &Change::of_turn(&Turn::Started, NOW + 25 * MINUTE));
    run.wait_until(NOW + 54 * MINUTE);
    assert_eq!(run.standings(), [Standing::Offered, Standing::Failed, Standing::InProgress]);
    // What was found before it got on comes too late.
    run.fail(2);
    run.change(2, &Change::timed_out(30, NOW));
    assert_eq!(run.standings()[2], Standing::Failed);
}

#[test]
fn time_in_which_it_could_not_go_on_does_not_count() {
    const NOON: u64 = 12 * 60 * MINUTE;
    // Unix time began on a Thursday.
    let windows = vec!["thu 00:10-00:20".parse().unwrap(), "thu 12:00-13:00".parse().unwrap()];
    let mut run = Run::started(limited(Plan { windows, ..Plan::default() }), 1);
    run.turn(0, &Turn::Started);
    run.wait_until(NOON - MINUTE);
    run.wait_until(NOON + 29 * MINUTE);
    assert_eq!(run.standings(), [Standing::InProgress]);
    run.tell(Command::Pause).unwrap();
    run.wait_until(NOON + 31 * MINUTE);
    let resumed = run.progress.command(&Command::Resume, &run.plan, &run.tallies(), NOON + 10 * MINUTE);
    run.become_(resumed.unwrap());
    run.wait_until(NOON + 39 * MINUTE);
    assert_eq!(run.standings(), [Standing::InProgress]);
    run.wait_until(NOON + 40 * MINUTE);
    assert_eq!(run.standings(), [Standing::TimedOut]);
}
