//! Devices that update their firmware, without a pause between two blocks: as little of a device as makes the gateway
//! do all of its work. Beside them the same connections as an echo, and as devices that have nothing to do.
//!
//! The protocol is the packed form of `embedded-update`; whether an image is right is the tests' business.

use super::client::{Client, Target};
use crate::histogram::Histogram;
use causeway_tests::Publish;
use causeway_tests::packet::{Version, ack};
use serde_json::{Value, json};
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

/// What every device runs, and what it is to get.
pub(crate) const OLD: &str = "0.1.0";
pub(crate) const NEW: &str = "0.1.1";

/// How long one command may take before the device is lost for the figures.
const LOST: Duration = Duration::from_secs(60);

/// What the devices of a run do.
#[derive(Clone, Copy)]
enum Mode {
    /// Ask for one block after the other; a device that has all but the last begins again.
    Stream { mtu: u32, size: u32 },
    /// Ask until what is stored has been started and is confirmed.
    Whole { mtu: u32 },
    /// Send so many bytes to themselves, one message after the other.
    Echo { bytes: usize },
    /// Say that all is well, once in so many seconds.
    Poll { every: f64 },
}

impl Mode {
    fn from_json(task: &Value) -> Self {
        let number = |name: &str| u32::try_from(task[name].as_u64().unwrap_or(512)).unwrap();
        let (mtu, size) = (number("mtu"), number("size"));
        match task["mode"].as_str().unwrap() {
            "stream" => Self::Stream { mtu, size },
            "whole" => Self::Whole { mtu },
            "echo" => Self::Echo { bytes: usize::try_from(task["bytes"].as_u64().unwrap()).unwrap() },
            "poll" => Self::Poll { every: task["every"].as_f64().unwrap() },
            other => panic!("unknown mode {other}"),
        }
    }
}

/// What all devices of a run share.
#[derive(Default)]
struct Shared {
    measuring: AtomicBool,
    stopping: AtomicBool,
    blocks: AtomicU64,
    bytes: AtomicU64,
    synced: AtomicU64,
    waits: AtomicU64,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn count(&self, counter: &AtomicU64, more: u64) {
        if self.measuring.load(Ordering::Relaxed) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }
}

/// Connects, says so, waits for the word to go on, runs for so many seconds and says what was measured.
pub(crate) async fn run(task: &Value) -> Value {
    let target = Target::from_json(&task["connection"]);
    let names: Vec<String> = serde_json::from_value(task["names"].clone()).unwrap();
    let mode = Mode::from_json(task);
    let seconds = task["seconds"].as_f64().unwrap();
    let shared = Arc::new(Shared::default());
    let devices = connect(&target, &names, mode).await;
    println!("{}", json!({ "connected": devices.len() }));
    spawn_blocking(|| io::stdin().lock().read_line(&mut String::new())).await.unwrap().unwrap();

    let mut running: JoinSet<_> = devices.into_iter().map(|device| device.live(mode, Arc::clone(&shared))).collect();
    if !matches!(mode, Mode::Whole { .. }) {
        sleep(Duration::from_secs_f64(seconds / 5.0)).await;
    }
    shared.measuring.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(seconds);
    let mut latencies = Histogram::new();
    // A whole update ends with its last device; the others when their time is over.
    while let Ok(Some(ended)) = tokio::time::timeout_at(end.into(), running.join_next()).await {
        latencies.add(&ended.unwrap());
    }
    let took = began.elapsed().as_secs_f64();
    shared.measuring.store(false, Ordering::Relaxed);
    let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let [blocks, bytes, synced, waits] = [&shared.blocks, &shared.bytes, &shared.synced, &shared.waits].map(counted);
    shared.stopping.store(true, Ordering::Relaxed);
    while let Ok(Some(ended)) = timeout(Duration::from_secs(10), running.join_next()).await {
        latencies.add(&ended.unwrap());
    }
    json!({
        "seconds": took, "blocks": blocks, "bytes": bytes, "synced": synced, "waits": waits,
        "turn": latencies.to_json(), "lost": running.len(),
    })
}

async fn connect(target: &Target, names: &[String], mode: Mode) -> Vec<Device> {
    let permits = Arc::new(Semaphore::new(32));
    let mut connecting = JoinSet::new();
    for (n, name) in (0..).zip(names.iter().cloned()) {
        let (target, permits) = (target.clone(), Arc::clone(&permits));
        connecting.spawn(async move {
            let _permit = permits.acquire().await;
            let mut client = Client::connect(&target, &name, n, None).await.unwrap();
            client.shrink();
            let (said, heard) = match mode {
                Mode::Echo { .. } => (format!("bench/{name}"), format!("bench/{name}")),
                _ => (format!("dfu/{name}/status"), format!("dfu/{name}/command")),
            };
            client.subscribe(&heard, 1).await.unwrap();
            Device { client, topic: said, next_id: 1, turn: n as f64 }
        });
    }
    connecting.join_all().await
}

/// A connected device.
struct Device {
    client: Client,
    topic: String,
    next_id: u16,
    /// Its number, which spreads those that seldom speak.
    turn: f64,
}

impl Device {
    /// Returns how long each command took from its status on.
    async fn live(mut self, mode: Mode, shared: Arc<Shared>) -> Histogram {
        let mut histogram = Histogram::new();
        let outcome = match mode {
            Mode::Stream { mtu, size } => self.update(mtu, Some(size), &shared, &mut histogram).await,
            Mode::Whole { mtu } => self.update(mtu, None, &shared, &mut histogram).await,
            Mode::Echo { bytes } => self.echo(bytes, &shared, &mut histogram).await,
            Mode::Poll { every } => self.poll(every, &shared, &mut histogram).await,
        };
        if let Err(error) = outcome {
            eprintln!("{}: {error}", self.topic);
        }
        histogram
    }

    async fn update(
        &mut self,
        mtu: u32,
        again: Option<u32>,
        shared: &Shared,
        histogram: &mut Histogram,
    ) -> io::Result<()> {
        let (mut running, mut stored) = (OLD, None);
        while !shared.is_stopping() {
            let reply = self.ask(&status(running, mtu, stored), shared, histogram).await?;
            match command(&reply).ok_or_else(|| io::Error::other("a command that is none"))? {
                Command::Write { offset, length } => {
                    shared.count(&shared.blocks, 1);
                    shared.count(&shared.bytes, length.into());
                    // A swap would be one attempt too many.
                    let is_enough = again.is_some_and(|size| offset + length + mtu >= size);
                    stored = Some(offset + length).filter(|_| !is_enough);
                }
                Command::Swap => (running, stored) = (NEW, None),
                Command::Sync if running == NEW => {
                    shared.count(&shared.synced, 1);
                    return Ok(());
                }
                Command::Sync | Command::Wait => {
                    shared.count(&shared.waits, 1);
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
        Ok(())
    }

    async fn echo(&mut self, bytes: usize, shared: &Shared, histogram: &mut Histogram) -> io::Result<()> {
        let payload = vec![b'x'; bytes];
        while !shared.is_stopping() {
            let reply = self.ask(&payload, shared, histogram).await?;
            shared.count(&shared.blocks, 1);
            shared.count(&shared.bytes, reply.len() as u64);
        }
        Ok(())
    }

    async fn poll(&mut self, every: f64, shared: &Shared, histogram: &mut Histogram) -> io::Result<()> {
        sleep(Duration::from_secs_f64(every * (self.turn * 0.618).fract())).await;
        while !shared.is_stopping() {
            self.ask(&status(NEW, 512, None), shared, histogram).await?;
            shared.count(&shared.synced, 1);
            sleep(Duration::from_secs_f64(every)).await;
        }
        Ok(())
    }

    /// Publishes at QoS 1 and returns the payload of the next message, acknowledged.
    async fn ask(&mut self, payload: &[u8], shared: &Shared, histogram: &mut Histogram) -> io::Result<Vec<u8>> {
        let publish = Publish::new(&self.topic, payload, 1).id(self.next_id);
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let began = Instant::now();
        self.client.stream.write_all(&publish.bytes(Version::V311)).await?;
        let mut reply = None;
        while reply.is_none() {
            let read = self.client.read(|first, body| {
                if first & 0xf0 == 0x30 {
                    reply = Some((first, body.to_vec()));
                }
            });
            timeout(LOST, read).await.map_err(|_| io::Error::other("no command"))??;
        }
        let (first, body) = reply.unwrap_or_default();
        if shared.measuring.load(Ordering::Relaxed) {
            histogram.record(u64::try_from(began.elapsed().as_nanos()).unwrap());
        }
        let mut at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        if first & 6 != 0 {
            self.client.stream.write_all(&ack(0x40, u16::from_be_bytes([body[at], body[at + 1]]))).await?;
            at += 2;
        }
        Ok(body[at..].to_vec())
    }
}

/// A status in the packed form.
fn status(running: &str, mtu: u32, stored: Option<u32>) -> Vec<u8> {
    let mut out = vec![0xa4, 0x00];
    text(&mut out, running);
    out.extend([0x01, 0x1a]);
    out.extend(mtu.to_be_bytes());
    out.extend([0x02, 0xf6, 0x03]);
    match stored {
        None => out.push(0xf6),
        Some(offset) => {
            out.extend([0xa2, 0x00]);
            text(&mut out, NEW);
            out.extend([0x01, 0x1a]);
            out.extend(offset.to_be_bytes());
        }
    }
    out
}

/// A byte string of fewer than 24 bytes.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(0x40 | u8::try_from(text.len()).unwrap());
    out.extend(text.as_bytes());
}

/// A command as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Command {
    Wait,
    Sync,
    Write { offset: u32, length: u32 },
    Swap,
}

/// Reads a command in the packed form: `{variant: {field: value}}`.
fn command(bytes: &[u8]) -> Option<Command> {
    let mut rest = bytes;
    let ((5, 1), (0, variant), (5, fields)) = (head(&mut rest)?, head(&mut rest)?, head(&mut rest)?) else {
        return None;
    };
    let (mut offset, mut length) = (0, 0);
    for _ in 0..fields {
        let (0, field) = head(&mut rest)? else { return None };
        let (major, value) = head(&mut rest)?;
        let long = if major == 2 { usize::try_from(value).ok()? } else { 0 };
        rest = rest.get(long..)?;
        match field {
            2 => offset = u32::try_from(value).ok()?,
            3 => length = u32::try_from(long).ok()?,
            _ => {}
        }
    }
    match variant {
        0 => Some(Command::Wait),
        1 => Some(Command::Sync),
        2 => Some(Command::Write { offset, length }),
        3 => Some(Command::Swap),
        _ => None,
    }
}

/// The major type of a CBOR item and its number.
fn head(rest: &mut &[u8]) -> Option<(u8, u64)> {
    let (first, more) = rest.split_first()?;
    let (major, low) = (first >> 5, first & 31);
    let width = match low {
        0..24 => 0,
        24..28 => 1 << (low - 24),
        _ => return None,
    };
    let (number, more) = more.split_at_checked(width)?;
    *rest = more;
    let value = number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((major, if width == 0 { low.into() } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_commands_of_the_packed_form_are_understood() {
        let check = |text: &str, expected: Command| assert_eq!(command(&hex(text)), Some(expected), "{text}");
        check("a100a200010119012c", Command::Wait);
        check("a101a30045302e312e3001f602f6", Command::Sync);
        check("a102a40045302e312e31010102190200034568656c6c6f", Command::Write { offset: 512, length: 5 });
        check("a103a30045302e312e3101f60243090909", Command::Swap);
        assert_eq!(command(&hex("a102a40045302e")), None);
    }
}
