//! Another version takes over while a binding runs: chosen by an operator, named by the configuration, or because the one
//! that runs fails too often.

use super::versions::ask;
use super::*;
use crate::artifacts::layout::{Entry, Layout};
use crate::artifacts::manifest::{IMAGE_MANIFEST, REF_NAME};
use crate::artifacts::{Descriptor, Manifest};
use crate::config::{BatchConfig, TrapsConfig, TrialConfig};
use crate::plugins::component_artifact;
use crate::store::choices;

const GOOD: &str = "(call $ok (local.get 3))";
const BETTER: &str = "(nop) (call $ok (local.get 3))";

/// Says of every message that it is malformed; for calls of one message.
const FAILS: &str = "(call $outcome (i32.const 1) (i32.const 0) (i32.const 0))";

const PERMIT: &str = r#"@id("test") permit (principal is Plugin, action == Action::"publish", resource);"#;

fn chosen(reference: &str) -> Chosen {
    Chosen { reference: reference.to_owned(), signed_as: None, allow_downgrade: false }
}

async fn set(dispatch: &Dispatch, reference: &str) -> Result<TookOver, Problem> {
    let chosen = chosen(reference);
    ask(dispatch, move |binding| binding.set(&chosen)).await
}

async fn reconfigure(dispatch: &Dispatch, config: &BindingConfig) -> Result<TookOver, Problem> {
    let configured = Configured::from(config);
    ask(dispatch, move |binding| binding.reconfigure(configured)).await
}

/// The count that each message of a counting plugin published, in the order in which they took effect.
fn counts(ground: &Ground) -> Vec<(String, u8)> {
    let published = ground.published.lock().unwrap();
    published.iter().map(|message| (message.topic.to_string(), message.payload[0])).collect()
}

/// The repository that the images of a layout are published in.
const REPOSITORY: &str = "r.lan/acme/alarm";

impl Ground {
    fn stick(&self) -> PathBuf {
        self.home.path().join("stick")
    }

    /// Puts a plugin into a layout, under its version as the tag; returns its reference.
    fn publish(&self, version: &str, body: &str) -> String {
        let (stick, component) = (Layout::create(&self.stick()).unwrap(), guest::component(body));
        let annotations = [("org.opencontainers.image.version".to_owned(), version.to_owned())].into();
        let config = Descriptor::of(component_artifact::CONFIG, b"{}");
        let layers = vec![Descriptor::of(component_artifact::COMPONENT, &component)];
        let manifest = Manifest { artifact_type: None, config, layers, annotations }.to_bytes();
        for blob in [&component[..], b"{}", &manifest] {
            stick.keep(blob).unwrap();
        }
        let mut named = Descriptor::of(IMAGE_MANIFEST, &manifest);
        named.annotations.insert(REF_NAME.to_owned(), version.to_owned());
        let mut entries = stick.index().unwrap();
        entries.retain(|entry| entry.name() != Some(version));
        entries.push(Entry { manifest: named });
        stick.write_index(&entries).unwrap();
        format!("oci-layout://{}:{version}", self.stick().display())
    }

    /// A version of the counting plugin whose state is to be read so.
    fn counting(&self, name: &str, state_version: u32) -> String {
        let version = format!("(i32.const {state_version})");
        let module = guest::module(guest::COUNTS).replace("(i32.const 0) ;; state version", &version);
        let path = self.home.path().join(name);
        std::fs::write(&path, guest::encode(&module)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Messages of one device, each to a topic of its own.
    async fn tell(&self, numbers: std::ops::Range<u32>) -> Position {
        let mut last = 0;
        for number in numbers {
            last = self.append(&Message { topic: format!("t/{number}").into(), ..message("d1", "x") }).await;
        }
        last
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_chose_runs_at_later_starts_until_the_configuration_names_another_plugin() {
    let ground = Ground::new().await;
    let binding = calling(ground.plugin("plugin.wasm", GOOD));
    let better = ground.plugin("better.wasm", BETTER);
    let mut dispatch = ground.start(binding.clone()).await;
    let before = dispatch.status()[0].digest.clone();
    let took_over = set(&dispatch, &better).await.unwrap();
    assert!(took_over.changed && took_over.digest != before);
    let status = dispatch.status()[0].clone();
    assert_eq!((&status.digest, &status.plugin, status.chosen), (&took_over.digest, &format!("file://{better}"), true));
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let mut dispatch = ground.start(binding.clone()).await;
    assert_eq!((&dispatch.status()[0].digest, dispatch.status()[0].chosen), (&took_over.digest, true));
    assert!(!reconfigure(&dispatch, &binding).await.unwrap().changed, "the configuration says what it said");
    let other = BindingConfig { plugin: ground.plugin("other.wasm", GOOD), ..binding.clone() };
    assert!(reconfigure(&dispatch, &other).await.unwrap().changed);
    assert_eq!((&dispatch.status()[0].digest, dispatch.status()[0].chosen), (&before, false));
    assert_eq!(ground.parts.store.read(|c| choices::get(c, "telemetry")).await.unwrap(), None);
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugin_of_the_configuration_takes_a_choice_back() {
    let ground = Ground::new().await;
    // As the configuration has it once it is read.
    let binding = calling(format!("file://{}", ground.plugin("plugin.wasm", GOOD)));
    let dispatch = ground.start(binding.clone()).await;
    set(&dispatch, &ground.plugin("better.wasm", BETTER)).await.unwrap();
    set(&dispatch, binding.plugin.strip_prefix("file://").unwrap()).await.unwrap();
    assert!(!dispatch.status()[0].chosen);
    assert_eq!(ground.parts.store.read(|c| choices::get(c, "telemetry")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_cannot_be_run_changes_nothing_and_is_told_of() {
    let ground = Ground::new().await;
    let dispatch = ground.start(calling(ground.plugin("plugin.wasm", GOOD))).await;
    let before = dispatch.status()[0].clone();
    let refusing = guest::module(GOOD).replace("(i32.const 1024) ;; configured", "(call $refuse)");
    let refuses = ground.home.path().join("refuses.wasm").to_str().unwrap().to_owned();
    std::fs::write(&refuses, guest::encode(&refusing)).unwrap();
    for (reference, reason) in [
        ("/nowhere.wasm", "/nowhere.wasm"),
        ("builtin:nothing", "nothing"),
        (&refuses, "refuses"),
        ("here.wasm", "whole path"),
    ] {
        let problem = set(&dispatch, reference).await.unwrap_err().to_string();
        assert!(problem.contains(reason), "{problem}");
        let status = dispatch.status()[0].clone();
        assert_eq!(
            (status.digest, status.state, status.problem),
            (before.digest.clone(), State::Running, Some(problem))
        );
    }
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.parts.store.read(|c| choices::get(c, "telemetry")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_changed_takes_over_when_the_configuration_is_read_again() {
    let ground = Ground::new().await;
    let binding = calling(ground.plugin("plugin.wasm", GOOD));
    let dispatch = ground.start(binding.clone()).await;
    assert!(!reconfigure(&dispatch, &binding).await.unwrap().changed);
    ground.plugin("plugin.wasm", BETTER);
    assert!(reconfigure(&dispatch, &binding).await.unwrap().changed);
    assert!(!reconfigure(&dispatch, &binding).await.unwrap().changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_most_messages_gives_way_and_they_take_effect_in_order() {
    let ground = Ground::with_policy(PERMIT).await;
    let trial = TrialConfig { inputs: 10, failures: 50, ..TrialConfig::default() };
    let batch = BatchConfig { messages: 1, ..BatchConfig::default() };
    let binding = BindingConfig { trial, batch, ..calling(ground.counting("plugin.wasm", 0)) };
    let dispatch = ground.start(binding).await;
    let last = ground.tell(0..5).await;
    ground.committed("telemetry/0", last).await;
    let good = dispatch.status()[0].digest.clone();
    let bad = set(&dispatch, &ground.plugin("fails.wasm", FAILS)).await.unwrap();
    let last = ground.tell(5..40).await;
    ground.committed("telemetry/0", last).await;
    until("all took effect", async || counts(&ground).len() == 40).await;
    let expected: Vec<_> = (0..40_u8).map(|number| (format!("t/{number}"), number + 1)).collect();
    assert_eq!(counts(&ground), expected, "none lost, none twice, none before another");
    let status = dispatch.status()[0].clone();
    assert_eq!(status.digest, good);
    let State::RolledBack(reason) = status.state else { panic!("{:?}", status.state) };
    assert!(reason.contains(&bad.digest) && reason.contains("10 of 10 messages failed"), "{reason}");
    assert_eq!(ground.letters().await, []);
    let problem = set(&dispatch, &ground.plugin("fails.wasm", FAILS)).await.unwrap_err();
    assert!(problem.to_string().contains("causeway binding resume telemetry"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_version_that_fails_has_nothing_to_give_way_to() {
    let ground = Ground::new().await;
    let trial = TrialConfig { inputs: 5, failures: 0, ..TrialConfig::default() };
    let batch = BatchConfig { messages: 1, ..BatchConfig::default() };
    let dispatch = ground.start(BindingConfig { trial, batch, ..calling(ground.plugin("fails.wasm", FAILS)) }).await;
    let last = ground.tell(0..20).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!((&dispatch.status()[0].state, ground.letters().await.len()), (&State::Running, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_partition_finds_bad_no_other_runs() {
    let ground = Ground::new().await;
    let traps = TrapsConfig { most: 3, ..TrapsConfig::default() };
    let binding = BindingConfig { partitions: 4, traps, ..calling(ground.plugin("plugin.wasm", GOOD)) };
    let dispatch = ground.start(binding).await;
    let good = dispatch.status()[0].digest.clone();
    let bad = set(&dispatch, &ground.plugin("bad.wasm", "(unreachable)")).await.unwrap();
    // All of one key, so one partition sees them.
    for _ in 0..10 {
        ground.append(&message("d1", "x")).await;
    }
    until("all partitions gave way", async || dispatch.status()[0].decisions > bad.number).await;
    let standings = dispatch.bindings()[0].digests();
    assert_eq!(standings, vec![good; 4]);
    until("handled by the good version", async || ground.letters().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_remembered_is_put_back_with_the_version_that_left_it() {
    let ground = Ground::with_policy(PERMIT).await;
    let older = ground.counting("older.wasm", 1);
    let dispatch = ground.start(calling(older.clone())).await;
    let last = ground.tell(0..3).await;
    ground.committed("telemetry/0", last).await;
    set(&dispatch, &ground.counting("newer.wasm", 2)).await.unwrap();
    let last = ground.tell(3..5).await;
    ground.committed("telemetry/0", last).await;
    set(&dispatch, &older).await.unwrap();
    let last = ground.tell(5..6).await;
    ground.committed("telemetry/0", last).await;
    until("published", async || counts(&ground).len() == 6).await;
    let found: Vec<_> = counts(&ground).into_iter().map(|(_, count)| count).collect();
    assert_eq!(found, [1, 2, 3, 4, 5, 4], "the newer version goes on with the state, the older one with what it left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_replaced_the_file_while_the_gateway_was_away_leaves_a_way_back() {
    let ground = Ground::with_policy(PERMIT).await;
    let traps = TrapsConfig { most: 3, ..TrapsConfig::default() };
    let binding = BindingConfig { traps, ..calling(ground.counting("plugin.wasm", 1)) };
    let mut dispatch = ground.start(binding.clone()).await;
    let last = ground.tell(0..5).await;
    ground.committed("telemetry/0", last).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let broken = guest::module("(unreachable)").replace("(i32.const 0) ;; state version", "(i32.const 2)");
    std::fs::write(ground.home.path().join("plugin.wasm"), guest::encode(&broken)).unwrap();
    let dispatch = ground.start(binding).await;
    let last = ground.tell(5..15).await;
    ground.committed("telemetry/0", last).await;
    until("published", async || counts(&ground).len() == 10).await;
    let expected: Vec<_> = (5..15_u8).map(|number| (format!("t/{number}"), number + 1)).collect();
    assert_eq!(counts(&ground), expected);
    assert!(matches!(dispatch.status()[0].state, State::RolledBack(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_of_a_repository_runs_only_when_it_is_allowed() {
    let ground = Ground::new().await;
    let (older, newer) = (ground.publish("1.9.0", GOOD), ground.publish("1.10.0", BETTER));
    let published =
        |plugin: &str| BindingConfig { signed_as: Some(REPOSITORY.to_owned()), ..calling(plugin.to_owned()) };
    let choose = async |dispatch: &Dispatch, reference: &str, allow_downgrade| {
        let signed_as = Some(REPOSITORY.to_owned());
        let chosen = Chosen { reference: reference.to_owned(), signed_as, allow_downgrade };
        ask(dispatch, move |binding| binding.set(&chosen)).await
    };
    let mut dispatch = ground.start(published(&newer)).await;
    let status = dispatch.status()[0].clone();
    assert_eq!((status.state, status.version.as_deref()), (State::Running, Some("1.10.0")));
    let refused = choose(&dispatch, &older, false).await.unwrap_err().to_string();
    assert!(refused.contains("1.9.0 of r.lan/acme/alarm is older than 1.10.0"), "{refused}");
    assert!(choose(&dispatch, &older, true).await.unwrap().changed);
    assert_eq!(dispatch.status()[0].version.as_deref(), Some("1.9.0"));
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    // What was allowed is, also at the next start; what the configuration says alone is not.
    let ground = ground.reopened().await;
    let mut dispatch = ground.start(published(&newer)).await;
    assert_eq!((dispatch.status()[0].version.as_deref(), dispatch.status()[0].chosen), (Some("1.9.0"), true));
    assert!(choose(&dispatch, &newer, false).await.unwrap().changed);
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);
    let ground = ground.reopened().await;
    let dispatch = ground.start(published(&older)).await;
    let status = dispatch.status()[0].clone();
    assert_eq!(status.version.as_deref(), Some("1.10.0"), "what ran last");
    assert!(matches!(&status.state, State::RolledBack(reason) if reason.contains("is older than")), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_not_to_be_had_is_waited_for_and_one_that_was_had_is_not_asked_for() {
    let ground = Ground::new().await;
    let reference = format!("oci-layout://{}:1.0.0", ground.stick().display());
    let mut dispatch = ground.start(calling(reference.clone())).await;
    assert!(matches!(dispatch.status()[0].state, State::Parked(_)), "{:?}", dispatch.status());
    let last = ground.append(&message("d1", "x")).await;
    assert_eq!(ground.publish("1.0.0", GOOD), reference);
    until("running", async || dispatch.status()[0].state == State::Running).await;
    ground.committed("telemetry/0", last).await;
    until("counted", async || dispatch.status()[0].handled == 1).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    std::fs::remove_dir_all(ground.stick()).unwrap();
    let ground = ground.reopened().await;
    let mut dispatch = ground.start(calling(reference)).await;
    let status = dispatch.status()[0].clone();
    assert_eq!((status.state, status.version.as_deref()), (State::Running, Some("1.0.0")));
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    // Another one that nobody has: what ran last goes on.
    let ground = ground.reopened().await;
    let dispatch = ground.start(calling(format!("oci-layout://{}:2.0.0", ground.stick().display()))).await;
    let now = dispatch.status()[0].clone();
    assert_eq!((now.digest, now.version.as_deref()), (status.digest, Some("1.0.0")));
    assert!(matches!(now.state, State::RolledBack(_)), "{:?}", now.state);
}
