//! The outbound window: which messages a client has been sent and not yet acknowledged, under which packet ids.
//!
//! The state machine of MQTT5 4.3 and 4.4 for the sending side, for both versions. It survives a lost connection: what
//! [`Inflight::unacknowledged`] yields is sent again, in the same order and under the same ids.

use std::collections::VecDeque;

use crate::message::QoS;

/// Where one message stands in its handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// PUBLISH is sent; PUBACK or PUBREC is awaited.
    Published,
    /// PUBREL is sent; PUBCOMP is awaited (QoS 2).
    Released,
}

/// One unacknowledged message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry<T> {
    /// The packet id, never 0.
    pub id: u16,
    /// QoS 1 or 2.
    pub qos: QoS,
    /// Its place in the handshake.
    pub stage: Stage,
    /// What was sent.
    pub item: T,
}

/// Unacknowledged messages in the order in which they were sent.
///
/// Ids are assigned in a ring, so that the entries' ids are always in ring order and a lookup is a binary search. An id
/// that a client never acknowledges stops the window once the ring comes round to it, 65,535 messages later.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inflight<T> {
    last: u16,
    entries: VecDeque<Entry<T>>,
}

impl<T> Default for Inflight<T> {
    fn default() -> Self {
        Self { last: 0, entries: VecDeque::new() }
    }
}

impl<T> Inflight<T> {
    /// The number of unacknowledged messages; both stages count against Receive Maximum (MQTT5 4.9).
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is unacknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the next id for `item`; gives it back when no id is free.
    ///
    /// # Errors
    /// The item, when the ring of ids has come round to one that is still unacknowledged.
    pub fn assign(&mut self, qos: QoS, item: T) -> Result<u16, T> {
        let id = self.last.checked_add(1).unwrap_or(1);
        if self.entries.front().is_some_and(|oldest| oldest.id == id) {
            return Err(item);
        }
        self.last = id;
        self.entries.push_back(Entry { id, qos, stage: Stage::Published, item });
        Ok(id)
    }

    /// Puts an entry back under its own id, as read from the journal; entries come in the order they were sent.
    pub fn restore(&mut self, entry: Entry<T>) {
        self.last = entry.id;
        self.entries.push_back(entry);
    }

    /// PUBACK: removes the QoS 1 message and returns it; `None` for an id that awaits none, which is ignored.
    pub fn acknowledge(&mut self, id: u16) -> Option<T> {
        let index = self.find(id)?;
        self.entries.get(index).filter(|entry| entry.qos == QoS::AtLeastOnce)?;
        self.entries.remove(index).map(|entry| entry.item)
    }

    /// PUBREC without an error: the message waits for PUBCOMP now. `None` for an unknown id, which v5 answers with
    /// PUBREL 0x92.
    pub fn receive(&mut self, id: u16) -> Option<&mut T> {
        let index = self.find(id)?;
        let entry = self.entries.get_mut(index).filter(|entry| entry.qos == QoS::ExactlyOnce)?;
        entry.stage = Stage::Released;
        Some(&mut entry.item)
    }

    /// PUBREC with an error (MQTT5 4.3.3): the receiver refused the message, the handshake ends.
    pub fn refuse(&mut self, id: u16) -> Option<T> {
        let index = self.find(id)?;
        self.entries.get(index).filter(|entry| entry.qos == QoS::ExactlyOnce && entry.stage == Stage::Published)?;
        self.entries.remove(index).map(|entry| entry.item)
    }

    /// PUBCOMP: removes the QoS 2 message; `None` for an id that awaits none.
    pub fn complete(&mut self, id: u16) -> Option<T> {
        let index = self.find(id)?;
        self.entries.get(index).filter(|entry| entry.stage == Stage::Released)?;
        self.entries.remove(index).map(|entry| entry.item)
    }

    /// What has to be sent again on a new connection, in order.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter()
    }

    /// The entry under `id`.
    #[must_use]
    pub fn get(&self, id: u16) -> Option<&Entry<T>> {
        self.find(id).and_then(|index| self.entries.get(index))
    }

    /// Puts another item under a known id.
    pub fn replace(&mut self, id: u16, item: T) {
        if let Some(entry) = self.find(id).and_then(|index| self.entries.get_mut(index)) {
            entry.item = item;
        }
    }

    /// Puts another item in the place of each, with its id and its stage.
    pub fn replace_all(&mut self, with: impl Fn(T) -> T) {
        let entries = std::mem::take(&mut self.entries);
        self.entries = entries.into_iter().map(|entry| Entry { item: with(entry.item), ..entry }).collect();
    }

    /// Ends the handshake of an id whatever its stage, because its item is gone.
    pub fn forget(&mut self, id: u16) {
        if let Some(index) = self.find(id) {
            self.entries.remove(index);
        }
    }

    /// Ends every handshake; the next id follows the last one.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
    }

    /// Ring order makes the distance from the oldest id ascending.
    fn find(&self, id: u16) -> Option<usize> {
        let oldest = self.entries.front()?.id;
        let distance = |id: u16| id.wrapping_sub(oldest).wrapping_sub(u16::from(id < oldest));
        self.entries.binary_search_by_key(&distance(id), |entry| distance(entry.id)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(qos: QoS) -> (Inflight<char>, u16) {
        let mut inflight = Inflight::default();
        let id = inflight.assign(qos, 'm').unwrap();
        (inflight, id)
    }

    #[test]
    fn puback_ends_a_qos_1_message() {
        let (mut inflight, id) = sent(QoS::AtLeastOnce);
        assert_eq!(inflight.complete(id), None);
        assert_eq!(inflight.receive(id), None);
        assert_eq!(inflight.acknowledge(id), Some('m'));
        assert!(inflight.is_empty());
    }

    #[test]
    fn pubrec_then_pubcomp_ends_a_qos_2_message() {
        let (mut inflight, id) = sent(QoS::ExactlyOnce);
        assert_eq!(inflight.acknowledge(id), None);
        assert_eq!(inflight.complete(id), None);
        assert_eq!(inflight.receive(id), Some(&mut 'm'));
        assert_eq!(inflight.receive(id), Some(&mut 'm'), "a repeated PUBREC is answered again");
        assert_eq!(inflight.refuse(id), None);
        assert_eq!(inflight.complete(id), Some('m'));
    }

    #[test]
    fn an_error_in_pubrec_ends_the_handshake() {
        let (mut inflight, id) = sent(QoS::ExactlyOnce);
        assert_eq!(inflight.refuse(id), Some('m'));
        assert!(inflight.is_empty());
    }

    #[test]
    fn unknown_ids_change_nothing() {
        let (mut inflight, id) = sent(QoS::AtLeastOnce);
        for other in [0, id + 1, u16::MAX] {
            assert_eq!(inflight.acknowledge(other), None);
            assert_eq!(inflight.receive(other), None);
            assert_eq!(inflight.complete(other), None);
        }
        assert_eq!(inflight.len(), 1);
    }

    #[test]
    fn an_id_that_is_never_acknowledged_stops_the_window_when_the_ring_comes_round() {
        let (mut inflight, stuck) = sent(QoS::AtLeastOnce);
        for _ in 0..u16::MAX - 1 {
            let id = inflight.assign(QoS::AtLeastOnce, 'x').unwrap();
            assert_ne!(id, stuck);
            inflight.acknowledge(id).unwrap();
        }
        assert_eq!(inflight.assign(QoS::AtLeastOnce, 'y'), Err('y'));
        inflight.acknowledge(stuck).unwrap();
        assert_eq!(inflight.assign(QoS::AtLeastOnce, 'y'), Ok(1));
    }

    proptest! {
        #[test]
        fn ids_are_unique_and_found_across_the_wrap(start in 65_500..=u16::MAX, acks in proptest::collection::vec(any::<prop::sample::Index>(), 1..200)) {
            let mut inflight = Inflight { last: start, entries: VecDeque::new() };
            let mut model: Vec<(u16, u32)> = Vec::new();
            for (item, ack) in (0u32..).zip(acks) {
                let id = inflight.assign(QoS::AtLeastOnce, item).unwrap();
                prop_assert!(id != 0 && model.iter().all(|(known, _)| *known != id));
                model.push((id, item));
                if item % 3 != 0 {
                    let (id, item) = model.remove(ack.index(model.len()));
                    prop_assert_eq!(inflight.acknowledge(id), Some(item));
                }
            }
            let left: Vec<(u16, u32)> = inflight.unacknowledged().map(|entry| (entry.id, entry.item)).collect();
            prop_assert_eq!(left, model);
        }
    }
}
