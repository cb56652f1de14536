//! A second version beside the one that a binding runs: it sees the same, nothing that it does has an effect, and whatever
//! becomes of it the binding goes on.

use super::guest::COUNTS;
use super::*;
use crate::config::{CanaryConfig, TrapsConfig};
use crate::store::state;

const PERMIT: &str = r#"@id("test") permit (principal is Plugin, action == Action::"publish", resource);"#;

/// Answers after some 20 ms.
const SLOW: &str = "(local $i i32)
    (loop $spin (br_if $spin
      (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 40000000))))
    (call $ok (local.get 3))";

/// Counts in steps of two, after the first.
fn doubles() -> String {
    let doubles = COUNTS.replace("(i32.add (i32.const 1) (i32.load8_u", "(i32.add (i32.const 2) (i32.load8_u");
    assert_ne!(doubles, COUNTS);
    doubles
}

impl Ground {
    /// A binding that counts, with a canary of this `route-batch`.
    fn shadowed(&self, canary: &str) -> BindingConfig {
        let canary = CanaryConfig { plugin: self.plugin("canary.wasm", canary), ..CanaryConfig::default() };
        BindingConfig { canary: Some(canary), ..calling(self.plugin("plugin.wasm", COUNTS)) }
    }

    /// Messages of two senders, which the binding has handled when this returns.
    async fn handle(&self, dispatch: &Dispatch, each: u64) {
        let before = dispatch.status()[0].handled;
        let mut last = 0;
        for number in 0..each {
            last = self.append(&message("d1", format!("{number}"))).await;
            last = last.max(self.append(&message("d2", format!("{number}"))).await);
        }
        self.committed("telemetry/0", last).await;
        until("handled", async || dispatch.status()[0].handled == before + 2 * each).await;
    }

    async fn counted(&self, key: &'static str) -> u8 {
        let value = self.parts.store.read(move |c| state::get(c, "telemetry", key, "n")).await.unwrap();
        value.map_or(0, |value| value[0])
    }
}

fn canary(dispatch: &Dispatch) -> CanaryStatus {
    dispatch.canaries().status("telemetry").unwrap()
}

async fn in_state(dispatch: &Dispatch, word: &str) -> CanaryStatus {
    until(word, async || canary(dispatch).state.word() == word).await;
    canary(dispatch)
}

/// Waits until the canary has seen so many inputs, or they are not shown to it.
async fn seen(dispatch: &Dispatch, inputs: u64) -> CanaryStatus {
    until("seen", async || canary(dispatch).counts.inputs() + canary(dispatch).dropped == inputs).await;
    canary(dispatch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_of_the_same_version_makes_the_same_of_everything_also_of_what_it_remembers() {
    let ground = Ground::with_policy(PERMIT).await;
    let dispatch = ground.start(ground.shadowed(COUNTS)).await;
    in_state(&dispatch, "running").await;
    ground.handle(&dispatch, 20).await;
    ground.append(&message("d1", "!")).await;
    let CanaryStatus { counts, digest, against, state_bytes, .. } = seen(&dispatch, 42).await;
    assert_eq!(counts, CanaryCounts { equal: 42, ..CanaryCounts::default() });
    assert_eq!((against, state_bytes), (digest, 0));
    assert_eq!(dispatch.status()[0].traps, 2, "it is asked twice about what traps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_goes_on_from_what_it_remembers_itself_and_nothing_of_it_takes_effect() {
    let ground = Ground::with_policy(PERMIT).await;
    let mut binding = ground.shadowed(&doubles());
    binding.canary.as_mut().unwrap().outcomes = true;
    let dispatch = ground.start(binding.clone()).await;
    in_state(&dispatch, "running").await;
    ground.handle(&dispatch, 5).await;
    let status = seen(&dispatch, 10).await;
    assert_eq!(status.counts, CanaryCounts { equal: 2, different: 8, ..CanaryCounts::default() });
    let of_d1: Vec<_> = status.differences.iter().filter(|difference| difference.key == "d1").collect();
    let counts = |difference: &&Difference| {
        let (one, other) = difference.outcomes.as_ref().unwrap();
        [one, other].map(|outcome| outcome["effects"][1]["publish"]["payload"].as_str().unwrap().as_bytes()[0])
    };
    assert_eq!(of_d1.iter().map(counts).collect::<Vec<_>>(), [[2, 3], [3, 5], [4, 7], [5, 9]]);
    let what = ["effect 1: set-state \"n\": value", "effect 2: publish \"dt/cvra/d1/cardata\": payload"];
    assert_eq!(of_d1[0].what, what);
    assert!(status.state_bytes > 0);

    assert_eq!((ground.counted("d1").await, ground.counted("d2").await), (5, 5));
    until("published", async || ground.published.lock().unwrap().len() == 10).await;
    let published: Vec<_> = ground.published.lock().unwrap().iter().map(|message| message.payload[0]).collect();
    assert!(published.iter().all(|count| *count <= 5), "{published:?}");

    // Without a canary nobody looks any more, and with one again the counting begins anew.
    dispatch.canaries().apply(&BindingConfig { canary: None, ..binding.clone() });
    assert!(dispatch.canaries().status("telemetry").is_none());
    ground.handle(&dispatch, 1).await;
    dispatch.canaries().apply(&binding);
    in_state(&dispatch, "running").await;
    ground.handle(&dispatch, 1).await;
    // It knows what the binding remembers: 6 of each.
    let status = seen(&dispatch, 2).await;
    assert_eq!(status.differences.iter().map(|it| counts(&it)).collect::<Vec<_>>(), [[7, 8], [7, 8]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_traps_too_often_ends_and_its_binding_does_not() {
    let ground = Ground::with_policy(PERMIT).await;
    let traps = TrapsConfig { most: 5, ..TrapsConfig::default() };
    let dispatch = ground.start(BindingConfig { traps, ..ground.shadowed("(unreachable)") }).await;
    in_state(&dispatch, "running").await;
    ground.handle(&dispatch, 20).await;
    let status = in_state(&dispatch, "ended").await;
    assert!(status.state.reason().unwrap().starts_with("it traps too often, last: trap: "), "{status:?}");
    assert!(status.counts.trapped >= 5 && status.counts.trapped == status.counts.inputs(), "{status:?}");
    assert_eq!(status.differences[0].what, ["a trap (trap) instead of effects"]);
    let binding = dispatch.status()[0].clone();
    assert_eq!((binding.traps, binding.dead_letters, binding.state), (0, 0, State::Running));
    ground.handle(&dispatch, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_is_slower_than_its_binding_loses_inputs_and_holds_nobody_up() {
    let ground = Ground::with_policy(PERMIT).await;
    let mut binding = ground.shadowed(SLOW);
    binding.canary.as_mut().unwrap().queue_messages = 4;
    let dispatch = ground.start(binding).await;
    in_state(&dispatch, "running").await;
    ground.handle(&dispatch, 200).await;
    assert!(canary(&dispatch).counts.inputs() < 400, "the binding is done and the canary is not");
    let status = seen(&dispatch, 400).await;
    assert!(status.dropped > 0 && status.counts.different > 0, "{status:?}");
    assert_eq!(status.state, CanaryState::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_remembers_too_much_ends() {
    let ground = Ground::with_policy(PERMIT).await;
    let mut binding = ground.shadowed(&doubles());
    binding.canary.as_mut().unwrap().max_state = Size(200);
    let dispatch = ground.start(binding).await;
    in_state(&dispatch, "running").await;
    ground.handle(&dispatch, 5).await;
    let status = in_state(&dispatch, "ended").await;
    assert!(status.state.reason().unwrap().contains("`canary.max_state`"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_is_not_to_be_had_is_refused_with_the_reason_and_the_binding_runs() {
    let forbidden =
        r#"@id("no-state") forbid (principal is Plugin, action == Action::"import", resource == Import::"state");"#;
    for (policy, component, part) in [
        (PERMIT, None, "is not there"),
        (forbidden, Some(guest::component(COUNTS)), "may not import"),
        (PERMIT, Some(b"nothing".to_vec()), ""),
    ] {
        let ground = Ground::with_policy(policy).await;
        let path = ground.home.path().join("canary.wasm");
        component.iter().for_each(|bytes| std::fs::write(&path, bytes).unwrap());
        let config = CanaryConfig { plugin: path.to_str().unwrap().to_owned(), ..CanaryConfig::default() };
        let plugin = ground.plugin("plugin.wasm", "(call $ok (local.get 3))");
        let binding = BindingConfig { canary: Some(config), ..calling(plugin) };
        let dispatch = ground.start(binding.clone()).await;
        let status = in_state(&dispatch, "refused").await;
        assert!(status.state.reason().unwrap().contains(part), "{status:?}");
        ground.handle(&dispatch, 2).await;
        // As soon as it is mended it begins.
        std::fs::write(&path, guest::component("(nop) (call $ok (local.get 3))")).unwrap();
        dispatch.canaries().apply(&binding);
        in_state(&dispatch, "running").await;
        ground.handle(&dispatch, 2).await;
        assert_eq!(seen(&dispatch, 4).await.counts.equal, 4);
    }
}
