//! The last refusals of each device, in memory: what an operator looks at when a device does not work.

use std::collections::{HashMap, VecDeque};

/// Refusals remembered per device.
const PER_DEVICE: usize = 16;

/// Bytes of a remembered text: a device may be refused a topic of 64 KiB as often as it likes.
const MAX_TEXT_BYTES: usize = 512;

/// Something that a device was not allowed to do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refusal {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The topic or filter; empty for a connection.
    pub topic: String,
    /// The Cedar action.
    pub action: String,
    /// The deciding policy, file and line, or why there is none.
    pub reason: String,
}

/// The refusals of a bounded number of devices.
#[derive(Debug)]
pub(super) struct Refusals {
    devices: HashMap<String, VecDeque<Refusal>>,
    /// Devices by their first remembered refusal; the first of them is forgotten when there are too many.
    order: VecDeque<String>,
    max_devices: usize,
}

impl Refusals {
    pub(super) fn new(max_devices: usize) -> Self {
        Self { devices: HashMap::new(), order: VecDeque::new(), max_devices }
    }

    pub(super) fn add(&mut self, id: &str, mut refusal: Refusal) {
        for text in [&mut refusal.topic, &mut refusal.action, &mut refusal.reason] {
            shorten(text);
        }
        if let Some(list) = self.devices.get_mut(id) {
            if list.len() == PER_DEVICE {
                list.pop_front();
            }
            list.push_back(refusal);
            return;
        }
        if self.devices.len() >= self.max_devices
            && let Some(oldest) = self.order.pop_front()
        {
            self.devices.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.devices.insert(id.to_owned(), VecDeque::from([refusal]));
    }

    pub(super) fn of(&self, id: &str) -> Vec<Refusal> {
        self.devices.get(id).into_iter().flatten().cloned().collect()
    }
}

fn shorten(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at_ms: u64, topic: &str) -> Refusal {
        Refusal { at_ms, topic: topic.to_owned(), ..Refusal::default() }
    }

    #[test]
    fn a_device_keeps_its_last_sixteen() {
        let mut refusals = Refusals::new(4);
        for at in 0..20 {
            refusals.add("d1", refusal(at, "t"));
        }
        let times: Vec<_> = refusals.of("d1").iter().map(|refusal| refusal.at_ms).collect();
        assert_eq!(times, (4..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_number_of_devices_is_bounded() {
        let mut refusals = Refusals::new(2);
        for id in ["a", "b", "a", "c"] {
            refusals.add(id, refusal(0, "t"));
        }
        assert!(refusals.of("a").is_empty());
        assert_eq!((refusals.of("b").len(), refusals.of("c").len()), (1, 1));
        assert_eq!(refusals.order.len(), 2);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut refusals = Refusals::new(2);
        refusals.add("a", refusal(0, &"ä".repeat(40_000)));
        assert!(refusals.of("a")[0].topic.len() <= MAX_TEXT_BYTES + 3);
    }
}
