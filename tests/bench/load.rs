//! The load: MQTT 3.1.1 clients that do as little as a client can, so that the broker is what is measured.
//!
//! Frames are written in batches and read in place; latency is the difference of two readings of one clock, because
//! publishers and subscribers are in the same process and each payload begins with the time it was sent.

pub(crate) mod client;
pub(crate) mod publisher;
pub(crate) mod subscriber;
pub(crate) mod updates;

use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// What all clients of one run share.
pub(crate) struct Run {
    pub(crate) start: Instant,
    /// Deliveries count while this is set.
    pub(crate) measuring: AtomicBool,
    /// Publishers stop when this is set.
    pub(crate) stopping: AtomicBool,
    /// Subscribers leave when this is set.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) sent: AtomicU64,
    pub(crate) delivered: AtomicU64,
}

impl Run {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            measuring: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            sent: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        })
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// One cell of a table, as the worker is told it.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) publishers: u64,
    pub(crate) subscribers: u64,
    pub(crate) qos: u8,
    /// Messages per second over all publishers; none means flat out.
    pub(crate) rate: Option<f64>,
    /// QoS 1 messages in flight for each publisher.
    pub(crate) window: usize,
    pub(crate) seconds: f64,
    /// `{n}` is the number of the publisher.
    pub(crate) topic: String,
    pub(crate) filter: String,
    /// The bytes behind the time stamp; text in front of it when the payload must be JSON.
    pub(crate) payload: Payload,
}

/// What is published.
#[derive(Clone)]
pub(crate) enum Payload {
    /// So many bytes, the first eight of which are the time.
    Bytes(usize),
    /// The telemetry of a vehicle; only acknowledgements are timed.
    Telemetry,
}

impl Cell {
    pub(crate) fn from_json(task: &Value) -> Self {
        let number = |name: &str| task[name].as_u64().unwrap_or_default();
        let text = |name: &str| task[name].as_str().unwrap_or_default().to_string();
        Self {
            publishers: number("publishers"),
            subscribers: number("subscribers"),
            qos: u8::try_from(number("qos")).unwrap(),
            rate: task["rate"].as_f64(),
            window: usize::try_from(number("window")).unwrap(),
            seconds: task["seconds"].as_f64().unwrap_or(3.0),
            topic: text("topic"),
            filter: text("filter"),
            payload: if task["telemetry"] == true {
                Payload::Telemetry
            } else {
                Payload::Bytes(usize::try_from(number("payload")).unwrap())
            },
        }
    }
}
