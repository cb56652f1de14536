//! Devices that take too long: what of the time counts.

use super::super::waits::MAX_STEP;
use super::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Thursday 1970-01-01, 00:00 UTC.
const MIDNIGHT: u64 = 0;

fn limited(minutes: u32, windows: &[&str]) -> Plan {
    let windows = windows.iter().map(|window| window.parse().unwrap()).collect();
    Plan { device_timeout: Some(minutes), error: None, windows, ..Plan::default() }
}

impl World {
    /// A campaign whose device `d0` is in progress.
    async fn in_progress(plan: Plan) -> Self {
        let world = Self::new().await;
        world.begin("one", "id=d0,d1", plan).await;
        world.turn("one", "d0", Turn::Started).await;
        world
    }

    /// Time passes by a clock that nobody sets, and so it does by the wall clock, from `from_ms` on.
    fn pass(&self, minutes: u64, from_ms: u64) {
        let step = MAX_STEP.as_millis() as u64;
        for look in 1..=minutes * MINUTE / step {
            self.campaigns.pass(MAX_STEP, from_ms + look * step - 1);
        }
    }

    async fn standing(&self) -> Standing {
        self.settle().await;
        self.standings("one").await[0].2
    }

    /// It is in progress, until one more minute has passed.
    async fn check_last_minute(&self, from_ms: u64) {
        assert_eq!(self.standing().await, Standing::InProgress);
        self.pass(1, from_ms);
        assert_eq!(self.standing().await, Standing::TimedOut);
    }
}

#[tokio::test]
async fn time_in_which_the_gateway_was_off_does_not_count_and_a_start_begins_anew() {
    let mut world = World::in_progress(limited(30, &[])).await;
    world.pass(29, NOW);
    world.campaigns = world.reopened();
    world.pass(29, NOW + 40 * MINUTE);
    world.check_last_minute(NOW + 70 * MINUTE).await;
}

#[tokio::test]
async fn a_clock_that_jumps_and_a_gateway_that_stood_still_count_for_little() {
    let world = World::in_progress(limited(30, &[])).await;
    world.campaigns.pass(Duration::from_secs(1), NOW + 60 * 365 * 24 * HOUR);
    world.campaigns.pass(Duration::from_secs(24 * 3_600), NOW);
    world.pass(29, NOW);
    world.check_last_minute(NOW).await;
}

#[tokio::test]
async fn the_times_of_several_windows_add_up() {
    let world = World::in_progress(limited(180, &["02:00-04:00"])).await;
    world.pass(24 * 60, MIDNIGHT);
    world.pass(2 * 60 + 59, MIDNIGHT + 24 * HOUR);
    world.check_last_minute(MIDNIGHT + 27 * HOUR - MINUTE).await;
}

#[tokio::test]
async fn windows_that_touch_are_one() {
    for windows in [&["00:00-24:00"][..], &["thu 22:00-24:00", "fri 00:00-04:00"]] {
        let world = World::in_progress(limited(180, windows)).await;
        world.pass(179, MIDNIGHT + 22 * HOUR);
        world.check_last_minute(MIDNIGHT + 25 * HOUR - MINUTE).await;
    }
}

#[tokio::test]
async fn a_pause_does_not_count_and_what_was_before_it_does() {
    let world = World::in_progress(limited(30, &[])).await;
    world.pass(20, NOW);
    world.campaigns.command("one", Command::Pause, NOW).await.unwrap();
    world.pass(60, NOW);
    world.campaigns.command("one", Command::Resume, NOW).await.unwrap();
    world.pass(9, NOW);
    world.check_last_minute(NOW).await;
}

#[tokio::test]
async fn each_attempt_has_its_own_time_and_a_further_order_to_start_the_release_is_none() {
    let world = World::in_progress(limited(30, &[])).await;
    world.pass(29, NOW);
    // Nobody looks between the two, and the clock stands still.
    world.write("one", "d0", failed()).await;
    world.turn("one", "d0", Turn::Started).await;
    world.pass(20, NOW);
    world.turn("one", "d0", Turn::SwapSent(2)).await;
    world.pass(9, NOW);
    world.check_last_minute(NOW).await;
}
