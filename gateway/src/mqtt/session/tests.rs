//! The queue's rules, without a connection.

use causeway_core::message::Message;
use prometheus_client::metrics::gauge::Gauge;

use super::*;

const LIMITS: QueueLimits = QueueLimits { messages: 3, stored: 3, bytes: 1000, total_bytes: 1 << 20 };

fn session(durable: bool, live: bool) -> Arc<Session> {
    let key = SessionKey { device: "d".into(), client: "c".into() };
    let session = Session::new(1, key, Inner { durable, expiry_s: 60, ..Inner::default() });
    if live {
        let identity = super::super::identity::Identity::Plain(crate::config::PlainIdentity::Fixed("d".to_owned()));
        let peer = Arc::new(Peer { address: ([127, 0, 0, 1], 1).into(), identity });
        let live = Live { device: None, peer, listener: "l".into(), since_ms: 0, version: Version::V5 };
        session.lock().live = Some(live);
    }
    session
}

fn fanout(payload: usize, qos: QoS, position: Option<Position>) -> Arc<Fanout> {
    let message = Message { topic: "t".into(), payload: vec![0; payload].into(), qos, ..Message::default() };
    Fanout::new(message, position)
}

fn subscription(qos: QoS, identifier: Option<u32>) -> Subscription {
    Subscription { qos, no_local: false, retain_as_published: false, identifier, since: 0, after: 0 }
}

const QOS1: Subscription = Subscription {
    qos: QoS::AtLeastOnce,
    no_local: false,
    retain_as_published: false,
    identifier: None,
    since: 0,
    after: 0,
};

fn positions(session: &Session) -> Vec<Option<Position>> {
    session.lock().queue.iter().map(Queued::position).collect()
}

#[test]
fn a_message_that_two_subscriptions_match_is_queued_once_with_both_identifiers() {
    let session = session(false, true);
    let fanout = fanout(1, QoS::ExactlyOnce, None);
    session.offer(&fanout, &subscription(QoS::AtMostOnce, Some(1)), LIMITS);
    session.offer(&fanout, &subscription(QoS::AtLeastOnce, Some(2)), LIMITS);
    let inner = session.lock();
    assert_eq!(inner.queue.len(), 1);
    let Some(Queued::Message(delivery)) = inner.queue.front() else { panic!("in memory") };
    assert_eq!(delivery.qos, QoS::AtLeastOnce);
    assert_eq!(delivery.identifiers.as_deref(), Some(&vec![1, 2]));
}

#[test]
fn a_session_without_connection_keeps_no_qos_0_message() {
    let session = session(true, false);
    session.offer(&fanout(1, QoS::AtMostOnce, None), &QOS1, LIMITS);
    session.offer(&fanout(1, QoS::AtLeastOnce, None), &subscription(QoS::AtMostOnce, None), LIMITS);
    assert!(session.lock().queue.is_empty());
}

#[test]
fn a_durable_session_without_connection_keeps_positions_instead_of_payloads() {
    let session = session(true, false);
    session.offer(&fanout(900, QoS::AtLeastOnce, Some(7)), &QOS1, LIMITS);
    session.offer(&fanout(900, QoS::AtLeastOnce, Some(8)), &QOS1, LIMITS);
    let inner = session.lock();
    assert_eq!(inner.queue_bytes, 0);
    assert_eq!(inner.stored_front(10), [7, 8]);
}

#[test]
fn beyond_the_bytes_a_durable_session_waits_in_the_journal_and_another_one_drops() {
    let durable = session(true, true);
    let other = session(false, true);
    for position in [1, 2] {
        assert!(!durable.offer(&fanout(900, QoS::AtLeastOnce, Some(position)), &QOS1, LIMITS).dropped);
    }
    assert!(!other.offer(&fanout(900, QoS::AtLeastOnce, None), &QOS1, LIMITS).dropped);
    assert!(other.offer(&fanout(900, QoS::AtLeastOnce, None), &QOS1, LIMITS).dropped);
    assert_eq!(positions(&durable), [Some(1), Some(2)]);
    assert!(matches!(durable.lock().queue.back(), Some(Queued::Stored(2))));
    assert_eq!(other.lock().queue.len(), 1);
}

#[test]
fn when_all_queues_together_are_full_each_session_keeps_a_little() {
    let sum = Gauge::default();
    let limits = QueueLimits { messages: 100, stored: 100, bytes: 1 << 20, total_bytes: 30_000 };
    let message = |position| {
        let message =
            Message { topic: "t".into(), payload: vec![0; 9_999].into(), qos: QoS::AtLeastOnce, ..<_>::default() };
        Fanout::counted(message, position, &sum)
    };
    let (durable, other) = (session(true, true), session(false, true));
    for position in 1..=4 {
        let fanout = message(Some(position));
        let stored = durable.offer(&fanout, &QOS1, limits);
        let dropped = other.offer(&fanout, &QOS1, limits);
        let full = position == 4;
        assert_eq!((stored.squeezed, stored.dropped), (full, false));
        assert_eq!((dropped.squeezed, dropped.dropped), (full, full));
    }
    assert_eq!(sum.get(), 30_000, "each message counts once, and what is in the journal not at all");
    assert_eq!((durable.lock().queue.len(), other.lock().queue.len()), (4, 3));
    // One that held nothing is served although the others leave no room.
    let late = session(false, true);
    assert!(!late.offer(&message(Some(5)), &QOS1, limits).dropped);
    assert!(late.offer(&message(Some(6)), &QOS1, limits).dropped);
    for session in [durable, other, late] {
        session.lock().queue.clear();
    }
    assert_eq!(sum.get(), 0);
}

#[test]
fn a_session_without_connection_leaves_what_it_sent_to_the_journal() {
    let session = session(true, true);
    let delivery = |position| Delivery {
        fanout: fanout(9, QoS::AtLeastOnce, position),
        qos: QoS::AtLeastOnce,
        retain: false,
        identifiers: None,
    };
    let mut inner = session.lock();
    let first = inner.send(delivery(Some(3)), QoS::AtLeastOnce).unwrap();
    inner.send(delivery(None), QoS::AtLeastOnce).unwrap();
    assert_eq!(inner.inflight_bytes, 20);
    inner.go_offline(1);
    assert_eq!(inner.inflight_bytes, 10, "what the journal does not have stays");
    assert!(matches!(inner.inflight.get(first).unwrap().item, Queued::Stored(3)));
    inner.resend(first, delivery(Some(3)));
    let settled = inner.inflight.acknowledge(first).unwrap();
    inner.settled(&settled);
    assert_eq!(inner.inflight_bytes, 10);
}

#[test]
fn a_full_durable_queue_loses_its_oldest_message_and_another_one_the_newest() {
    let durable = session(true, true);
    let other = session(false, true);
    for position in 1..=5 {
        durable.offer(&fanout(1, QoS::AtLeastOnce, Some(position)), &QOS1, LIMITS);
        other.offer(&fanout(1, QoS::AtLeastOnce, Some(position)), &QOS1, LIMITS);
    }
    assert_eq!(positions(&durable), [Some(3), Some(4), Some(5)]);
    assert_eq!(positions(&other), [Some(1), Some(2), Some(3)]);
    assert_eq!((durable.lock().dropped, other.lock().dropped), (2, 2));
}

#[test]
fn no_local_keeps_a_session_from_its_own_messages() {
    let session = session(false, true);
    let own = Message { sender: "d".into(), client: "c".into(), topic: "t".into(), ..Message::default() };
    session.offer(&Fanout::new(own, None), &Subscription { no_local: true, ..QOS1 }, LIMITS);
    assert!(session.lock().queue.is_empty());
}

#[test]
fn going_offline_forgets_qos_0_and_hands_the_rest_to_the_journal() {
    let session = session(true, true);
    session.offer(&fanout(5, QoS::AtMostOnce, None), &QOS1, LIMITS);
    session.offer(&fanout(5, QoS::AtLeastOnce, Some(3)), &QOS1, LIMITS);
    session.lock().go_offline(42);
    let inner = session.lock();
    assert!(matches!(inner.queue.front(), Some(Queued::Stored(3))));
    assert_eq!((inner.queue.len(), inner.queue_bytes, inner.offline_since_ms), (1, 0, Some(42)));
}

#[test]
fn messages_read_from_the_journal_take_the_place_of_their_positions() {
    let session = session(true, false);
    for position in [1, 2, 3] {
        session.offer(&fanout(5, QoS::AtLeastOnce, Some(position)), &QOS1, LIMITS);
    }
    let mut inner = session.lock();
    assert_eq!(inner.stored_front(2), [1, 2]);
    let delivery = Delivery {
        fanout: fanout(5, QoS::AtLeastOnce, Some(1)),
        qos: QoS::AtLeastOnce,
        retain: false,
        identifiers: None,
    };
    // The second one is gone from the journal.
    inner.load(vec![Some(delivery), None]);
    assert!(matches!(inner.queue.front(), Some(Queued::Message(_))));
    assert!(matches!(inner.queue.get(1), Some(Queued::Stored(3))));
    assert_eq!(inner.oldest(), Some(1));
}

#[test]
fn a_close_is_not_taken_back_by_a_review() {
    let session = session(false, true);
    assert!(session.order(Order::Close(Reason::SessionTakenOver, "twice")));
    session.order(Order::Review);
    assert_eq!(session.lock().order, Some(Order::Close(Reason::SessionTakenOver, "twice")));
}

#[test]
fn a_crowded_queue_counts_only_while_it_moves() {
    let session = session(false, true);
    let limits = QueueLimits { messages: 8, ..LIMITS };
    let offer = || session.offer(&fanout(1, QoS::AtLeastOnce, None), &QOS1, limits).crowded;
    assert!(!offer() && !offer());
    assert!(offer(), "three of eight is more than a quarter");
    let now = Instant::now();
    let mut inner = session.lock();
    assert!(inner.progress.is_recent(now));
    assert!(!inner.progress.is_recent(now + STILL * 2), "nothing was taken for long");
    inner.pop();
    assert!(inner.progress.is_recent(now + STILL * 3));
}
