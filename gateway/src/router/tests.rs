//! The window and the change of routers, with the panic that rumqttd really has.

use super::*;
use tokio::sync::mpsc;

const LIMITS: Limits = Limits { links: 2, window_messages: 64, window_bytes: 1 << 20 };

struct Running {
    router: Router,
    delivered: [mpsc::UnboundedReceiver<Bytes>; 2],
    shutdown: CancellationToken,
}

fn start() -> Running {
    let router = Router::new(LIMITS, RouterMetrics::default());
    let (tx0, rx0) = mpsc::unbounded_channel();
    let (tx1, rx1) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let deliver = move |link: usize, _, payload| {
        let _ = [&tx0, &tx1][link].send(payload);
    };
    tokio::spawn(router.clone().run(deliver, shutdown.clone()));
    Running { router, delivered: [rx0, rx1], shutdown }
}

impl Running {
    async fn publish(&self, range: std::ops::Range<u32>) {
        for number in range {
            self.router.room().await;
            self.router.publish(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
    }

    async fn expect(&mut self, range: std::ops::Range<u32>) {
        for number in range {
            for link in &mut self.delivered {
                let payload = tokio::time::timeout(Duration::from_secs(10), link.recv()).await.unwrap().unwrap();
                assert_eq!(payload[..], number.to_be_bytes());
            }
        }
    }

    async fn kill(&self) {
        let restarts = self.router.shared.metrics.restarts.get();
        poison(self.router.shared.lock().link.as_mut().unwrap());
        tokio::time::timeout(Duration::from_secs(1), async {
            while self.router.shared.metrics.restarts.get() == restarts {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_link_gets_every_message_once_and_in_order() {
    let mut running = start();
    let publisher = running.publish(0..5000);
    publisher.await;
    running.expect(0..5000).await;
    tokio::time::timeout(Duration::from_secs(1), running.router.drained()).await.unwrap();
    assert_eq!(running.router.shared.metrics.lost.get(), 0);
    running.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_router_is_replaced_within_a_second_and_loses_nothing() {
    let mut running = start();
    running.publish(0..10).await;
    running.expect(0..10).await;
    for round in 1..4 {
        running.kill().await;
        running.publish(round * 10..round * 10 + 10).await;
        running.expect(round * 10..round * 10 + 10).await;
    }
    running.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_in_flight_at_the_death_are_delivered_once() {
    let mut running = start();
    running.publish(0..1).await;
    running.expect(0..1).await;
    {
        let mut ingest = running.router.shared.lock();
        // The poison goes first, so that the router dies with all of these in its buffer.
        poison(ingest.link.as_mut().unwrap());
        for number in 1..50u32 {
            ingest.publish(Bytes::copy_from_slice(&number.to_be_bytes()), &running.router.shared);
        }
    }
    running.expect(1..50).await;
    running.publish(50..60).await;
    running.expect(50..60).await;
    running.shutdown.cancel();
}

#[tokio::test]
async fn without_a_router_the_window_fills_and_refuses() {
    let router = Router::new(LIMITS, RouterMetrics::default());
    for _ in 0..LIMITS.window_messages {
        assert!(router.has_room());
        router.publish(Bytes::new());
    }
    assert!(!router.has_room());
}
