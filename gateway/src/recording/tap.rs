//! Between a plugin and its imports: notes what was asked and answered while a recording runs, and costs one look at an
//! atomic pointer while none does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use causeway_host::{Batch, Imports, Outcome, ReadError, Records, State, Trap};

use super::format::{Answer, Blob, Input, Outcome as Recorded, Read};
use super::sink::Sink;

/// Where the sink of a binding's recording is, while there is one.
pub(super) type Slot = Arc<ArcSwapOption<Sink>>;

/// The tap of one plugin instance after the other: it belongs to one thread.
#[derive(Debug, Default)]
pub struct Tap {
    slot: Slot,
    call: Arc<Mutex<Call>>,
}

/// What is noted during a call.
#[derive(Debug, Default)]
struct Call {
    /// Where it goes; none while nothing is recorded.
    sink: Option<Arc<Sink>>,
    answers: Vec<(u32, Answer)>,
}

impl Tap {
    pub(super) fn new(slot: Slot) -> Self {
        Self { slot, call: Arc::default() }
    }

    /// A tap of the same binding for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.slot))
    }

    /// Puts itself between an instance and what answers it.
    #[must_use]
    pub fn imports(&self, imports: Imports) -> Imports {
        let tapped = |call: &Arc<Mutex<Call>>| Arc::clone(call);
        Imports {
            log: imports.log,
            state: Box::new(Tapped { inner: imports.state, call: tapped(&self.call) }),
            records: Box::new(Tapped { inner: imports.records, call: tapped(&self.call) }),
        }
    }

    /// A call begins: whether it is recorded is decided here.
    pub fn begin(&self) {
        let mut call = lock(&self.call);
        call.answers.clear();
        call.sink = self.slot.load_full().filter(|sink| sink.ended().is_none());
    }

    /// A call has ended. `keys` are the messages' units of order. A batch that trapped is not noted: its messages are
    /// asked again one by one.
    pub fn end(&self, batch: &Batch<'_>, keys: &[&str], answer: Result<&[Outcome], &Trap>) {
        let mut call = lock(&self.call);
        let Some(sink) = call.sink.take() else { return };
        let answers = std::mem::take(&mut call.answers);
        drop(call);
        if answer.is_err() && batch.inputs.len() > 1 {
            return;
        }
        for (index, input) in batch.inputs.iter().enumerate() {
            let outcome = match answer {
                Ok(outcomes) => outcomes.get(index).map(Recorded::from),
                Err(trap) => Some(Recorded::from(trap)),
            };
            let Some(outcome) = outcome else { return };
            let mine = |(message, _): &&(u32, Answer)| usize::try_from(*message) == Ok(index);
            let answers = answers.iter().filter(mine).map(|(_, answer)| answer.clone()).collect();
            let sender = usize::try_from(input.sender).ok().and_then(|sender| batch.senders.get(sender));
            sink.offer(Input {
                topic: input.topic.to_owned(),
                variables: owned(input.variables),
                sender: sender.map_or("", |sender| sender.id).to_owned(),
                attributes: sender.map_or_else(Vec::new, |sender| owned(sender.attributes)),
                payload: Blob(input.payload.to_owned()),
                qos: super::convert::qos_bits(input.qos),
                retain: input.retain,
                received_ms: input.received_ms,
                content_type: input.content_type.map(str::to_owned),
                user_properties: owned(input.user_properties),
                key: keys.get(index).copied().unwrap_or_default().to_owned(),
                answers,
                outcome,
            });
        }
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An import with a tap.
struct Tapped<T: ?Sized> {
    call: Arc<Mutex<Call>>,
    inner: Box<T>,
}

impl<T: ?Sized> Tapped<T> {
    /// The first answer to a question is noted: within a call the others are the same.
    fn note(&self, message: u32, answer: impl FnOnce() -> Answer) {
        let mut call = lock(&self.call);
        if call.sink.is_some() {
            let answer = answer();
            if !call.answers.iter().any(|(of, noted)| *of == message && noted.same_question(&answer)) {
                call.answers.push((message, answer));
            }
        }
    }
}

impl State for Tapped<dyn State> {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        let value = self.inner.get(message, name);
        self.note(message, || Answer::State { name: name.to_owned(), value: value.clone().map(Blob) });
        value
    }
}

impl Records for Tapped<dyn Records> {
    fn get(&mut self, message: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        let read = self.inner.get(message, collection, key);
        self.note(message, || Answer::Record {
            collection: collection.to_owned(),
            key: key.iter().map(|part| (*part).to_owned()).collect(),
            read: Read::from(&read),
        });
        read
    }
}

fn lock(call: &Mutex<Call>) -> MutexGuard<'_, Call> {
    call.lock().unwrap_or_else(PoisonError::into_inner)
}
