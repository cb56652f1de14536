//! A subscriber: counts and times deliveries and acknowledges them in batches.

use super::client::{Client, Target};
use super::{Cell, Run};
use crate::histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

/// Connects and subscribes; the task ends with the connection or when it is aborted, and leaves its histogram.
pub(crate) async fn start(target: &Target, cell: &Cell, n: u64, run: Arc<Run>) -> JoinHandle<Histogram> {
    let mut client = Client::connect(target, &format!("sub-{n}"), n, None).await.unwrap();
    client.subscribe(&cell.filter, cell.qos).await.unwrap();
    let mut closing = run.closing.subscribe();
    tokio::spawn(async move {
        let mut histogram = Histogram::new();
        let mut acks = Vec::new();
        loop {
            let mut count = 0;
            let reading = client.read(|first, body| {
                if first & 0xf0 != 0x30 {
                    return;
                }
                let now = run.now();
                let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let payload = if first & 0x06 == 0 {
                    topic
                } else {
                    acks.extend_from_slice(&[0x40, 2, body[topic], body[topic + 1]]);
                    topic + 2
                };
                if let Some(stamp) = body.get(payload..payload + 8) {
                    let sent = u64::from_be_bytes(stamp.try_into().unwrap());
                    if run.is_measuring() {
                        histogram.record(now.saturating_sub(sent));
                    }
                }
                count += 1;
            });
            let outcome = tokio::select! {
                outcome = reading => outcome,
                _ = closing.wait_for(|closing| *closing) => return histogram,
            };
            run.delivered.fetch_add(count, Ordering::Relaxed);
            if outcome.is_err() || (!acks.is_empty() && client.stream.write_all(&acks).await.is_err()) {
                return histogram;
            }
            acks.clear();
        }
    })
}
