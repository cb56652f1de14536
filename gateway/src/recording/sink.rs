//! Where a binding's threads leave what is to be recorded. It never waits: when the disk is too slow the recording ends.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::format::{Answer, Effect, Input, Outcome, Why};

/// Inputs that wait for the disk; their bytes have a bound of their own.
const QUEUE: usize = 4096;

/// An input on its way to the disk.
pub(super) struct Queued {
    pub(super) input: Box<Input>,
    /// The bytes that it keeps in memory.
    pub(super) size: usize,
}

/// The binding's end of a recording.
#[derive(Debug)]
pub(super) struct Sink {
    queue: SyncSender<Queued>,
    waiting_bytes: AtomicUsize,
    max_waiting_bytes: usize,
    inputs: AtomicU64,
    bytes: AtomicU64,
    ended: Mutex<Option<Why>>,
}

impl Sink {
    /// A sink whose inputs may keep so many bytes in memory, and the writer's end of it.
    pub(super) fn new(max_waiting_bytes: usize) -> (Arc<Self>, Receiver<Queued>) {
        let (queue, taken) = sync_channel(QUEUE);
        let new = Self {
            queue,
            waiting_bytes: AtomicUsize::new(0),
            max_waiting_bytes,
            inputs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            ended: Mutex::new(None),
        };
        (Arc::new(new), taken)
    }

    /// Takes an input without waiting. Without room for it the recording ends here: what it has is whole up to the gap.
    pub(super) fn offer(&self, input: Input) {
        if self.ended().is_some() {
            return;
        }
        let size = size(&input);
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        let queued = Queued { input: Box::new(input), size };
        if waiting > self.max_waiting_bytes || self.queue.try_send(queued).is_err() {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
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

    /// Notes that an input is on its way through the file.
    pub(super) fn written(&self, size: usize, bytes: u64) {
        self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
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

/// About as many bytes as an input keeps in memory.
fn size(input: &Input) -> usize {
    let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let told = input.topic.len() + pairs(&input.variables) + input.sender.len() + pairs(&input.attributes);
    let sent = input.payload.0.len() + input.key.len() + pairs(&input.user_properties);
    let answers: usize = input.answers.iter().map(answer_size).sum();
    size_of::<Input>() + told + sent + answers + outcome_size(&input.outcome)
}

fn answer_size(answer: &Answer) -> usize {
    use super::format::Read;
    size_of::<Answer>()
        + match answer {
            Answer::State { name, value } => name.len() + value.as_ref().map_or(0, |value| value.0.len()),
            Answer::Record { collection, key, read } => {
                let read = match read {
                    Read::Document(text) | Read::Denied(text) | Read::Unavailable(text) => text.len(),
                    Read::Nothing => 0,
                };
                collection.len() + key.iter().map(String::len).sum::<usize>() + read
            }
        }
}

fn outcome_size(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Effects(effects) => effects.iter().map(effect_size).sum(),
        Outcome::Malformed(text) | Outcome::Rejected(text) | Outcome::Unavailable(text) => text.len(),
        Outcome::Trap { limit, reason } => limit.len() + reason.len(),
    }
}

fn effect_size(effect: &Effect) -> usize {
    size_of::<Effect>()
        + match effect {
            Effect::Put { collection, document } => collection.len() + document.len(),
            Effect::Publish { topic, payload, .. } => topic.len() + payload.0.len(),
            Effect::SetState { name, value } => name.len() + value.as_ref().map_or(0, |value| value.0.len()),
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
        let waiting: usize = taken.try_iter().map(|queued| queued.input.payload.0.len()).sum();
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
