//! What a partition gets: records of the journal that its binding wants, then what waits in memory.

use bytes::Bytes;
use bytestring::ByteString;
use causeway_core::message::{Message, QoS};

use super::binding::{Shared, Topics};
use crate::journal::{Kind, Position, ReadError, Reader};

/// Records that are read from the journal at once.
const READ_RECORDS: usize = 256;

/// Bytes that are read from the journal at once.
const READ_BYTES: usize = 1 << 20;

/// One input of a binding.
#[derive(Debug)]
pub(super) struct Input {
    /// Its place in the journal; none for what came from memory.
    pub(super) position: Option<Position>,
    /// Its unit of order and of state.
    pub(super) key: ByteString,
    /// The number of the dead letter that it was until an operator sent it again.
    pub(super) letter: Option<i64>,
    pub(super) message: Message,
}

impl Input {
    /// The encoded message, for a dead letter.
    pub(super) fn encoded(&self) -> Bytes {
        self.message.encode()
    }
}

/// What was taken in at once.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) inputs: Vec<Input>,
    /// The last position that was looked at, wanted or not.
    pub(super) passed: Option<Position>,
    /// There may be more in the journal right now.
    pub(super) more: bool,
    full: bool,
}

impl Taken {
    /// Inputs that are not behind the cursor.
    pub(super) fn of(inputs: Vec<Input>) -> Self {
        Self { inputs, ..Self::default() }
    }

    /// What was taken in before and not handled; after it everything up to `passed` is.
    pub(super) fn held(inputs: Vec<Input>, passed: Option<Position>) -> Self {
        Self { inputs, passed, ..Self::default() }
    }

    /// The journal holds more than is read at once.
    pub(super) fn lagging(&self) -> bool {
        self.full
    }
}

/// Reads for one partition.
pub(super) struct Intake {
    binding: Shared,
    partition: usize,
    /// None for a live binding.
    reader: Option<Reader>,
}

impl Intake {
    pub(super) fn new(binding: Shared, partition: usize, reader: Option<Reader>) -> Self {
        Self { binding, partition, reader }
    }

    /// What is there now, without waiting. Errors of the disk come back as they are; the next call goes on.
    pub(super) fn take(&mut self) -> Result<Taken, ReadError> {
        let mut taken = self.journalled()?;
        if let Some(inbox) = self.binding.inboxes.get(self.partition) {
            let from_memory = inbox.take(self.binding.config.batch.messages).into_iter();
            let input = |message| Input { position: None, key: self.binding.key(&message), letter: None, message };
            taken.inputs.extend(from_memory.map(input));
        }
        Ok(taken)
    }

    fn journalled(&mut self) -> Result<Taken, ReadError> {
        let mut taken = Taken::default();
        let Some(reader) = &mut self.reader else { return Ok(taken) };
        let entries = match reader.next(READ_RECORDS, READ_BYTES) {
            Ok(entries) => entries,
            Err(ReadError::Trimmed { resume }) => {
                let binding = &self.binding.config.name;
                tracing::warn!(
                    binding,
                    resume,
                    "a binding fell behind its budget; the journal gave up what it had not read"
                );
                return Ok(Taken { more: true, ..taken });
            }
            Err(error) => return Err(error),
        };
        taken.more = !entries.is_empty();
        taken.full = entries.len() == READ_RECORDS;
        for entry in entries {
            taken.passed = Some(entry.position);
            if entry.kind != Kind::Publish {
                continue;
            }
            let Ok(message) = Message::decode(&entry.body) else {
                let binding = &self.binding.config.name;
                tracing::error!(
                    binding,
                    position = entry.position,
                    "a journalled message is not readable and is skipped"
                );
                continue;
            };
            if message.qos == QoS::AtMostOnce || !self.binding.topics.want(&message.topic) {
                continue;
            }
            let key = self.binding.key(&message);
            let mine = self.binding.partition(&key) == self.partition;
            if mine && !self.binding.handled_before(&message, entry.position) {
                taken.inputs.push(Input { position: Some(entry.position), key, letter: None, message });
            }
        }
        Ok(taken)
    }

    /// Resolves when something has arrived in memory.
    pub(super) async fn arrived(&self) {
        match self.binding.inboxes.get(self.partition) {
            Some(inbox) => inbox.arrived().await,
            None => std::future::pending().await,
        }
    }
}

/// Whether a binding of these topics needs a record.
pub(super) fn wanted(kind: Kind, body: &Bytes, topics: &Topics) -> bool {
    kind == Kind::Publish && Message::decode(body).is_ok_and(|message| topics.want(&message.topic))
}
