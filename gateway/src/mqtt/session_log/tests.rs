//! Replays by value: records in, sessions out.

use causeway_core::inflight::Stage;
use causeway_core::message::{Message, QoS};
use proptest::prelude::*;

use super::*;

fn key(client: &str) -> SessionKey {
    SessionKey { device: "d1".into(), client: client.to_owned().into() }
}

fn message(topic: &str, qos: QoS) -> Message {
    Message { topic: topic.to_owned().into(), qos, sender: "d2".into(), client: "c".into(), ..Message::default() }
}

fn opened() -> Event {
    Event::Opened(1, "d1".to_owned(), "a".to_owned(), 60)
}

fn subscribed(filter: &str) -> Event {
    Event::Subscribed(1, filter.to_owned(), Options(1, false, false, None))
}

enum Record {
    Event(Event),
    Message(Box<Message>),
}

fn replay(records: impl IntoIterator<Item = (Position, Record)>, mut replay: Replay) -> Replay {
    for (position, record) in records {
        match record {
            Record::Event(event) => replay.event(position, Event::decode(&event.encode()).unwrap()),
            Record::Message(message) => replay.published(position, &message),
        }
    }
    replay
}

fn only(replay: Replay) -> (SessionKey, Inner) {
    let mut sessions: Vec<_> = replay.finish(0, 100).collect();
    assert_eq!(sessions.len(), 1);
    let (_, key, inner) = sessions.remove(0);
    (key, inner)
}

fn waiting(inner: &Inner) -> Vec<Position> {
    inner.queue.iter().filter_map(Queued::position).collect()
}

#[test]
fn only_messages_after_the_subscription_wait() {
    let records = [
        (1, Record::Event(opened())),
        (2, Record::Message(Box::new(message("t/1", QoS::AtLeastOnce)))),
        (3, Record::Event(subscribed("t/+"))),
        (4, Record::Message(Box::new(message("t/1", QoS::AtLeastOnce)))),
        (5, Record::Message(Box::new(message("other", QoS::AtLeastOnce)))),
        (6, Record::Event(Event::Unsubscribed(1, "t/+".to_owned()))),
        (7, Record::Message(Box::new(message("t/1", QoS::AtLeastOnce)))),
    ];
    let (found, inner) = only(replay(records, Replay::default()));
    assert_eq!(found, key("a"));
    assert_eq!(waiting(&inner), [4]);
}

#[test]
fn a_message_that_two_filters_match_waits_once() {
    let records = [
        (1, Record::Event(opened())),
        (2, Record::Event(subscribed("t/+"))),
        (3, Record::Event(subscribed("t/#"))),
        (4, Record::Message(Box::new(message("t/1", QoS::ExactlyOnce)))),
    ];
    assert_eq!(waiting(&only(replay(records, Replay::default())).1), [4]);
}

#[test]
fn handshakes_go_on_where_they_stood() {
    let records = [
        (1, Record::Event(opened())),
        (2, Record::Event(Event::Subscribed(1, "t".to_owned(), Options(2, false, false, Some(7))))),
        (3, Record::Message(Box::new(message("t", QoS::ExactlyOnce)))),
        (4, Record::Message(Box::new(message("t", QoS::ExactlyOnce)))),
        (5, Record::Message(Box::new(message("t", QoS::ExactlyOnce)))),
        (6, Record::Event(Event::Sent(1, 3, 10, 2))),
        (7, Record::Event(Event::Sent(1, 4, 11, 2))),
        (8, Record::Event(Event::Released(1, 10))),
        (9, Record::Event(Event::Released(1, 11))),
        (10, Record::Event(Event::Acknowledged(1, 11))),
    ];
    let (_, inner) = only(replay(records, Replay::default()));
    assert_eq!(waiting(&inner), [5]);
    let unacknowledged: Vec<_> = inner.inflight.unacknowledged().map(|entry| (entry.id, entry.stage)).collect();
    assert_eq!(unacknowledged, [(10, Stage::Released)]);
    assert_eq!(inner.subscriptions["t"].identifier, Some(7));
}

#[test]
fn a_received_packet_id_is_known_until_it_is_released() {
    let publish =
        |id| Message { packet_id: id, sender: "d1".into(), client: "a".into(), ..message("t", QoS::ExactlyOnce) };
    let records = [
        (1, Record::Event(opened())),
        (2, Record::Message(Box::new(publish(5)))),
        (3, Record::Message(Box::new(publish(6)))),
        (4, Record::Event(Event::InboundReleased(1, 5))),
    ];
    let (_, inner) = only(replay(records, Replay::default()));
    assert_eq!(inner.received.into_iter().collect::<Vec<_>>(), [(6, Some(3))]);
}

#[test]
fn an_ended_session_is_gone_and_its_successor_begins_empty() {
    let records = [
        (1, Record::Event(opened())),
        (2, Record::Event(subscribed("#"))),
        (3, Record::Message(Box::new(message("t", QoS::AtLeastOnce)))),
        (4, Record::Event(Event::Ended(1))),
        (5, Record::Event(Event::Opened(2, "d1".to_owned(), "a".to_owned(), 60))),
        (6, Record::Message(Box::new(message("t", QoS::AtLeastOnce)))),
    ];
    let replay = replay(records, Replay::default());
    assert_eq!(replay.last_id, 2);
    assert_eq!(replay.ended, [1], "its snapshot has to go");
    let (_, inner) = only(replay);
    assert!(inner.queue.is_empty() && inner.subscriptions.is_empty());
}

#[test]
fn the_oldest_messages_beyond_the_bound_are_dropped_and_counted() {
    let mut records = vec![(1, Record::Event(opened())), (2, Record::Event(subscribed("#")))];
    records.extend((3..8).map(|position| (position, Record::Message(Box::new(message("t", QoS::AtLeastOnce))))));
    let (_, _, inner) = replay(records, Replay::default()).finish(0, 2).next().unwrap();
    assert_eq!(waiting(&inner), [6, 7]);
    assert_eq!(inner.dropped, 3);
}

#[test]
fn damaged_records_are_refused() {
    assert!(Event::decode(&[]).is_err());
    assert!(Event::decode(&[9, 1]).is_err());
    assert!(Event::decode(&[FORMAT, 0xff]).is_err());
    assert!(Snapshot::decode(&[FORMAT, 0x01]).is_err());
}

fn any_record() -> impl Strategy<Value = (u8, u16)> {
    (0..9u8, 1..6u16)
}

fn record(kind: u8, number: u16, position: Position) -> Record {
    let at = Position::from(number);
    match kind {
        0 => Record::Event(subscribed(&format!("t/{}", number % 3))),
        1 => Record::Event(Event::Unsubscribed(1, format!("t/{}", number % 3))),
        2 | 3 => Record::Message(Box::new(message(&format!("t/{}", number % 3), QoS::ExactlyOnce))),
        4 => Record::Event(Event::Sent(1, position.saturating_sub(at), u16::try_from(position).unwrap(), 2)),
        5 => Record::Event(Event::Released(1, number)),
        6 => Record::Event(Event::Acknowledged(1, number)),
        7 => Record::Event(Event::Dropped(1, at)),
        _ => Record::Event(Event::InboundReleased(1, number)),
    }
}

proptest! {
    #[test]
    fn a_snapshot_in_the_middle_changes_nothing(records in proptest::collection::vec(any_record(), 1..60), cut in any::<prop::sample::Index>()) {
        let records: Vec<_> = std::iter::once((1, Record::Event(opened())))
            .chain((2..).zip(records).map(|(position, (kind, number))| (position, record(kind, number, position))))
            .collect();
        let cut = cut.index(records.len()) + 1;
        let again = |range: std::ops::Range<usize>| records[range].iter().map(|(position, record)| {
            let record = match record {
                Record::Event(event) => Record::Event(event.clone()),
                Record::Message(message) => Record::Message(message.clone()),
            };
            (*position, record)
        });
        let whole = only(replay(again(0..records.len()), Replay::default())).1;
        let half = only(replay(again(0..cut), Replay::default()));
        let snapshot = Snapshot::of(1, &half.0, &half.1, cut as Position);
        let mut from = Replay::default();
        from.snapshot(Snapshot::decode(&snapshot.encode()).unwrap());
        // Records that the snapshot contains are read again, as after a crash before the journal was trimmed.
        let resumed = only(replay(again(cut / 2..records.len()), from)).1;
        prop_assert_eq!(waiting(&whole), waiting(&resumed));
        prop_assert_eq!(&whole.subscriptions, &resumed.subscriptions);
        prop_assert_eq!(&whole.received, &resumed.received);
        let ids = |inner: &Inner| inner.inflight.unacknowledged().map(|entry| (entry.id, entry.stage)).collect::<Vec<_>>();
        prop_assert_eq!(ids(&whole), ids(&resumed));
    }
}
