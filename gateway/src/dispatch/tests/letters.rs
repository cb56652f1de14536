//! Dead letters that are sent again: each takes effect once, whatever stops in between.

use super::*;
use crate::store::dead_letters::Progress;

impl Ground {
    /// Asks for all letters as the admin API does, without telling anybody.
    async fn request(&self) -> i64 {
        let served = vec!["telemetry".to_owned()];
        let request = move |tx: &rusqlite::Transaction<'_>| dead_letters::request(tx, &Filter::default(), &served);
        self.parts.store.write(request).await.unwrap().request
    }

    async fn settled(&self, request: i64) -> Progress {
        let progress = async || self.parts.store.read(move |c| dead_letters::progress(c, request)).await.unwrap();
        until("no letter waits", async || progress().await.waiting == 0).await;
        progress().await
    }

    /// A vehicle whose messages are rejected until its VIN is registered.
    async fn register(&self) {
        let attributes = vec![("vin".to_owned(), Some("VIN1".to_owned()))].into_iter().collect();
        self.parts.devices.add("d1", Change { attributes, ..Change::default() }).await.unwrap();
    }
}

fn foreign(number: u32) -> Message {
    Message { sender: "d1".into(), topic: "dt/cvra/d1/cardata".into(), ..cardata("VIN1", number) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_are_sent_again_take_effect_once_while_traffic_flows() {
    let ground = Ground::new().await;
    let dispatch = ground.start(binding()).await;
    let mut last = 0;
    for number in 1..=150 {
        last = ground.append(&foreign(number)).await;
    }
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.letters().await.len(), 150);
    ground.register().await;
    let request = ground.request().await;
    dispatch.bindings()[0].replay();
    for number in 151..=200 {
        last = ground.append(&foreign(number)).await;
    }
    assert_eq!(ground.settled(request).await, Progress::default());
    ground.committed("telemetry/0", last).await;
    let rows = ground.rows("cardata").await;
    let mut ids: Vec<_> = rows.iter().map(|row| row["messageid"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!((rows.len(), ids.len()), (200, 200), "in the order of their positions, none twice");
    assert!(ground.letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_fails_once_more_stays_with_its_newest_reason() {
    let ground = Ground::new().await;
    let dispatch = ground.start(calling(ground.plugin("poisoned.wasm", POISONED))).await;
    let last = ground.append(&message("d1", "!")).await;
    ground.committed("telemetry/0", last).await;
    for attempt in 1..=2 {
        let request = ground.request().await;
        dispatch.bindings()[0].replay();
        assert_eq!(ground.settled(request).await, Progress { waiting: 0, failed: 1 });
        let kept = ground.parts.store.read(|c| dead_letters::list(c, &Filter::default(), 9)).await.unwrap();
        assert_eq!((kept.len(), kept[0].attempts, kept[0].waiting), (1, attempt, false));
        assert_eq!((kept[0].letter.position, kept[0].letter.kind.as_str()), (Some(last), "trap"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_wait_when_the_gateway_stops_are_sent_at_the_next_start() {
    let ground = Ground::new().await;
    let mut dispatch = ground.start(binding()).await;
    let last = ground.append(&foreign(1)).await;
    ground.committed("telemetry/0", last).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);
    ground.register().await;
    let request = ground.request().await;
    let ground = ground.reopened().await;
    let _dispatch = ground.start(BindingConfig { partitions: 3, ..binding() }).await;
    assert_eq!(ground.settled(request).await, Progress::default());
    assert_eq!(ground.rows("cardata").await.len(), 1);
    assert!(ground.letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_a_live_binding_are_sent_again_too() {
    let ground = Ground::new().await;
    let dispatch = ground.start(BindingConfig { delivery: Delivery::Live, ..binding() }).await;
    let live = &dispatch.bindings()[0];
    for number in 1..=3 {
        live.offer(&foreign(number));
    }
    until("three letters", async || ground.letters().await.len() == 3).await;
    ground.register().await;
    let request = ground.request().await;
    live.replay();
    assert_eq!(ground.settled(request).await, Progress::default());
    assert_eq!(ground.rows("cardata").await.len(), 3);
}
