//! Writes one recording on a thread of its own, within its bounds.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

use super::format::{End, Header, Input, Item, MAGIC, Why};
use super::queue::Queued;
use super::sink::Sink;
use crate::clock::Clock;

/// How soon the end of a recording is noticed when nothing comes.
const LOOK: Duration = Duration::from_millis(20);

/// More than an end takes, so that it always fits within the bound.
const END_BYTES: u64 = 128;

/// What a recording may become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Its inputs.
    pub messages: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// A file that is being written.
pub(super) struct Writer {
    file: BufWriter<File>,
    bounds: Bounds,
    clock: Clock,
    crc32c: u32,
}

impl Writer {
    /// Makes the file, readable by nobody else, and writes the header.
    pub(super) fn create(path: &Path, header: &Header, bounds: Bounds, clock: Clock) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut new = Self { file: BufWriter::new(file), bounds, clock, crc32c: 0 };
        new.write(MAGIC)?;
        let header = encoded(header)?;
        new.write(&header)?;
        new.file.flush()?;
        Ok(new)
    }

    /// Takes what comes until the recording ends; says why it did.
    pub(super) fn run(mut self, queue: &Receiver<Queued<Box<Input>>>, sink: &Arc<Sink>) -> Why {
        let why = self.record(queue, sink).and_then(|why| self.finish(why, sink));
        let why = why.unwrap_or_else(|error| {
            tracing::warn!(%error, "a recording cannot be written");
            Why::Disk
        });
        sink.end(why);
        why
    }

    fn record(&mut self, queue: &Receiver<Queued<Box<Input>>>, sink: &Sink) -> io::Result<Why> {
        loop {
            match queue.recv_timeout(LOOK) {
                Ok(queued) => {
                    let item = encoded(&Item::Input(queued.item))?;
                    let bytes = u64::try_from(item.len()).unwrap_or(u64::MAX);
                    if sink.bytes().saturating_add(bytes).saturating_add(END_BYTES) > self.bounds.bytes {
                        return Ok(Why::Bytes);
                    }
                    self.write(&item)?;
                    sink.written(bytes);
                    if sink.inputs() >= self.bounds.messages {
                        return Ok(Why::Messages);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(why) = sink.ended() {
                        return Ok(why);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Why::Shutdown),
            }
        }
    }

    fn finish(&mut self, why: Why, sink: &Sink) -> io::Result<Why> {
        let end = End { why, inputs: sink.inputs(), ended_ms: self.clock.now_ms(), crc32c: self.crc32c };
        let item = encoded(&Item::End(end))?;
        self.write(&item)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(why)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.file.write_all(bytes)
    }
}

fn encoded(item: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(item, &mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
