//! Where a binding's threads leave what is to be recorded. It never waits: when the disk is too slow the recording ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::format::{Input, Why};
use super::queue::{Queue, Queued, size};

/// Inputs that wait for the disk; their bytes have a bound of their own.
const QUEUE: usize = 4096;

/// The binding's end of a recording.
#[derive(Debug)]
pub(super) struct Sink {
    queue: Queue<Box<Input>>,
    inputs: AtomicU64,
    bytes: AtomicU64,
    ended: Mutex<Option<Why>>,
}

impl Sink {
    /// A sink whose inputs may keep so many bytes in memory, and the writer's end of it.
    pub(super) fn new(max_waiting_bytes: usize) -> (Arc<Self>, Receiver<Queued<Box<Input>>>) {
        let (queue, taken) = Queue::new(QUEUE, max_waiting_bytes);
        let new = Self { queue, inputs: AtomicU64::new(0), bytes: AtomicU64::new(0), ended: Mutex::new(None) };
        (Arc::new(new), taken)
    }

    /// Takes an input without waiting. Without room for it the recording ends here: what it has is whole up to the gap.
    pub(super) fn offer(&self, input: Input) {
        if self.ended().is_some() {
            return;
        }
        let size = size(&input);
        if !self.queue.offer(Box::new(input), size) {
            self.end(Why::Gap);
        }
    }

    /// Ends it, unless it has ended already.
    pub(super) fn end(&self, why: Why) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Why it ended, if it has.
    pub(super) fn ended(&self) -> Option<Why> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an input is in the file.
    pub(super) fn written(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.inputs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn inputs(&self) -> u64 {
        self.inputs.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(payload: usize) -> Input {
        Input { payload: super::super::format::Blob(vec![0; payload]), ..super::super::tests::input("t") }
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_the_recording_and_never_holds_up_the_binding() {
        let (sink, taken) = Sink::new(usize::MAX);
        for _ in 0..2 * QUEUE {
            sink.offer(input(1));
        }
        assert_eq!((sink.ended(), taken.try_iter().count()), (Some(Why::Gap), QUEUE));
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded_in_bytes() {
        let (sink, taken) = Sink::new(1 << 20);
        for _ in 0..100 {
            sink.offer(input(100 << 10));
        }
        let waiting: usize = taken.try_iter().map(|queued| queued.item.payload.0.len()).sum();
        assert_eq!(sink.ended(), Some(Why::Gap));
        assert!((500 << 10..1 << 20).contains(&waiting), "{waiting}");
    }

    #[test]
    fn the_first_end_counts() {
        let (sink, _taken) = Sink::new(0);
        sink.end(Why::Stopped);
        sink.offer(input(1));
        sink.end(Why::Gap);
        assert_eq!(sink.ended(), Some(Why::Stopped));
    }
}
