//! Who gets what, by campaigns and by rules.

use causeway_core::dfu::campaign::{Plan, Standing, State};

use super::*;
use crate::dfu::campaigns::tests::{NOW, World, release};

/// A device that campaigns know, of the type `sensor`.
fn sensor(id: &str) -> Device {
    let attributes = [("type".to_owned(), "sensor".to_owned())].into();
    Device { id: id.to_owned(), enabled: true, attributes, ..Device::default() }
}

fn rule(name: &str, query: &str, reference: &str) -> AssignmentConfig {
    AssignmentConfig {
        name: name.to_owned(),
        devices: query.parse().unwrap(),
        release: reference.to_owned(),
        ..AssignmentConfig::default()
    }
}

/// The catalogue has `sensor:<version>` with its image, but no image of 0.9.0 and nothing else.
fn desired(world: &World, rules: Vec<AssignmentConfig>) -> Desired {
    let releases = Releases {
        release: Box::new(|reference| match reference.strip_prefix("sensor:") {
            Some(version) => Ok(release(version)),
            None => Err(Unready::Unavailable("the registry does not answer".to_owned())),
        }),
        image: Box::new(|image| match image {
            "sha256:0.9.0" => Err(Unready::Fetching),
            _ => Ok(()),
        }),
    };
    Desired::new(rules, world.campaigns.clone(), releases)
}

fn version(desire: &Option<Desire>) -> Option<&str> {
    desire.as_ref()?.release.as_ref().ok().map(|release| release.version.as_str())
}

#[tokio::test]
async fn the_first_rule_that_means_a_device_counts() {
    let world = World::new().await;
    let rules = vec![rule("pilot", "group=pilot", "sensor:0.3.0"), rule("all", "type=sensor", "sensor:0.2.0")];
    let desired = desired(&world, rules);
    let pilot = Device { groups: vec!["pilot".to_owned()], ..sensor("d0") };
    assert_eq!(version(&desired.of(&pilot, None, NOW)), Some("0.3.0"));
    let other = desired.of(&sensor("d1"), Some("0.1.0"), NOW);
    assert_eq!(version(&other), Some("0.2.0"));
    assert_eq!(other.unwrap().by, By::Rule("all".to_owned()));
    assert_eq!(desired.of(&Device::default(), None, NOW), None);
    desired.reload(vec![rule("all", "*", "sensor:0.4.0")]);
    assert_eq!(version(&desired.of(&pilot, None, NOW)), Some("0.4.0"));
}

#[tokio::test]
async fn a_rule_may_ask_what_a_device_runs() {
    let world = World::new().await;
    let desired = desired(&world, vec![rule("old", "version=0.1.*", "sensor:0.2.0")]);
    assert_eq!(version(&desired.of(&sensor("d0"), Some("0.1.7"), NOW)), Some("0.2.0"));
    assert_eq!(desired.of(&sensor("d0"), Some("0.2.0"), NOW), None);
    assert_eq!(desired.of(&sensor("d0"), None, NOW), None);
}

#[tokio::test]
async fn a_downgrade_is_refused_with_the_reason_unless_the_rule_allows_it() {
    let world = World::new().await;
    let strict = desired(&world, vec![rule("all", "*", "sensor:0.2.0")]);
    let refused = strict.of(&sensor("d0"), Some("0.3.0"), NOW).unwrap().refused.unwrap();
    assert!(refused.contains("older"), "{refused}");
    strict.reload(vec![AssignmentConfig { downgrade: true, ..rule("all", "*", "sensor:0.2.0") }]);
    assert_eq!(strict.of(&sensor("d0"), Some("0.3.0"), NOW).unwrap().refused, None);
}

#[tokio::test]
async fn outside_of_its_windows_a_rule_holds_or_only_sends() {
    let world = World::new().await;
    // Unix time began on a Thursday.
    let windows = vec!["thu 12:00-13:00".parse().unwrap()];
    let timed = AssignmentConfig { windows, ..rule("all", "*", "sensor:0.2.0") };
    let desired = desired(&world, vec![timed.clone()]);
    let closed = desired.of(&sensor("d0"), Some("0.1.0"), NOW).unwrap();
    assert_eq!(closed.hold, Some(Hold::Window { opens_ms: Some(12 * 3_600_000) }));
    let open = desired.of(&sensor("d0"), Some("0.1.0"), 12 * 3_600_000).unwrap();
    assert_eq!((open.hold, open.swap), (None, true));
    desired.reload(vec![AssignmentConfig { preload: true, ..timed }]);
    let preloading = desired.of(&sensor("d0"), Some("0.1.0"), NOW).unwrap();
    assert_eq!((preloading.hold, preloading.swap), (None, false));
}

#[tokio::test]
async fn what_cannot_be_had_is_waited_for() {
    let world = World::new().await;
    let desired = desired(&world, vec![rule("far", "id=d0", "oci://h/r:1"), rule("here", "*", "sensor:0.9.0")]);
    let far = desired.of(&sensor("d0"), None, NOW).unwrap();
    assert_eq!(far.release, Err(Hold::Image("the registry does not answer".to_owned())));
    let fetched = desired.of(&sensor("d1"), None, NOW).unwrap();
    assert_eq!(fetched.hold, Some(Hold::Image("it is being fetched".to_owned())));
}

#[tokio::test]
async fn a_campaign_comes_before_the_rules_and_its_later_waves_keep_what_they_run() {
    let world = World::new().await;
    let desired = desired(&world, vec![rule("all", "*", "sensor:0.3.0")]);
    world.begin("one", "id=d0,d1", Plan { waves: vec!["1".parse().unwrap()], ..Plan::default() }).await;
    let first = desired.of(&sensor("d0"), Some("0.1.0"), NOW);
    assert_eq!(version(&first), Some("0.2.0"));
    assert_eq!(first.unwrap().by, By::Campaign("one".to_owned()));
    assert_eq!(desired.of(&sensor("d1"), Some("0.1.0"), NOW), None);
    assert_eq!(version(&desired.of(&sensor("d2"), Some("0.1.0"), NOW)), Some("0.3.0"));
}

#[tokio::test]
async fn a_device_that_runs_the_release_is_done_and_one_that_may_not_have_it_is_skipped() {
    let world = World::new().await;
    let desired = desired(&world, Vec::new());
    world.begin("one", "id=d0,d1", Plan::default()).await;
    assert!(desired.of(&sensor("d0"), Some("0.3.0"), NOW).unwrap().refused.is_some());
    assert_eq!(version(&desired.of(&sensor("d1"), Some("0.2.0"), NOW)), Some("0.2.0"));
    world.settle().await;
    let shown = world.campaigns.show("one").await.unwrap();
    assert_eq!(shown.campaign.progress.state, State::Finished);
    let count = |standing| shown.tallies.iter().map(|tally| tally.count(standing)).sum::<u64>();
    assert_eq!((count(Standing::Skipped), count(Standing::Succeeded)), (1, 1));
    assert_eq!(desired.of(&sensor("d0"), Some("0.3.0"), NOW), None);
}

#[tokio::test]
async fn a_turning_point_under_a_rule_means_nothing_to_campaigns() {
    let world = World::new().await;
    let desired = desired(&world, Vec::new());
    assert!(desired.turned("d0", &By::Rule("all".to_owned()), &Turn::Confirmed, NOW).is_empty());
    assert_eq!(desired.turned("d0", &By::Campaign("one".to_owned()), &Turn::Confirmed, NOW).len(), 1);
}

#[tokio::test]
async fn a_device_that_failed_and_is_unfit_is_noted_once() {
    let world = World::new().await;
    world.begin("one", "id=d0,d1", Plan::default()).await;
    let desired = desired(&world, Vec::new());
    world.turn("one", "d0", Turn::Failed { attempt: 1, reason: "it runs 0.3.0".to_owned() }).await;
    let is_refused = || desired.of(&sensor("d0"), Some("0.3.0"), NOW).is_some_and(|desire| desire.refused.is_some());
    assert!(is_refused());
    assert_eq!(world.noticed(), 1);
    world.settle().await;
    assert_eq!(world.campaigns.target("one", "d0").await.unwrap().unwrap().standing, Standing::Quarantined);
    assert!(is_refused());
    assert_eq!(world.noticed(), 0);
}
