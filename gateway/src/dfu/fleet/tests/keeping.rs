//! What is kept, for how long, and how much of it.

use std::sync::mpsc;

use super::*;
use crate::dfu::fleet::view::ForgiveError;

async fn run_once(scene: &Scene) {
    let stop = CancellationToken::new();
    stop.cancel();
    scene.fleet.clone().run(stop).await;
}

#[tokio::test]
async fn a_restart_knows_what_was_counted_and_how_each_device_stands() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    scene.speaks("b", &says("1", None), 11);
    scene.speaks("b", &says("1", Some(500)), 12);
    run_once(&scene).await;
    scene.store.shutdown().await;
    let before: Vec<_> = ["a", "b"].map(|id| scene.fleet.device(id, 20).unwrap()).into();
    let Scene { home, fleet, store, .. } = scene;
    drop((fleet, store));
    let scene = Scene::over(home, DfuConfig::default());
    let after: Vec<_> = ["a", "b"].map(|id| scene.fleet.device(id, 20).unwrap()).into();
    for (before, after) in before.iter().zip(&after) {
        let (mut before, mut after) = (before.clone(), after.clone());
        // How fast it went is not kept.
        for view in [&mut before, &mut after] {
            view.target.as_mut().unwrap().rate = None;
            view.target.as_mut().unwrap().left_ms = None;
        }
        assert_eq!(before, after);
    }
    assert!(scene.metrics().contains("causeway_dfu_devices{state=\"swapping\"} 1"));
    assert_eq!(scene.speaks("a", &says("1", None), 30), Step::Wait, "the failure is seen after the restart too");
}

#[tokio::test]
async fn a_restart_knows_no_attempts_that_were_forgotten_before() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    scene.writes().await;
    scene.speaks("a", &says("2", None), 20);
    *scene.assigned.lock().unwrap() = None;
    scene.speaks("a", &says("3", None), 30);
    run_once(&scene).await;
    let stored = scene.store.read(dfu::all).await.unwrap();
    assert_eq!((stored[0].1.state, stored[0].1.attempts.all()), (State::Idle, [].as_slice()));
}

#[tokio::test]
async fn counts_are_not_written_before_the_turning_points_they_follow_from() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.speaks("a", &says("1", None), 10);
    scene.fleet.parts.flush().await;
    assert!(scene.store.read(dfu::all).await.unwrap().is_empty(), "its turning point waits");
    scene.fleet.parts.write().await;
    scene.speaks("a", &says("1", Some(500)), 11);
    scene.fleet.parts.flush().await;
    let stored = scene.store.read(dfu::all).await.unwrap();
    assert_eq!(stored[0].1.target.as_ref().unwrap().tally.blocks, 2);
}

#[tokio::test]
async fn counts_are_written_although_a_turning_point_before_them_is_given_up() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.refuses_turns("Started").await;
    scene.speaks("a", &says("1", None), 10);
    scene.writes().await;
    assert!(scene.store.read(dfu::all).await.unwrap().is_empty());
    scene.speaks("a", &says("1", Some(500)), 11);
    scene.fleet.parts.flush().await;
    let stored = scene.store.read(dfu::all).await.unwrap();
    assert_eq!(stored[0].1.target.as_ref().unwrap().tally.blocks, 2);
}

#[tokio::test]
async fn what_is_forgiven_and_cannot_be_written_is_said_to_be_so() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    scene.writes().await;
    scene.refuses_turns("Failed").await;
    scene.speaks("a", &says("1", None), 20);
    let (forgiven, _) = tokio::join!(scene.fleet.forgive("a", 30), scene.fleet.parts.write());
    assert!(matches!(forgiven, Err(ForgiveError::Refused)), "{forgiven:?}");
}

#[tokio::test]
async fn what_is_older_never_gets_onto_the_disk_behind_what_is_newer() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    scene.writes().await;
    let (fails, failing) = mpsc::channel();
    let (forgave, forgiven) = mpsc::channel();
    let fleet = scene.fleet.clone();
    let operator = std::thread::spawn(move || {
        failing.recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let both = async { tokio::join!(fleet.forgive("a", 30), fleet.parts.write()) };
        assert!(runtime.block_on(both).0.unwrap());
        // By then nobody may want to know.
        let _ = forgave.send(());
    });
    *scene.meanwhile.lock().unwrap() = Some(Box::new(move || {
        fails.send(()).unwrap();
        // The operator is to wait until the failure is in the ledger; if not, the failure comes behind.
        let _ = forgiven.recv_timeout(Duration::from_millis(200));
    }));
    let _ = scene.fleet.heard(&scene.device("a"), &says("1", None), &scene.line(), 20);
    operator.join().unwrap();
    scene.writes().await;
    assert!(scene.store.read(dfu::all).await.unwrap()[0].1.attempts.all().is_empty());
}

#[tokio::test]
async fn the_history_has_every_attempt_with_its_outcome() {
    let config = DfuConfig { back_off: Duration::ZERO, history: 2, ..DfuConfig::default() };
    let scene = Scene::new(config).await.with_turns().await;
    for now_ms in [10, 30] {
        scene.transfers("a", now_ms);
        scene.writes().await;
        scene.speaks("a", &says("1", None), now_ms + 10);
    }
    scene.transfers("a", 50);
    scene.speaks("a", &says("2", None), 60);
    run_once(&scene).await;
    let read = |connection: &Connection| dfu::history(connection, &dfu::Filter::default(), 10);
    let found = scene.store.read(read).await.unwrap();
    let lines: Vec<_> = found
        .iter()
        .map(|kept| (kept.ended.attempt, kept.ended.at_ms, kept.ended.target.tally.bytes, &kept.ended.end))
        .collect();
    let failed = causeway_core::dfu::update::End::Failed("it runs 1 after it was told to start 2".to_owned());
    // The third attempt begins with what the device was left with, at the device's own offset.
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], (3, 60, 1_500, &causeway_core::dfu::update::End::Confirmed));
    assert_eq!((lines[1].0, lines[1].1, lines[1].3), (2, 40, &failed));
}

#[tokio::test]
async fn a_device_that_finds_the_table_full_waits_and_a_removed_one_makes_room() {
    let config = DfuConfig { max_devices: 2, ..DfuConfig::default() };
    let scene = Scene::new(config).await.with_turns().await;
    scene.speaks("a", &says("1", None), 10);
    scene.speaks("b", &says("1", None), 10);
    assert_eq!(scene.speaks("c", &says("1", None), 10), Step::Wait);
    assert_eq!(scene.speaks("c", &says("2", None), 10), Step::Sync, "it runs what it is to run");
    assert!(scene.fleet.device("c", 10).is_none());
    assert!(scene.metrics().contains("causeway_dfu_full_total 2\n"), "{}", scene.metrics());
    scene.fleet.parts.devices.remove("a").await.unwrap();
    scene.fleet.parts.forget_removed();
    assert!(matches!(scene.speaks("c", &says("1", None), 20), Step::Write { .. }));
}

#[tokio::test]
async fn devices_are_listed_page_by_page_by_query_and_state() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    scene.speaks("b", &says("1", None), 10);
    scene.speaks("c", &says("2", None), 10);
    let ids = |filter: Filter, limit| {
        let views = scene.fleet.devices(&filter, limit, 700_000);
        views.into_iter().map(|view| view.device).collect::<Vec<_>>()
    };
    assert_eq!(ids(Filter::default(), 2), ["a", "b"]);
    assert_eq!(ids(Filter { after: Some("b".to_owned()), ..Filter::default() }, 2), ["c"]);
    assert_eq!(ids(Filter { state: Some(State::Confirmed), ..Filter::default() }, 9), ["c"]);
    assert_eq!(ids(Filter { stalled: Some(true), ..Filter::default() }, 9), ["a", "b"]);
    assert_eq!(ids(Filter { query: "version=1 id!=a".parse().ok(), ..Filter::default() }, 9), ["b"]);
    let (states, stalled) = scene.fleet.states(700_000);
    assert_eq!((states[2], states[3], stalled), ((State::Transferring, 1), (State::Swapping, 1), 2));
}

#[tokio::test]
async fn progress_is_published_when_it_turns_and_on_the_way() {
    let config = DfuConfig { progress_interval: Duration::ZERO, ..DfuConfig::default() };
    let scene = Scene::new(config).await.with_turns().await;
    scene.transfers("a", 10);
    scene.speaks("a", &says("2", None), 1_767_225_600_000);
    run_once(&scene).await;
    let sent = scene.sent.lock().unwrap();
    let progress = sent.iter().filter(|(topic, _)| topic == "progress");
    let progress: Vec<serde_json::Value> = progress.map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    let seen: Vec<_> =
        progress.iter().map(|text| (text["state"].as_str().unwrap(), text["percent"].as_u64().unwrap())).collect();
    for expected in [("assigned", 0), ("transferring", 50), ("swapping", 100), ("confirmed", 100)] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }
    let last = progress.iter().find(|text| text["state"] == "confirmed").unwrap();
    assert_eq!((&last["device"], &last["version"], &last["target"]), (&"a".into(), &"2".into(), &"2".into()));
    assert_eq!(last["at"], "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_status_that_cannot_be_answered_is_shown_until_the_next_that_can() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.fleet.refused("a", &"ü".repeat(400), 7);
    let (problem, at_ms) = scene.fleet.device("a", 10).unwrap().problem.unwrap();
    assert_eq!((problem.len(), at_ms), (MAX_PROBLEM_BYTES, 7));
    scene.speaks("a", &says("1", None), 10);
    assert_eq!(scene.fleet.device("a", 10).unwrap().problem, None);
}

#[tokio::test]
async fn devices_are_told_to_ask_again_at_different_times() {
    let scene = Scene::new(DfuConfig { jitter: 10, ..DfuConfig::default() }).await;
    let polls: std::collections::BTreeSet<_> = (0..200).map(|number| scene.fleet.poll(&number.to_string())).collect();
    assert!(polls.len() > 20 && polls.iter().all(|poll| (270..=330).contains(poll)), "{polls:?}");
    let scene = Scene::new(DfuConfig { jitter: 0, ..DfuConfig::default() }).await;
    assert_eq!(scene.fleet.poll("a"), 300);
}

#[tokio::test]
async fn a_patch_is_measured_by_its_own_size() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    let (device, line) = (scene.device("a"), scene.line());
    let orders = scene.fleet.heard(&device, &says("1", None), &line, 10);
    let step = Step::Write { offset: 50, length: 50, patch: Some("zstd".to_owned()) };
    scene.fleet.told(&device, &orders, &step, Message::default(), &line, 10);
    let target = scene.fleet.device("a", 10).unwrap().target.unwrap();
    assert_eq!((target.size, target.percent, target.patch.as_deref()), (100, 50, Some("zstd")));
}
