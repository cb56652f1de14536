//! Versions of a plugin: a bad one gives way to the last good one, or the binding is parked until an operator resumes it.

use super::*;
use crate::store::versions::{self, Verdict};

const GOOD: &str = "(call $ok (local.get 3))";
const BETTER: &str = "(nop) (call $ok (local.get 3))";
const BAD: &str = "(unreachable)";

impl Ground {
    async fn append_many(&self, count: usize) -> Position {
        let mut last = 0;
        for number in 0..count {
            last = self.append(&message("d1", format!("{number}"))).await;
        }
        last
    }

    /// A binding with a version that has run well and is in use no more.
    async fn with_good_version(&self) -> BindingConfig {
        let binding = calling(self.plugin("plugin.wasm", GOOD));
        let mut dispatch = self.start(binding.clone()).await;
        let last = self.append_many(25).await;
        self.committed("telemetry/0", last).await;
        until("proven", async || {
            self.parts
                .store
                .read(|c| versions::of(c, "telemetry"))
                .await
                .unwrap()
                .iter()
                .any(|version| version.verdict == Verdict::Good)
        })
        .await;
        dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
        binding
    }

    async fn forgive(&self) {
        self.parts.store.write(|tx| versions::forgive(tx, "telemetry")).await.unwrap();
    }
}

/// Asks the first binding for a version, and waits until all of its partitions have obeyed.
pub(super) async fn ask(
    dispatch: &Dispatch,
    question: impl FnOnce(&Binding) -> Result<TookOver, Problem> + Send + 'static,
) -> Result<TookOver, Problem> {
    let binding = Arc::clone(&dispatch.bindings()[0]);
    let took_over = tokio::task::spawn_blocking(move || question(&binding)).await.unwrap()?;
    until("obeyed", async || dispatch.status()[0].decisions >= took_over.number).await;
    Ok(took_over)
}

fn rolled_back(dispatch: &Dispatch) -> bool {
    matches!(dispatch.status()[0].state, State::RolledBack(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_that_traps_too_often_gives_way_to_the_last_good_one_also_at_the_next_start() {
    let ground = Ground::new().await;
    let binding = ground.with_good_version().await;
    ground.plugin("plugin.wasm", BAD);
    let mut dispatch = ground.start(binding.clone()).await;
    let bad = dispatch.status()[0].digest.clone();
    let last = ground.append_many(60).await;
    ground.committed("telemetry/0", last).await;
    let status = dispatch.status()[0].clone();
    assert!(rolled_back(&dispatch) && status.digest != bad, "{status:?}");
    assert_eq!(ground.letters().await, [], "the good version has handled what the bad one could not");
    assert!(status.dead_letters > 0);
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let dispatch = ground.start(binding).await;
    let last = ground.append_many(5).await;
    ground.committed("telemetry/0", last).await;
    assert!(rolled_back(&dispatch));
    assert_eq!((dispatch.status()[0].traps, dispatch.status()[0].digest != bad), (0, true), "it is not tried again");

    ground.plugin("plugin.wasm", BETTER);
    assert!(ask(&dispatch, Binding::resume).await.unwrap().changed);
    assert_eq!(dispatch.status()[0].state, State::Running);
    let last = ground.append_many(5).await;
    ground.committed("telemetry/0", last).await;
    until("counted", async || dispatch.status()[0].handled == 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_that_refuses_its_configuration_gives_way_until_it_does_not() {
    let ground = Ground::new().await;
    let binding = ground.with_good_version().await;
    let refusing = guest::module(GOOD).replace("(i32.const 1024) ;; configured", "(call $refuse)");
    std::fs::write(ground.home.path().join("plugin.wasm"), guest::encode(&refusing)).unwrap();
    let mut dispatch = ground.start(binding.clone()).await;
    assert!(rolled_back(&dispatch), "{:?}", dispatch.status());
    let last = ground.append_many(1).await;
    ground.committed("telemetry/0", last).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    ground.plugin("plugin.wasm", BETTER);
    assert_eq!(ground.start(binding).await.status()[0].state, State::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_binding_stays_parked_over_a_restart_and_goes_on_where_it_was_when_resumed() {
    let ground = Ground::new().await;
    let binding = calling(ground.plugin("plugin.wasm", BAD));
    let mut dispatch = ground.start(binding.clone()).await;
    let last = ground.append_many(60).await;
    until("parked", async || matches!(dispatch.status()[0].state, State::Parked(_))).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let dispatch = ground.start(binding).await;
    assert!(matches!(dispatch.status()[0].state, State::Parked(_)));
    ask(&dispatch, Binding::resume).await.unwrap();
    assert!(matches!(dispatch.status()[0].state, State::Parked(_)), "nobody has forgiven the version");
    assert_eq!(dispatch.status()[0].calls, 0);

    ground.plugin("plugin.wasm", GOOD);
    ground.forgive().await;
    ask(&dispatch, Binding::resume).await.unwrap();
    ground.committed("telemetry/0", last).await;
    let letters = ground.letters().await.len() as u64;
    assert!(letters < 20, "{letters}");
    until("counted", async || dispatch.status()[0].handled == 60 - letters).await;
    assert_eq!(dispatch.status()[0].state, State::Running);
}
