//! What a partition gets: records of the journal that its binding wants, then what waits in memory.

use bytes::Bytes;
use causeway_core::message::{Message, QoS};
use causeway_core::topic::filter_matches;

use super::binding::Shared;
use crate::journal::{Kind, Position, ReadError, Reader};

/// Messages of one call. Sixteen take most of the gain of a batch; more only make a trap dearer.
const CALL_MESSAGES: usize = 64;

/// Payload bytes of one call: beyond it a batch leaves the processor's cache and costs more for each byte.
const CALL_BYTES: usize = 256 << 10;

/// Records that are read from the journal at once.
const READ_RECORDS: usize = 256;

/// Bytes that are read from the journal at once.
const READ_BYTES: usize = 1 << 20;

/// One input of a binding.
#[derive(Debug)]
pub(super) struct Input {
    /// Its place in the journal; none for what came from memory.
    pub(super) position: Option<Position>,
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
            let from_memory = inbox.take(CALL_MESSAGES).into_iter();
            taken.inputs.extend(from_memory.map(|message| Input { position: None, message }));
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
            let mine = message.qos != QoS::AtMostOnce && self.binding.partition(&message) == self.partition;
            if mine && self.binding.wants(&message.topic) {
                taken.inputs.push(Input { position: Some(entry.position), message });
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

/// Whether a binding with these filters needs a record.
pub(super) fn wanted(kind: Kind, body: &Bytes, filters: &[String]) -> bool {
    let wants = |message: Message| filters.iter().any(|filter| filter_matches(filter, &message.topic));
    kind == Kind::Publish && Message::decode(body).is_ok_and(wants)
}

/// Cuts inputs into calls: by count and by bytes. A message that is larger than a call may be is a call of its own.
pub(super) fn calls(inputs: &[Input]) -> impl Iterator<Item = &[Input]> {
    let mut rest = inputs;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |input: &&Input| {
            bytes += input.message.payload.len();
            bytes <= CALL_BYTES
        };
        let count = rest.iter().take(CALL_MESSAGES).take_while(fits).count().max(1);
        let (call, later) = rest.split_at_checked(count)?;
        rest = later;
        Some(call)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sizes: &[usize], expected: &[usize]) {
        let input = |size: &usize| Input {
            position: None,
            message: Message { payload: Bytes::from(vec![0; *size]), ..Message::default() },
        };
        let inputs: Vec<_> = sizes.iter().map(input).collect();
        assert_eq!(calls(&inputs).map(<[Input]>::len).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn calls_are_cut_by_count_and_by_bytes() {
        check(&[], &[]);
        check(&[10; 64], &[64]);
        check(&[10; 130], &[64, 64, 2]);
        check(&[200 << 10, 100 << 10, 10], &[1, 2]);
        check(&[10, 1 << 20, 10], &[1, 1, 1]);
    }
}
