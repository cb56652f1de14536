//! Two shapes of the live path, side by side in one process: a fixed set of links with our own trie behind them, and
//! one rumqttd link for each client.
//!
//! `cargo xtask bench router` prints deliveries per second, memory for each client and the cost of a publish
//! after many topics and filters. No sockets and no policy: what is measured is the router's share alone.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway::router::{Limits, Router, RouterMetrics};
use causeway_core::trie::Trie;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::{Notification, RouterConfig};
use tokio_util::sync::CancellationToken;

const PAYLOAD: usize = 256;
const RUN: Duration = Duration::from_secs(3);

pub(crate) fn run() {
    println!("| shape | publishers | subscribers | deliveries/s | publish p50 µs | publish p99 µs |");
    println!("|---|---|---|---|---|---|");
    for (publishers, subscribers) in [(1, 1), (50, 1), (1, 50)] {
        for links in [1, 2] {
            let figures = runtime().block_on(fixed_links(links, publishers, subscribers));
            row(&format!("{links} fixed link(s), own trie"), publishers, subscribers, &figures);
        }
        let figures = runtime().block_on(link_per_client(publishers, subscribers));
        row("a link for each client", publishers, subscribers, &figures);
    }
    println!();
    println!("| shape | clients | memory for each client |");
    println!("|---|---|---|");
    let bytes = runtime().block_on(memory_fixed(5000));
    println!("| fixed links, own trie | 5000 | {bytes} B |");
    let bytes = runtime().block_on(memory_link_per_client(5000));
    println!("| a link for each client | 5000 | {bytes} B |");
    println!();
    println!("| shape | filters | cost of a publish to a new topic | memory kept for each topic |");
    println!("|---|---|---|---|");
    let (micros, bytes) = growth_fixed(10_000, 20_000);
    println!("| fixed links, own trie | 10000 | {micros:.1} µs | {bytes} B |");
    let (micros, bytes) = runtime().block_on(growth_link_per_client(10_000, 2_000));
    println!("| a link for each client | 10000 | {micros:.1} µs | {bytes} B |");
}

struct Figures {
    deliveries_per_s: f64,
    publish_us: Vec<f64>,
}

fn row(shape: &str, publishers: usize, subscribers: usize, figures: &Figures) {
    let mut publish = figures.publish_us.clone();
    publish.sort_by(f64::total_cmp);
    let at = |part: f64| publish.get((publish.len() as f64 * part) as usize).copied().unwrap_or(0.0);
    let rate = figures.deliveries_per_s;
    println!("| {shape} | {publishers} | {subscribers} | {rate:.0} | {:.1} | {:.1} |", at(0.5), at(0.99));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn topic(publisher: usize) -> String {
    format!("dt/cvra/d{publisher}/cardata")
}

async fn fixed_links(links: usize, publishers: usize, subscribers: usize) -> Figures {
    let limits = Limits { links, window_messages: 4096, window_bytes: 4 << 20 };
    let router = Router::new(limits, RouterMetrics::default());
    let counts: Vec<AtomicU64> = (0..subscribers).map(|_| AtomicU64::new(0)).collect();
    let delivered = Arc::new(counts);
    let tries: Vec<Trie<usize, ()>> = (0..links)
        .map(|link| {
            let mut trie = Trie::new();
            for subscriber in (0..subscribers).filter(|subscriber| subscriber % links == link) {
                trie.insert("dt/cvra/+/cardata", subscriber, ());
            }
            trie
        })
        .collect();
    let tries = Arc::new(tries);
    let shutdown = CancellationToken::new();
    let seen = delivered.clone();
    let deliver = move |link: usize, _: u64, payload: Bytes| {
        // The topic's length and the topic come first, as in an encoded message.
        let topic = std::str::from_utf8(&payload[1..1 + payload[0] as usize]).unwrap();
        tries[link].matches(topic, |subscriber, ()| {
            seen[*subscriber].fetch_add(1, Ordering::Relaxed);
        });
    };
    tokio::spawn(router.clone().run(deliver, shutdown.clone()));
    let start = Instant::now();
    let publishing = (0..publishers).map(|publisher| {
        let router = router.clone();
        tokio::spawn(async move {
            let topic = topic(publisher);
            let mut payload = vec![topic.len() as u8];
            payload.extend_from_slice(topic.as_bytes());
            payload.resize(PAYLOAD + payload.len(), 0);
            let mut taken = Vec::new();
            let mut number = 0u64;
            while start.elapsed() < RUN {
                router.room().await;
                let before = Instant::now();
                router.publish(Bytes::copy_from_slice(&payload));
                number += 1;
                if number.is_multiple_of(64) {
                    taken.push(before.elapsed().as_secs_f64() * 1e6);
                    tokio::task::yield_now().await;
                }
            }
            taken
        })
    });
    let publish_us = join(publishing.collect()).await;
    let deliveries: u64 = delivered.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let figures = Figures { deliveries_per_s: deliveries as f64 / start.elapsed().as_secs_f64(), publish_us };
    shutdown.cancel();
    figures
}

async fn join(tasks: Vec<tokio::task::JoinHandle<Vec<f64>>>) -> Vec<f64> {
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

fn config(connections: usize) -> RouterConfig {
    RouterConfig {
        max_connections: connections,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 4,
        ..RouterConfig::default()
    }
}

fn subscribe(tx: &mut LinkTx, rx: &mut LinkRx, filter: &str) {
    tx.subscribe(filter).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !matches!(rx.recv_deadline(deadline).unwrap(), Some(Notification::DeviceAck(_))) {}
}

async fn link_per_client(publishers: usize, subscribers: usize) -> Figures {
    let router = rumqttd::Router::new(0, config(publishers + subscribers + 1)).spawn();
    let delivered = Arc::new(AtomicU64::new(0));
    for subscriber in 0..subscribers {
        let (mut tx, mut rx, _) = LinkBuilder::new(&format!("s{subscriber}"), router.clone()).build().unwrap();
        subscribe(&mut tx, &mut rx, "dt/cvra/+/cardata");
        let delivered = delivered.clone();
        tokio::spawn(async move {
            let _tx = tx;
            while let Ok(notification) = rx.next().await {
                match notification {
                    Some(Notification::Forward(_)) => {
                        delivered.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Notification::Unschedule) => rx.wake().await.unwrap(),
                    _ => {}
                }
            }
        });
    }
    let start = Instant::now();
    let publishing = (0..publishers).map(|publisher| {
        let (mut tx, rx, _) = LinkBuilder::new(&format!("p{publisher}"), router.clone()).build().unwrap();
        let delivered = delivered.clone();
        tokio::spawn(async move {
            let _rx = rx;
            let topic = topic(publisher);
            let mut taken = Vec::new();
            let mut number = 0u64;
            while start.elapsed() < RUN {
                // The same window as the other shape has, shared among the publishers.
                let done = delivered.load(Ordering::Relaxed) / subscribers as u64;
                if number > done / publishers as u64 + 4096 / publishers as u64 {
                    tokio::task::yield_now().await;
                    continue;
                }
                let before = Instant::now();
                tx.publish(topic.clone(), vec![0u8; PAYLOAD]).unwrap();
                number += 1;
                if number.is_multiple_of(64) {
                    taken.push(before.elapsed().as_secs_f64() * 1e6);
                    tokio::task::yield_now().await;
                }
            }
            taken
        })
    });
    let publish_us = join(publishing.collect()).await;
    let deliveries = delivered.load(Ordering::Relaxed);
    Figures { deliveries_per_s: deliveries as f64 / start.elapsed().as_secs_f64(), publish_us }
}

async fn memory_fixed(clients: usize) -> u64 {
    let router =
        Router::new(Limits { links: 1, window_messages: 4096, window_bytes: 4 << 20 }, RouterMetrics::default());
    let shutdown = CancellationToken::new();
    tokio::spawn(router.clone().run(|_, _, _| {}, shutdown.clone()));
    router.publish(Bytes::new());
    router.drained().await;
    let before = resident();
    let mut trie = Trie::new();
    for client in 0..clients {
        trie.insert(&format!("devices/d{client}/commands"), client, ());
    }
    let bytes = resident().saturating_sub(before) / clients as u64;
    shutdown.cancel();
    drop(trie);
    bytes
}

async fn memory_link_per_client(clients: usize) -> u64 {
    let router = rumqttd::Router::new(0, config(clients + 1)).spawn();
    let before = resident();
    let links: Vec<_> = (0..clients)
        .map(|client| {
            let (mut tx, mut rx, _) = LinkBuilder::new(&format!("c{client}"), router.clone()).build().unwrap();
            subscribe(&mut tx, &mut rx, &format!("devices/d{client}/commands"));
            (tx, rx)
        })
        .collect();
    let bytes = resident().saturating_sub(before) / clients as u64;
    drop(links);
    bytes
}

fn growth_fixed(filters: usize, topics: usize) -> (f64, u64) {
    let mut trie = Trie::new();
    for filter in 0..filters {
        trie.insert(&format!("devices/d{filter}/+/commands"), filter, ());
    }
    let before = resident();
    let start = Instant::now();
    let mut found = 0u64;
    for number in 0..topics {
        trie.matches(&format!("devices/d{number}/x/commands"), |_, ()| found += 1);
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / topics as f64;
    assert_eq!(found, filters.min(topics) as u64);
    (micros, resident().saturating_sub(before) / topics as u64)
}

async fn growth_link_per_client(filters: usize, topics: usize) -> (f64, u64) {
    let router = rumqttd::Router::new(0, config(4)).spawn();
    let (mut tx, mut rx, _) = LinkBuilder::new("s", router.clone()).build().unwrap();
    for filter in 0..filters {
        subscribe(&mut tx, &mut rx, &format!("devices/d{filter}/+/commands"));
    }
    let (mut publisher, _rx, _) = LinkBuilder::new("p", router).build().unwrap();
    let before = resident();
    let start = Instant::now();
    for number in 0..topics {
        publisher.publish(format!("devices/d{number}/x/commands"), "").unwrap();
        loop {
            let deadline = Instant::now() + Duration::from_secs(5);
            match rx.recv_deadline(deadline).unwrap() {
                Some(Notification::Forward(_)) => break,
                Some(Notification::Unschedule) => rx.ready().unwrap(),
                _ => {}
            }
        }
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / topics as f64;
    (micros, resident().saturating_sub(before) / topics as u64)
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
