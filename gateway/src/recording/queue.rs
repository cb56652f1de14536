//! The way of inputs from a binding's threads to another thread: bounded in number and in bytes, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::format::{Answer, Effect, Input, Outcome, Read};

/// Something on its way, with the bytes that it keeps in memory until it is dropped.
pub(super) struct Queued<T> {
    pub(super) item: T,
    _held: Held,
}

/// The binding's end of the way.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: SyncSender<Queued<T>>,
    waiting_bytes: Arc<AtomicUsize>,
    most_bytes: usize,
}

impl<T> Queue<T> {
    /// A way for so many inputs with so many bytes, and its other end.
    pub(super) fn new(most: usize, most_bytes: usize) -> (Self, Receiver<Queued<T>>) {
        let (sender, taken) = sync_channel(most);
        (Self { sender, waiting_bytes: Arc::default(), most_bytes }, taken)
    }

    /// Takes what keeps so many bytes, if there is room for it.
    pub(super) fn offer(&self, item: T, bytes: usize) -> bool {
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let held = Held { bytes, waiting_bytes: Arc::clone(&self.waiting_bytes) };
        waiting <= self.most_bytes && self.sender.try_send(Queued { item, _held: held }).is_ok()
    }
}

/// Gives the room back.
struct Held {
    bytes: usize,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// About as many bytes as an input keeps in memory.
pub(super) fn size(input: &Input) -> usize {
    let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let told = input.topic.len() + pairs(&input.variables) + input.sender.len() + pairs(&input.attributes);
    let sent = input.payload.0.len() + input.key.len() + pairs(&input.user_properties);
    let answers: usize = input.answers.iter().map(answer_size).sum();
    size_of::<Input>() + told + sent + answers + outcome_size(&input.outcome)
}

fn answer_size(answer: &Answer) -> usize {
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
