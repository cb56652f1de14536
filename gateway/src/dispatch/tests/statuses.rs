//! Statuses of devices: what a plugin of the kind `dfu` shares with those of telemetry, and what it has not. What comes of
//! an update is asked of the whole gateway, in the integration tests.

use super::versions::ask;
use super::*;
use crate::config::{PluginKind, TrapsConfig, TrialConfig};
use crate::dfu_guest::{self, TALKS};
use crate::recording::RecordError;

/// It answers nothing.
const BAD: &str = "(unreachable)";

/// A binding of the kind as the configuration makes it, which gives a plugin up after five traps.
fn updating(plugin: String) -> BindingConfig {
    let text = "listeners: [{name: a, bind: \"127.0.0.1:0\", plain: {identity: {fixed: legacy}}}]
bindings: [{name: dfu, kind: dfu, plugin: ./own.wasm}]";
    let mut config = crate::config::parse(text, std::path::Path::new("/etc/causeway.yaml")).unwrap();
    let traps = TrapsConfig { most: 5, ..TrapsConfig::default() };
    let trial = TrialConfig { inputs: 10, failures: 50, ..TrialConfig::default() };
    BindingConfig { plugin, traps, trial, partitions: 2, ..config.bindings.remove(0) }
}

fn status(sender: &str, payload: &'static [u8]) -> Message {
    let topic = format!("dfu/{sender}/status").into();
    Message { topic, payload: payload.into(), sender: sender.into(), qos: QoS::AtLeastOnce, ..Message::default() }
}

impl Ground {
    async fn with_device(id: &str) -> Self {
        let ground = Self::new().await;
        ground.parts.devices.add(id, Change::default()).await.unwrap();
        ground
    }

    fn dfu_plugin(&self, name: &str, body: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, dfu_guest::component(body)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn commands(&self) -> Vec<(String, String)> {
        let text = |message: &Message| String::from_utf8_lossy(&message.payload).into_owned();
        self.published.lock().unwrap().iter().map(|message| (message.topic.to_string(), text(message))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_answered_on_the_command_topic_and_nothing_is_kept_of_it() {
    let ground = Ground::with_device("d1").await;
    let dispatch = ground.start(updating(ground.dfu_plugin("talks.wasm", TALKS))).await;
    dispatch.bindings()[0].offer(&status("d1", b"1-"));
    until("answered", async || ground.commands().len() == 1).await;
    assert_eq!(ground.commands(), [("dfu/d1/command".to_owned(), "s".to_owned())]);
    let command = ground.published.lock().unwrap()[0].clone();
    assert_eq!((command.qos, command.retain, &*command.sender), (QoS::AtLeastOnce, false, ""));
    until("counted", async || dispatch.status()[0].handled == 1).await;
    let outbox = ground.parts.store.read(|c| outbox::pending(c, 0, 10)).await.unwrap();
    assert!(outbox.is_empty() && ground.letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_always_traps_tells_nobody_anything_and_is_parked_until_another_is_set() {
    let ground = Ground::with_device("d1").await;
    let good = ground.dfu_plugin("talks.wasm", TALKS);
    let dispatch = ground.start(updating(ground.dfu_plugin("bad.wasm", BAD))).await;
    for _ in 0..10 {
        dispatch.bindings()[0].offer(&status("d1", b"1-"));
    }
    until("parked", async || matches!(dispatch.status()[0].state, State::Parked(_))).await;
    assert_eq!((ground.commands(), dispatch.status()[0].traps), (Vec::new(), 5));
    ask(&dispatch, move |binding| binding.set(&Chosen { reference: good, signed_as: None, allow_downgrade: false }))
        .await
        .unwrap();
    dispatch.bindings()[0].offer(&status("d1", b"1-"));
    until("answered", async || ground.commands().last().is_some_and(|(_, text)| text == "s")).await;
    assert_eq!(dispatch.status()[0].state, State::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_understands_too_little_gives_way_to_the_one_before() {
    let ground = Ground::with_device("d1").await;
    let dispatch = ground.start(updating(ground.dfu_plugin("talks.wasm", TALKS))).await;
    let digest = dispatch.status()[0].digest.clone();
    // It says of every status that it is malformed.
    let worse = TALKS.replacen("(i32.eqz (i32.load offset=112 (local.get $r)))", "(i32.const 1)", 1);
    let worse = ground.dfu_plugin("worse.wasm", &worse);
    ask(&dispatch, move |binding| binding.set(&Chosen { reference: worse, signed_as: None, allow_downgrade: false }))
        .await
        .unwrap();
    for _ in 0..12 {
        dispatch.bindings()[0].offer(&status("d1", b"1-"));
    }
    until("rolled back", async || matches!(dispatch.status()[0].state, State::RolledBack(_))).await;
    until("answered", async || ground.commands().last().is_some_and(|(_, text)| text == "s")).await;
    assert_eq!(dispatch.status()[0].digest, digest);
    assert!(ground.commands().iter().any(|(_, text)| text == "w"), "what it is told all the same is sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_another_kind_and_a_recording_are_refused() {
    let ground = Ground::with_device("d1").await;
    let other = updating(ground.plugin("other.wasm", "(call $ok (local.get 3))"));
    let errors = ground.try_start(vec![other]).await.err().unwrap();
    assert!(errors[0].to_string().contains("no plugin of kind dfu"), "{}", errors[0]);
    let talks = ground.dfu_plugin("talks.wasm", TALKS);
    let telemetry = BindingConfig { kind: PluginKind::Telemetry, ..updating(talks.clone()) };
    let errors = ground.try_start(vec![telemetry]).await.err().unwrap();
    assert!(errors[0].to_string().contains("firmware"), "{}", errors[0]);
    let _dispatch = ground.start(updating(talks)).await;
    let recordings = ground.parts.recordings.clone();
    let started = tokio::task::spawn_blocking(move || recordings.start("dfu", None, None)).await.unwrap();
    assert!(matches!(started, Err(RecordError::Kind { kind: "dfu", .. })), "{started:?}");
}
