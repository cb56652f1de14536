//! A publisher: flat out with a window, or paced, with the time in each payload.

use super::client::{Client, Target};
use super::{Cell, Payload, Run};
use crate::histogram::Histogram;
use causeway_tests::packet::{frame, put_text};
use causeway_tests::vehicle;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, MissedTickBehavior};

/// The most frames in one write: enough to be cheap, few enough to keep the time stamps honest.
const BATCH: usize = 32;

/// What it takes to write one more frame.
struct Frames {
    head: Vec<u8>,
    id_at: Option<usize>,
    stamp_at: Option<usize>,
    telemetry: Option<(String, u64)>,
    topic: String,
    next_id: u16,
}

impl Frames {
    fn new(cell: &Cell, n: u64) -> Self {
        let topic = cell.topic.replace("{n}", &n.to_string());
        let telemetry = matches!(cell.payload, Payload::Telemetry).then(|| (format!("vehicle-{n}"), 0));
        let mut frames = Self { head: Vec::new(), id_at: None, stamp_at: None, telemetry, topic, next_id: 0 };
        let payload = match cell.payload {
            Payload::Bytes(len) => vec![b'x'; len],
            Payload::Telemetry => Vec::new(),
        };
        frames.encode(cell.qos, &payload);
        frames
    }

    fn encode(&mut self, qos: u8, payload: &[u8]) {
        let mut body = Vec::with_capacity(payload.len() + 64);
        put_text(&mut body, &self.topic);
        let id = body.len();
        if qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        let stamp = body.len();
        body.extend_from_slice(payload);
        let len = body.len();
        self.head = frame(0x30 | (qos << 1), &body);
        let fixed = self.head.len() - len;
        self.id_at = (qos > 0).then_some(fixed + id);
        self.stamp_at = (payload.len() >= 8 && self.telemetry.is_none()).then_some(fixed + stamp);
    }

    /// Appends one frame sent at `now` and returns its packet id.
    fn append(&mut self, qos: u8, now: u64, out: &mut Vec<u8>) -> u16 {
        if let Some((vin, n)) = &mut self.telemetry {
            let payload = vehicle::cardata(vin, *n).to_string();
            *n += 1;
            self.encode(qos, payload.as_bytes());
        }
        if let Some(at) = self.stamp_at {
            self.head[at..at + 8].copy_from_slice(&now.to_be_bytes());
        }
        if let Some(at) = self.id_at {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            self.head[at..at + 2].copy_from_slice(&self.next_id.to_be_bytes());
        }
        out.extend_from_slice(&self.head);
        self.next_id
    }
}

/// One publisher of a run; its histogram is of PUBLISH to PUBACK.
pub(crate) struct Publisher {
    client: Client,
    cell: Cell,
    run: Arc<Run>,
    frames: Frames,
    /// Where in the interval between two messages this publisher begins, from 0 to 1.
    turn: f64,
    sent_at: Vec<u64>,
    in_flight: usize,
    histogram: Histogram,
}

impl Publisher {
    pub(crate) async fn connect(target: &Target, cell: &Cell, n: u64, run: Arc<Run>) -> Self {
        let id = if matches!(cell.payload, Payload::Telemetry) { format!("vehicle-{n}") } else { format!("pub-{n}") };
        let client = Client::connect(target, &id, n, None).await.unwrap();
        let (cell, frames) = (cell.clone(), Frames::new(cell, n));
        let turn = n as f64 / cell.publishers as f64;
        Self { client, cell, run, frames, turn, sent_at: vec![0; 65_536], in_flight: 0, histogram: Histogram::new() }
    }

    /// Publishes until the run stops, then awaits what is still to be acknowledged.
    pub(crate) async fn publish(mut self) -> Histogram {
        let outcome = match self.cell.rate {
            None => self.flat_out().await,
            Some(rate) => self.paced(rate / self.cell.publishers as f64).await,
        };
        if outcome.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(5), self.finish()).await;
        }
        self.histogram
    }

    async fn flat_out(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        while !self.run.is_stopping() {
            let room = if self.cell.qos == 0 { BATCH } else { (self.cell.window - self.in_flight).min(BATCH) };
            self.write(room, self.run.now(), &mut out).await?;
            if self.cell.qos > 0 && self.in_flight == self.cell.window {
                self.read_acks().await?;
            } else {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// A message is stamped with the time it was due, so that a blocked write counts against the broker.
    async fn paced(&mut self, rate: f64) -> io::Result<()> {
        // Publishers take turns within one interval instead of all speaking at once.
        tokio::time::sleep(Duration::from_secs_f64(self.turn / rate)).await;
        let start = Instant::now();
        let offset = self.run.now();
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut done = 0_u64;
        let mut out = Vec::new();
        while !self.run.is_stopping() {
            tokio::select! {
                _ = tick.tick() => {}
                read = read(&mut self.client, &mut self.in_flight, &self.sent_at, &self.run, &mut self.histogram) => {
                    read?;
                    continue;
                }
            }
            // Message k is due k / rate after the start.
            let elapsed = start.elapsed().as_secs_f64();
            let due = (elapsed * rate) as u64 + 1;
            // A timer is late by up to a millisecond; only more than that is somebody's fault.
            let late = elapsed - done as f64 / rate > 0.003;
            while done < due {
                if self.cell.qos > 0 && self.in_flight >= self.cell.window {
                    break;
                }
                let stamp = if late { offset + (done as f64 / rate * 1e9) as u64 } else { self.run.now() };
                let count = if late { 1 } else { usize::try_from(due - done).unwrap().min(BATCH) };
                let count = if self.cell.qos > 0 { count.min(self.cell.window - self.in_flight) } else { count };
                self.write(count, stamp, &mut out).await?;
                done += count as u64;
            }
        }
        Ok(())
    }

    async fn write(&mut self, count: usize, stamp: u64, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        for _ in 0..count {
            let id = self.frames.append(self.cell.qos, stamp, out);
            self.sent_at[usize::from(id)] = stamp;
        }
        self.client.stream.write_all(out).await?;
        self.run.sent.fetch_add(count as u64, Ordering::Relaxed);
        if self.cell.qos > 0 {
            self.in_flight += count;
        }
        Ok(())
    }

    async fn read_acks(&mut self) -> io::Result<()> {
        read(&mut self.client, &mut self.in_flight, &self.sent_at, &self.run, &mut self.histogram).await
    }

    async fn finish(&mut self) -> io::Result<()> {
        while self.in_flight > 0 {
            self.read_acks().await?;
        }
        Ok(())
    }
}

async fn read(
    client: &mut Client,
    in_flight: &mut usize,
    sent_at: &[u64],
    run: &Run,
    histogram: &mut Histogram,
) -> io::Result<()> {
    client
        .read(|first, body| {
            if first == 0x40 {
                *in_flight -= 1;
                let id = u16::from_be_bytes([body[0], body[1]]);
                if run.is_measuring() {
                    histogram.record(run.now().saturating_sub(sent_at[usize::from(id)]));
                }
            }
        })
        .await
}
