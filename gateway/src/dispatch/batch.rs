//! Cuts inputs into calls: by count, by bytes and, for a plugin that reads what it wrote, by key. It never waits for
//! more inputs than there are.

use std::collections::HashSet;

use super::intake::Input;
use crate::config::BatchConfig;

/// How much one call gets. Sixteen messages take most of the gain of a batch, more only make a trap dearer; beyond some
/// hundred KiB a batch leaves the processor's cache and costs more for each byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    messages: usize,
    bytes: usize,
    /// At most one message of each key: a call sees the effects of earlier calls, not of its own.
    one_of_a_key: bool,
}

/// Why a call ends where it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// There is no more.
    Inputs,
    /// The next message has a key that is in the call.
    Key,
    /// It has as many messages as it may.
    Messages,
    /// The next message would be too much.
    Bytes,
}

impl Bounds {
    pub(super) fn new(config: &BatchConfig, one_of_a_key: bool) -> Self {
        Self { messages: config.messages.max(1), bytes: config.bytes.in_memory(), one_of_a_key }
    }

    /// The inputs of the next call, why it ends there, and the inputs after it. A message that is larger than a call may
    /// be is a call of its own.
    pub(super) fn cut<'i>(&self, inputs: &'i [Input]) -> (&'i [Input], End, &'i [Input]) {
        let (mut count, mut bytes, mut keys) = (0, 0, HashSet::new());
        let end = loop {
            let Some(input) = inputs.get(count) else { break End::Inputs };
            bytes += input.message.payload.len();
            if count == self.messages {
                break End::Messages;
            }
            if count > 0 && bytes > self.bytes {
                break End::Bytes;
            }
            if self.one_of_a_key && !keys.insert(&*input.key) {
                break End::Key;
            }
            count += 1;
        };
        let (call, later) = inputs.split_at_checked(count).unwrap_or((inputs, &[]));
        (call, end, later)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use causeway_core::message::Message;

    use super::*;
    use crate::config::Size;

    fn input(key: &str, bytes: usize) -> Input {
        let payload = Bytes::from(vec![0; bytes]);
        Input { position: None, key: key.into(), letter: None, message: Message { payload, ..Message::default() } }
    }

    fn check(inputs: &[Input], bounds: Bounds, expected: &[(usize, End)]) {
        let (mut rest, mut found) = (inputs, Vec::new());
        while !rest.is_empty() {
            let (call, end, later) = bounds.cut(rest);
            found.push((call.len(), end));
            rest = later;
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn calls_are_cut_by_count_and_by_bytes() {
        let check = |sizes: &[usize], expected: &[(usize, End)]| {
            let inputs: Vec<_> = sizes.iter().map(|bytes| input("k", *bytes)).collect();
            check(&inputs, Bounds::new(&BatchConfig::default(), false), expected);
        };
        check(&[], &[]);
        check(&[10; 64], &[(64, End::Inputs)]);
        check(&[10; 130], &[(64, End::Messages), (64, End::Messages), (2, End::Inputs)]);
        check(&[200 << 10, 100 << 10, 10], &[(1, End::Bytes), (2, End::Inputs)]);
        check(&[10, 1 << 20, 10], &[(1, End::Bytes), (1, End::Bytes), (1, End::Inputs)]);
    }

    #[test]
    fn the_bounds_are_the_bindings() {
        let config = BatchConfig { messages: 2, bytes: Size::kib(1) };
        let inputs: Vec<_> = [10, 10, 10, 1000, 100].map(|bytes| input("k", bytes)).into_iter().collect();
        let expected = [(2, End::Messages), (2, End::Messages), (1, End::Inputs)];
        check(&inputs, Bounds::new(&config, false), &expected);
    }

    #[test]
    fn a_plugin_that_reads_what_it_wrote_gets_one_message_of_each_key_in_a_call() {
        let inputs: Vec<_> = ["a", "b", "a", "a", "c", "b"].map(|key| input(key, 1)).into_iter().collect();
        let expected = [(2, End::Key), (1, End::Key), (3, End::Inputs)];
        check(&inputs, Bounds::new(&BatchConfig::default(), true), &expected);
        check(&inputs, Bounds::new(&BatchConfig::default(), false), &[(6, End::Inputs)]);
    }
}
