//! What waits to be committed, and the one transaction that commits it: rows, state, dead letters, outbox and cursor together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use causeway_core::message::{Message, QoS};
use rusqlite::Transaction;

use super::calls::Reason;
use super::effects::{Allowed, Collections};
use super::intake::Input;
use crate::config::CommitConfig;
use crate::journal::Position;
use crate::store::collections::{self, Row};
use crate::store::dead_letters::{self, DeadLetter, Retried};
use crate::store::{cursors, outbox, state};

/// How many times more rows one transaction has while the binding lags: dearer for the others, cheaper for each row.
const LAGGING: usize = 4;

/// How long a cursor that passed nothing of interest waits: it costs a transaction and saves only reading again.
const IDLE: Duration = Duration::from_secs(1);

/// Whose transaction it is.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) binding: String,
    /// Name of the cursor; none for a live binding.
    pub(super) cursor: Option<String>,
    pub(super) collections: Collections,
    pub(super) max_skew_ms: u64,
    pub(super) commit: CommitConfig,
    /// The digest of the plugin, kept with each dead letter.
    pub(super) digest: String,
}

/// Values that a key remembers by name from now on; none removes one.
pub(super) type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// Effects that wait to be committed.
#[derive(Debug, Default)]
pub(super) struct Pending {
    rows: BTreeMap<String, Vec<Row>>,
    pub(super) row_count: usize,
    state: BTreeMap<ByteString, Changes>,
    state_count: usize,
    pub(super) letters: Vec<DeadLetter>,
    /// Letters that were sent again: those that took effect, and those that failed once more.
    pub(super) replayed: Vec<i64>,
    pub(super) failed_again: Vec<Retried>,
    outbox: Vec<(Option<Position>, u32, Vec<u8>)>,
    /// QoS 0 publications: sent after the commit, and lost in a crash, as their guarantee allows.
    pub(super) direct: Vec<Message>,
    pub(super) handled: usize,
    /// Everything up to here has been handled.
    pub(super) position: Option<Position>,
    since: Option<Instant>,
}

impl Pending {
    /// Adds the effects of an input.
    pub(super) fn effects(&mut self, input: &Input, allowed: Allowed) {
        self.handled += 1;
        self.replayed.extend(input.letter);
        self.row_count += allowed.rows.len();
        for (collection, row) in allowed.rows {
            self.rows.entry(collection).or_default().push(row);
        }
        if !allowed.state.is_empty() {
            self.state_count += allowed.state.len();
            self.state.entry(input.key.clone()).or_default().extend(allowed.state);
        }
        for (item, message) in allowed.publications {
            if message.qos == QoS::AtMostOnce {
                self.direct.push(message);
            } else {
                self.outbox.push((input.position, item, message.encode().to_vec()));
            }
        }
        self.touch();
    }

    /// Adds an input that could not be handled.
    pub(super) fn dead_letter(&mut self, owner: &Owner, input: &Input, reason: &Reason, at_ms: u64) {
        self.handled += 1;
        self.touch();
        let (kind, reason, digest) = (reason.kind.to_owned(), reason.text.clone(), owner.digest.clone());
        match input.letter {
            Some(id) => self.failed_again.push(Retried { id, kind, reason, digest, at_ms }),
            None => self.letters.push(DeadLetter {
                binding: owner.binding.clone(),
                position: input.position,
                item: 0,
                topic: input.message.topic.to_string(),
                sender: input.message.sender.to_string(),
                kind,
                reason,
                digest,
                at_ms,
                message: input.encoded().to_vec(),
            }),
        }
    }

    /// Notes that everything up to `position` has been handled.
    pub(super) fn passed(&mut self, position: Option<Position>) {
        self.position = self.position.max(position);
        self.touch();
    }

    /// What a key remembers otherwise than it is stored.
    pub(super) fn state(&self, key: &ByteString) -> Option<&Changes> {
        self.state.get(key)
    }

    /// The rows that wait for a collection, in order.
    pub(super) fn rows(&self, collection: &str) -> &[Row] {
        self.rows.get(collection).map_or(&[], Vec::as_slice)
    }

    fn touch(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Whether there are publications to be sent once this is committed.
    pub(super) fn publishes(&self) -> bool {
        !self.outbox.is_empty() || !self.direct.is_empty()
    }

    /// When it is to be committed, if nothing more comes.
    pub(super) fn due(&self, config: &CommitConfig) -> Option<Instant> {
        let wait = if self.handled > 0 { config.linger } else { IDLE };
        self.since.map(|since| since + wait)
    }

    /// Whether it is to be committed now; `lagging` says that more is waiting already.
    pub(super) fn is_due(&self, config: &CommitConfig, now: Instant, lagging: bool) -> bool {
        let waited = self.due(config).is_some_and(|due| due <= now);
        waited || self.is_full(config, lagging) || (self.publishes() && !lagging)
    }

    /// Whether it has as many rows as a transaction may.
    pub(super) fn is_full(&self, config: &CommitConfig, lagging: bool) -> bool {
        self.row_count + self.state_count >= if lagging { config.rows.saturating_mul(LAGGING) } else { config.rows }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Puts everything into the transaction.
    pub(super) fn apply(&self, tx: &Transaction<'_>, owner: &Owner) -> rusqlite::Result<()> {
        for (name, rows) in &self.rows {
            if let Some(collection) = owner.collections.get(name) {
                collections::insert(tx, collection, rows, owner.max_skew_ms)?;
            }
        }
        for (key, changes) in &self.state {
            for (name, value) in changes {
                state::set(tx, &owner.binding, key, name, value.as_deref())?;
            }
        }
        for letter in &self.letters {
            dead_letters::insert(tx, letter)?;
        }
        for id in &self.replayed {
            dead_letters::took_effect(tx, *id)?;
        }
        for retried in &self.failed_again {
            dead_letters::failed_again(tx, retried)?;
        }
        for (position, item, message) in &self.outbox {
            outbox::insert(tx, &owner.binding, *position, *item, message)?;
        }
        match (&owner.cursor, self.position) {
            (Some(cursor), Some(position)) => cursors::set(tx, cursor, position),
            _ => Ok(()),
        }
    }
}
