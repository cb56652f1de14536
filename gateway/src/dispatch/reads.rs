//! What a plugin can read during a call: its state, and documents of collections, as the calls before left them.
//!
//! Effects of earlier calls that are not yet committed lie over one snapshot of the store, on a connection of the
//! partition's own. It is opened at the first read, because most plugins read nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use causeway_host::{Effect, Outcome, ReadError, Records, State};
use rusqlite::Connection;

use super::binding::Binding;
use super::commit::Pending;
use super::effects::Collections;
use super::intake::Input;
use super::permissions::Permissions;
use crate::plugins::Origin;
use crate::policy::{Action, Policies, Resource};
use crate::store::{Reader, Store, collections, state, usage};
use crate::telemetry::Answers;

/// Bytes of the committed values of a key, by name.
pub(super) type Sizes = BTreeMap<String, usize>;

/// The reads of one partition; clones share them.
#[derive(Clone)]
pub(super) struct Reads(Arc<Mutex<Moment>>);

/// What can be read just now.
struct Moment {
    binding: String,
    permissions: Permissions,
    collections: Collections,
    max_skew_ms: u64,
    store: Store,
    /// How long a read may wait for a lock that another process holds.
    patience: Duration,
    reader: Option<Reader>,
    /// Of the messages of the call.
    keys: Vec<ByteString>,
    /// What earlier calls achieved and is not yet committed.
    pending: Pending,
    /// The store did not answer: what the plugin made of that counts for nothing.
    failed: Option<rusqlite::Error>,
    sizes: HashMap<ByteString, Sizes>,
    /// Bytes that all bindings remember.
    all_state: u64,
}

impl Reads {
    pub(super) fn new(binding: &Binding, collections: Collections, policies: Policies, store: Store) -> Self {
        let config = &binding.config;
        Self(Arc::new(Mutex::new(Moment {
            binding: config.name.clone(),
            permissions: Permissions::new(&config.name, binding.kind, &Origin::default(), policies),
            collections,
            max_skew_ms: binding.max_skew_ms(),
            store,
            patience: config.limits.deadline / 2,
            reader: None,
            keys: Vec::new(),
            pending: Pending::default(),
            failed: None,
            sizes: HashMap::new(),
            all_state: 0,
        })))
    }

    /// A version that came from there asks from now on.
    pub(super) fn take_over(&self, binding: &Binding, origin: &Origin) {
        let mut moment = self.lock();
        let name = moment.binding.clone();
        moment.permissions.take_over(&name, binding.kind, origin);
    }

    /// What answers the imports of the partition's instances.
    pub(super) fn answers(&self) -> Answers {
        let reads = self.clone();
        Answers::new(move || (Box::new(reads.clone()), Box::new(reads.clone())))
    }

    /// A call begins: it sees what is committed, and `pending`.
    pub(super) fn begin(&self, inputs: &[Input], pending: Pending) {
        let mut moment = self.lock();
        moment.keys = inputs.iter().map(|input| input.key.clone()).collect();
        moment.pending = pending;
    }

    /// The call has ended with `outcomes`; gives back what is pending, and the error of a store that did not answer.
    pub(super) fn end(&self, inputs: &[Input], outcomes: &[Outcome]) -> (Pending, Option<rusqlite::Error>) {
        let mut moment = self.lock();
        for (input, outcome) in inputs.iter().zip(outcomes) {
            let keeps = |effect: &Effect| matches!(effect, Effect::SetState(_));
            if outcome.iter().flatten().any(keeps) {
                moment.measure(&input.key);
            }
        }
        if let Some(reader) = &mut moment.reader {
            reader.end();
        }
        (std::mem::take(&mut moment.pending), moment.failed.take())
    }

    /// How much is committed for a key of the inputs that were asked about last, and for all keys of all bindings.
    pub(super) fn sizes(&self, key: &ByteString) -> (Sizes, u64) {
        let moment = self.lock();
        (moment.sizes.get(key).cloned().unwrap_or_default(), moment.all_state)
    }

    /// Forgets the sizes: what is committed changes with the next commit.
    pub(super) fn forget(&self) {
        self.lock().sizes.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Moment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reads").finish_non_exhaustive()
    }
}

impl State for Reads {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        self.lock().state(message, name)
    }
}

impl Records for Reads {
    fn get(&mut self, _: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        self.lock().record(collection, key)
    }
}

impl Moment {
    fn state(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        let key = usize::try_from(message).ok().and_then(|message| self.keys.get(message))?.clone();
        if let Some(changed) = self.pending.state(&key).and_then(|names| names.get(name)) {
            return changed.clone();
        }
        let binding = self.binding.clone();
        self.read(|connection| state::get(connection, &binding, &key, name)).unwrap_or_else(|error| {
            self.failed.get_or_insert(error);
            None
        })
    }

    fn record(&mut self, name: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        let Some(collection) = self.collections.get(name).cloned() else {
            return Err(ReadError::Denied(format!("there is no collection `{name}`")));
        };
        let allowed = self.permissions.ask(Action::Read, Resource::Collection(name));
        allowed.map_err(|denial| ReadError::Denied(denial.to_string()))?;
        let columns = collection.key_columns();
        if columns.is_empty() || columns.len() != key.len() {
            let text = format!("the key of collection `{name}` is ({}), not {} values", columns.join(", "), key.len());
            return Err(ReadError::Denied(text));
        }
        let (pending, max_skew_ms) = (std::mem::take(&mut self.pending), self.max_skew_ms);
        let rows = pending.rows(name);
        let read = self.read(|connection| collections::get_after(connection, &collection, key, rows, max_skew_ms));
        self.pending = pending;
        read.map_err(|error| ReadError::Unavailable(format!("collection `{name}` cannot be read: {error}")))
    }

    /// Looks up how much is committed for a key.
    fn measure(&mut self, key: &ByteString) {
        let binding = self.binding.clone();
        let read = |connection: &Connection| {
            Ok((state::all(connection, &binding, key)?, usage::of(connection, "state")?.bytes))
        };
        match self.read(read) {
            Ok((values, all)) => {
                self.all_state = all;
                let sizes = values.into_iter().map(|(name, value)| (name, value.len())).collect();
                self.sizes.insert(key.clone(), sizes);
            }
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }

    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(self.store.reader(self.patience)?),
        };
        reader.read(work)
    }
}
