//! Between a plugin and its imports: notes what was asked and answered while somebody wants to know it, a recording or a
//! shadow, and costs a look at two atomic pointers while nobody does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use causeway_host::{Batch, Imports, Outcome, ReadError, Records, State, Trap};

use super::feed::{Feed, Version};
use super::format::{Answer, Blob, Input, Outcome as Recorded, Read};
use super::sink::Sink;

/// Who wants to know what a binding's plugin is asked and answers.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) recording: ArcSwapOption<Sink>,
    pub(super) shadow: ArcSwapOption<Feed>,
}

/// The tap of one plugin instance after the other: it belongs to one thread.
#[derive(Debug, Default)]
pub struct Tap {
    slots: Arc<Slots>,
    version: Arc<Version>,
    call: Arc<Mutex<Call>>,
}

/// What is noted during a call.
#[derive(Debug, Default)]
struct Call {
    /// Where it goes; nowhere while nothing is recorded.
    sink: Option<Arc<Sink>>,
    feed: Option<Arc<Feed>>,
    answers: Vec<(u32, Answer)>,
}

impl Call {
    const fn noted(&self) -> bool {
        self.sink.is_some() || self.feed.is_some()
    }
}

impl Tap {
    pub(super) fn new(slots: Arc<Slots>, version: Version) -> Self {
        Self { slots, version: Arc::new(version), call: Arc::default() }
    }

    /// A tap of the same binding for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { slots: Arc::clone(&self.slots), version: Arc::clone(&self.version), call: Arc::default() }
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
        call.sink = self.slots.recording.load_full().filter(|sink| sink.ended().is_none());
        call.feed = self.slots.shadow.load_full();
    }

    /// A call has ended. `keys` are the messages' units of order. A batch that trapped is not noted: its messages are
    /// asked again one by one.
    pub fn end(&self, batch: &Batch<'_>, keys: &[&str], answer: Result<&[Outcome], &Trap>) {
        let mut call = lock(&self.call);
        let (sink, feed) = (call.sink.take(), call.feed.take());
        if sink.is_none() && feed.is_none() {
            return;
        }
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
            let noted = Input {
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
            };
            match (&sink, &feed) {
                (Some(sink), Some(feed)) => {
                    sink.offer(noted.clone());
                    feed.offer(noted, Arc::clone(&self.version));
                }
                (Some(sink), None) => sink.offer(noted),
                (None, Some(feed)) => feed.offer(noted, Arc::clone(&self.version)),
                (None, None) => return,
            }
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
        if call.noted() {
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
