//! What a disk can do: the same bytes at the same rate through a bare group commit, one write and one fdatasync for
//! all that has come together. Durable figures are stated beside this one.

use crate::histogram::Histogram;
use crate::load::Cell;
use causeway_tests::vehicle;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Bytes to make durable, when they came, and whom to tell.
type Record = (Vec<u8>, oneshot::Sender<()>);

/// Runs a cell's publishers against the bare file.
pub(crate) async fn run(cell: &Cell) -> Value {
    let (sender, records) = mpsc::unbounded_channel();
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("bare")).unwrap();
    std::thread::spawn(move || commit(file, records));
    let rate = cell.rate.expect("a rate") / cell.publishers as f64;
    let mut publishers = tokio::task::JoinSet::new();
    for n in 0..cell.publishers {
        let sender = sender.clone();
        let seconds = cell.seconds;
        let turn = n as f64 / cell.publishers as f64;
        publishers.spawn(async move { publisher(n, turn, rate, seconds, sender).await });
    }
    let mut histogram = Histogram::new();
    for one in publishers.join_all().await {
        histogram.add(&one);
    }
    serde_json::json!({ "ack": histogram.to_json() })
}

async fn publisher(n: u64, turn: f64, rate: f64, seconds: f64, sender: mpsc::UnboundedSender<Record>) -> Histogram {
    tokio::time::sleep(Duration::from_secs_f64(turn / rate)).await;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let began = Instant::now();
    let mut done = 0_u64;
    let mut running = tokio::task::JoinSet::new();
    let mut histogram = Histogram::new();
    while began.elapsed().as_secs_f64() < seconds + 0.7 {
        tick.tick().await;
        while (done as f64) < began.elapsed().as_secs_f64() * rate {
            let (reply, committed) = oneshot::channel();
            let at = Instant::now();
            sender.send((vehicle::cardata(&format!("vehicle-{n}"), done).to_string().into_bytes(), reply)).unwrap();
            running.spawn(async move { committed.await.map(|()| at.elapsed()) });
            done += 1;
        }
        while let Some(committed) = running.try_join_next() {
            // The first moments warm the file up and do not count, as with the brokers.
            if began.elapsed().as_secs_f64() > 0.7 {
                histogram.record(u64::try_from(committed.unwrap().unwrap().as_nanos()).unwrap());
            }
        }
    }
    histogram
}

fn commit(mut file: File, mut records: mpsc::UnboundedReceiver<Record>) {
    let mut batch = Vec::new();
    while let Some(first) = records.blocking_recv() {
        batch.push(first);
        while let Ok(more) = records.try_recv() {
            batch.push(more);
        }
        let bytes: Vec<u8> = batch.iter().flat_map(|(bytes, _)| bytes).copied().collect();
        file.write_all(&bytes).unwrap();
        rustix::fs::fdatasync(file.as_fd()).unwrap();
        for (_, reply) in batch.drain(..) {
            let _ = reply.send(());
        }
    }
}
