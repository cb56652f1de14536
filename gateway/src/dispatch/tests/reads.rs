//! What a plugin reads is what the calls before left, whatever the batches, the transactions and the restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::guest::COUNTS;
use super::*;
use crate::config::{BatchConfig, CommitConfig, TrapsConfig};
use crate::store::state;

const PERMIT: &str = r#"@id("test") permit (principal is Plugin, action in [Action::"publish", Action::"read", Action::"write"], resource);"#;

/// Publishes what `latest_telemetry` has for the vehicle `v`, or why that cannot be read, then puts the payload there.
const READS: &str = "
    (i64.store (i32.const 60000) (i64.const 0x745f74736574616c)) (i64.store (i32.const 60008) (i64.const 0x797274656d656c65))
    (i32.store8 (i32.const 60032) (i32.const 118))
    (i32.store (i32.const 60040) (i32.const 60032)) (i32.store (i32.const 60044) (i32.const 1))
    (call $record (i32.const 0) (i32.const 60000) (i32.const 16) (i32.const 60040) (i32.const 1) (i32.const 60064))
    (i32.store8 (i32.const 62000) (i32.const 1))
    (i32.store (i32.const 62004) (i32.load (local.get 2))) (i32.store (i32.const 62008) (i32.load offset=4 (local.get 2)))
    (i32.store (i32.const 62012) (i32.load (i32.const 60072)))
    (i32.store (i32.const 62016) (select (i32.load (i32.const 60076)) (i32.const 0)
      (i32.or (i32.load8_u (i32.const 60064)) (i32.load8_u (i32.const 60068)))))
    (i32.store8 (i32.const 62020) (i32.const 1))
    (i32.store8 (i32.const 62024) (i32.const 0))
    (i32.store (i32.const 62028) (i32.const 60000)) (i32.store (i32.const 62032) (i32.const 16))
    (i32.store (i32.const 62036) (i32.load offset=20 (local.get 2))) (i32.store (i32.const 62040) (i32.load offset=24 (local.get 2)))
    (call $outcome (i32.const 0) (i32.const 62000) (i32.const 2))";

/// Sets a value and puts a row that does not fit its collection.
const HALF: &str = "
    (i64.store (i32.const 60000) (i64.const 0x61746164726163)) (i32.store (i32.const 60016) (i32.const 0x7d7b))
    (i32.store8 (i32.const 62000) (i32.const 2))
    (i32.store (i32.const 62004) (i32.const 60000)) (i32.store (i32.const 62008) (i32.const 1))
    (i32.store8 (i32.const 62012) (i32.const 1))
    (i32.store (i32.const 62016) (i32.const 60000)) (i32.store (i32.const 62020) (i32.const 1))
    (i32.store8 (i32.const 62024) (i32.const 0))
    (i32.store (i32.const 62028) (i32.const 60000)) (i32.store (i32.const 62032) (i32.const 7))
    (i32.store (i32.const 62036) (i32.const 60016)) (i32.store (i32.const 62040) (i32.const 2))
    (call $outcome (i32.const 0) (i32.const 62000) (i32.const 2))";

impl Ground {
    /// The counts that were published to each topic, in order; what was sent twice over a restart counts once.
    fn counts(&self) -> BTreeMap<String, Vec<u8>> {
        let mut counts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for message in self.published.lock().unwrap().iter() {
            counts.entry(message.topic.to_string()).or_default().push(message.payload[0]);
        }
        counts
    }

    async fn remembered(&self, key: &'static str) -> Vec<(String, Vec<u8>)> {
        self.parts.store.read(move |c| state::all(c, "telemetry", key)).await.unwrap()
    }

    /// The binding gets its place in the journal, so that what is appended next waits for it.
    async fn known(&self, binding: &BindingConfig) {
        self.start(binding.clone()).await.drain(Instant::now() + Duration::from_secs(10)).await;
    }
}

fn ended(counts: &BTreeMap<String, Vec<u8>>) -> usize {
    counts.values().map(Vec::len).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_counts_by_key_over_batches_and_restarts() {
    let ground = Ground::with_policy(PERMIT).await;
    let binding = calling(ground.plugin("counts.wasm", COUNTS));
    ground.known(&binding).await;
    for number in 0..30 {
        ground.append(&message(["d1", "d2", "d1"][number % 3], "x")).await;
    }
    let mut dispatch = ground.start(binding.clone()).await;
    until("all are counted", async || ended(&ground.counts()) == 30).await;
    assert_eq!(ground.counts()["dt/cvra/d1/cardata"], (1..=20).collect::<Vec<_>>());
    assert_eq!(ground.counts()["dt/cvra/d2/cardata"], (1..=10).collect::<Vec<_>>());
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let _dispatch = ground.start(binding).await;
    ground.append(&message("d2", "x")).await;
    until("it goes on", async || ended(&ground.counts()) == 1).await;
    assert_eq!(ground.counts()["dt/cvra/d2/cardata"], [11]);
    assert_eq!(ground.remembered("d1").await, [("n".to_owned(), vec![20])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_is_exact_when_the_store_ends_in_the_middle() {
    let ground = Ground::with_policy(PERMIT).await;
    // Small transactions, so that the end falls between some of them.
    let commit = CommitConfig { rows: 3, ..CommitConfig::default() };
    let batch = BatchConfig { messages: 2, ..BatchConfig::default() };
    let binding = BindingConfig { commit, batch, ..calling(ground.plugin("counts.wasm", COUNTS)) };
    ground.known(&binding).await;
    let mut last = 0;
    for number in 0..200 {
        last = ground.append(&message(["d1", "d2"][number % 2], "x")).await;
    }
    let mut dispatch = ground.start(binding.clone()).await;
    until("some are counted", async || ended(&ground.counts()) > 0).await;
    // What is not committed is lost, as if the process had been killed.
    ground.parts.store.shutdown().await;
    dispatch.drain(Instant::now()).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let _dispatch = ground.start(binding).await;
    ground.committed("telemetry/0", last).await;
    for key in ["d1", "d2"] {
        assert_eq!(ground.remembered(key).await, [("n".to_owned(), vec![100])], "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_what_an_earlier_call_put_before_it_is_committed() {
    let ground = Ground::with_policy(PERMIT).await;
    let binding = calling(ground.plugin("reads.wasm", READS));
    ground.known(&binding).await;
    let document = |n| format!(r#"{{"vin":"v","deviceid":"d1","sentat":"2026-11-20T10:00:0{n}Z"}}"#);
    // All are there before the start, so they are handled before anything is committed.
    for number in 1..=3 {
        ground.append(&message("d1", document(number))).await;
    }
    let _dispatch = ground.start(binding).await;
    until("published", async || ground.published.lock().unwrap().len() == 3).await;
    let read: Vec<_> = ground.published.lock().unwrap().iter().map(|m| m.payload.clone()).collect();
    assert_eq!(read, ["".into(), document(1), document(2)]);
    ground.append(&message("d1", document(4))).await;
    until("published", async || ground.published.lock().unwrap().len() == 4).await;
    assert_eq!(ground.published.lock().unwrap()[3].payload, document(3), "and when it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_was_not_granted_is_told_which_policy_would() {
    let permit = PERMIT.replace(r#"Action::"read", "#, "");
    let ground = Ground::with_policy(&permit).await;
    let _dispatch = ground.start(calling(ground.plugin("reads.wasm", READS))).await;
    ground.append(&message("d1", r#"{"vin":"v","deviceid":"d1","sentat":"2026-11-20T10:00:00Z"}"#)).await;
    until("published", async || ground.published.lock().unwrap().len() == 1).await;
    let told = String::from_utf8(ground.published.lock().unwrap()[0].payload.to_vec()).unwrap();
    assert!(told.contains("may not read latest_telemetry") && told.contains(r#"action == Action::"read""#), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_waited_for_and_costs_no_message() {
    let ground = Ground::with_policy(PERMIT).await;
    let dispatch = ground.start(calling(ground.plugin("counts.wasm", COUNTS))).await;
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    ground.parts.store.write(|tx| tx.execute_batch("alter table state rename to gone")).await.unwrap();
    let last = ground.append(&message("d1", "x")).await;
    until("stuck", async || matches!(dispatch.status()[0].state, State::Stuck(_))).await;
    ground.parts.store.write(|tx| tx.execute_batch("alter table gone rename to state")).await.unwrap();
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.remembered("d1").await, [("n".to_owned(), vec![2])], "not 1: nothing is not what was stored");
    until("running", async || dispatch.status()[0].state == State::Running).await;
    assert!(ground.letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_has_all_its_effects_or_none() {
    let ground = Ground::with_policy(PERMIT).await;
    let _dispatch = ground.start(calling(ground.plugin("half.wasm", HALF))).await;
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.letters().await[0].kind, "effect");
    assert_eq!(ground.remembered("d1").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_remembers_no_more_than_its_limit() {
    let ground = Ground::with_policy(PERMIT).await;
    let limits = LimitsConfig { state: Size(1), ..LimitsConfig::default() };
    let _dispatch = ground.start(BindingConfig { limits, ..calling(ground.plugin("counts.wasm", COUNTS)) }).await;
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    let letter = ground.letters().await.remove(0);
    assert!(
        letter.kind == "effect" && letter.reason.contains("2 bytes, more than the 1 of `limits.state`"),
        "{letter:?}"
    );
    assert_eq!(ground.remembered("d1").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_together_remember_no_more_than_their_share() {
    let mut ground = Ground::with_policy(PERMIT).await;
    // Two bytes for each key: its name and its count.
    ground.parts.max_state = 4;
    let _dispatch = ground.start(calling(ground.plugin("counts.wasm", COUNTS))).await;
    for device in ["d1", "d2", "d3", "d1"] {
        let last = ground.append(&message(device, "x")).await;
        ground.committed("telemetry/0", last).await;
    }
    let letters = ground.letters().await;
    assert_eq!((letters.len(), letters[0].sender.as_str()), (1, "d3"));
    assert!(letters[0].reason.contains("4 bytes of the 4 of `storage.shares.state`"), "{letters:?}");
    assert_eq!(ground.remembered("d1").await, [("n".to_owned(), vec![2])], "what needs no more room is changed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// The same messages have the same effects in every cut into batches, transactions and partitions, with traps among
    /// them, and whether they were there before the start or came one by one.
    #[test]
    fn how_messages_are_cut_changes_no_effect(
        messages in prop::collection::vec((0..4_u8, prop::bool::weighted(0.1)), 1..80),
        before in any::<prop::sample::Index>(),
        batch in 1..9_usize,
        rows in 1..20_usize,
        partitions in 1..4_u16,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let ground = Ground::with_policy(PERMIT).await;
            let binding = BindingConfig {
                filters: vec!["dt/cvra/{vehicle}/cardata".to_owned()],
                key: Some("vehicle".to_owned()),
                batch: BatchConfig { messages: batch, ..BatchConfig::default() },
                commit: CommitConfig { rows, ..CommitConfig::default() },
                traps: TrapsConfig { most: 1000, ..TrapsConfig::default() },
                partitions,
                ..calling(ground.plugin("counts.wasm", COUNTS))
            };
            ground.known(&binding).await;
            let append = async |(key, poisoned): &(u8, bool)| {
                let topic = format!("dt/cvra/v{key}/cardata").into();
                ground.append(&Message { topic, ..message("d1", if *poisoned { "!" } else { "x" }) }).await;
            };
            let (first, later) = messages.split_at(before.index(messages.len()));
            for message in first {
                append(message).await;
            }
            let _dispatch = ground.start(binding).await;
            for message in later {
                append(message).await;
            }
            let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (key, _) in messages.iter().filter(|(_, poisoned)| !poisoned) {
                let counts = expected.entry(format!("dt/cvra/v{key}/cardata")).or_default();
                counts.push(u8::try_from(counts.len() + 1).unwrap());
            }
            until("all have their effects", async || ended(&ground.counts()) >= ended(&expected)).await;
            assert_eq!(ground.counts(), expected);
            let poisoned = messages.iter().filter(|(_, poisoned)| *poisoned).count();
            until("the others are dead letters", async || ground.letters().await.len() == poisoned).await;
        });
    }
}
