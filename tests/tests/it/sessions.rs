//! Sessions: what outlives a connection, what a restart, and what a takeover does.

use crate::gateway;
use causeway_tests::packet::{self, Value, property};
use causeway_tests::{Connect, Device, Gateway, Publish, Version, Will, wait};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// Drops a connection without DISCONNECT and waits until the gateway knows, by means of its will.
async fn lose(device: Device, witness: &mut Device) {
    drop(device);
    assert_eq!(witness.message().await.topic, "gone");
}

fn with_will(connect: Connect) -> Connect {
    connect.will(Will::new("gone", "", 0))
}

#[tokio::test]
async fn a_persistent_session_keeps_its_subscriptions_and_messages() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "sleeper").persistent(600);
        let mut sleeper = gateway.device(connect.clone()).await;
        assert!(!sleeper.session_present);
        assert_eq!(sleeper.subscribe("sleep/#", 2).await, 2);
        sleeper.disconnect().await;

        let mut publisher = gateway.v5("publisher").await;
        for n in 0..20 {
            let qos = n % 3;
            assert!(publisher.publish(Publish::new("sleep/well", format!("{n}"), qos)).await < 0x80);
        }

        let mut sleeper = gateway.device(connect).await;
        assert!(sleeper.session_present, "{version:?}");
        // QoS 0 may be lost while a session sleeps; the others may not. Order is promised within one guarantee
        // (MQTT5 4.6).
        let mut received: [Vec<u32>; 3] = Default::default();
        while received[1].len() + received[2].len() < 13 {
            let message = sleeper.message().await;
            received[usize::from(message.qos)].push(message.text().parse().unwrap());
        }
        for qos in [1, 2] {
            let expected: Vec<u32> = (0..20_u32).filter(|n| n % 3 == qos).collect();
            assert_eq!(received[qos as usize], expected, "{version:?}");
        }
        sleeper.disconnect().await;
        gateway.device(Connect::new(version, "sleeper")).await.disconnect().await;
    }
}

#[tokio::test]
async fn a_clean_start_forgets_the_session() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "forgetful").persistent(600)).await;
        device.subscribe("a", 1).await;
        device.disconnect().await;
        let device = gateway.device(Connect::new(version, "forgetful")).await;
        assert!(!device.session_present);
        device.disconnect().await;
        let mut device = gateway.device(Connect::new(version, "forgetful").persistent(600)).await;
        assert!(!device.session_present);
        assert!(gateway.v5("publisher").await.publish(Publish::new("a", "x", 1)).await < 0x80);
        device.ping().await;
        assert_eq!(device.pending(), []);
    }
}

#[tokio::test]
async fn a_session_ends_when_its_expiry_is_over() {
    let gateway = gateway().await;
    let mut witness = gateway.v5("witness").await;
    witness.subscribe("gone", 0).await;
    // The will waits for the end of the session, so its publication is that end.
    let will = Will::new("gone", "expired", 0).delay(600);
    let device = gateway.device(Connect::new(Version::V5, "brief").persistent(1).will(will)).await;
    lose(device, &mut witness).await;
    assert!(!gateway.device(Connect::new(Version::V5, "brief").persistent(1)).await.session_present);
}

#[tokio::test]
async fn a_disconnect_may_change_the_expiry_of_the_session() {
    let gateway = gateway().await;
    let mut device = gateway.device(Connect::new(Version::V5, "leaver").persistent(600)).await;
    device.send(&packet::disconnect(Version::V5, 0, &vec![(property::SESSION_EXPIRY, Value::Four(0))])).await;
    device.closed().await;
    assert!(!gateway.device(Connect::new(Version::V5, "leaver").persistent(600)).await.session_present);
}

#[tokio::test]
async fn a_disconnect_must_not_revive_a_session_that_ends_with_its_connection() {
    let gateway = gateway().await;
    let mut device = gateway.v5("leaver").await;
    device.send(&packet::disconnect(Version::V5, 0, &vec![(property::SESSION_EXPIRY, Value::Four(60))])).await;
    assert_eq!(device.closed().await, Some(0x82));
}

#[tokio::test]
async fn a_second_connection_takes_the_session_over_and_the_first_is_told() {
    let gateway = gateway().await;
    let mut first = gateway.device(Connect::new(Version::V5, "twin").persistent(60)).await;
    first.subscribe("t", 1).await;
    let mut second = gateway.device(Connect::new(Version::V5, "twin").persistent(60)).await;
    assert_eq!(first.closed().await, Some(0x8e));
    assert!(second.session_present);
    assert!(second.publish(Publish::new("t", "still subscribed", 1)).await < 0x80);
    assert_eq!(second.message().await.text(), "still subscribed");

    let mut first = gateway.v311("old-twin").await;
    let mut second = gateway.v311("old-twin").await;
    first.closed().await;
    second.ping().await;
}

#[tokio::test]
async fn a_client_id_of_another_identity_is_another_session() {
    let gateway = gateway().await;
    let mut mine = gateway.device_as("one", Connect::new(Version::V5, "shared-id").persistent(60)).await;
    let mut other = gateway.device_as("two", Connect::new(Version::V5, "shared-id").persistent(60)).await;
    assert!(!other.session_present);
    mine.ping().await;
    other.ping().await;
}

#[tokio::test]
async fn an_empty_client_id_is_assigned_or_refused() {
    let gateway = gateway().await;
    let device = gateway.device_as("nameless", Connect::new(Version::V5, "")).await;
    let assigned = packet::text(&device.properties, property::ASSIGNED_CLIENT_ID).expect("an assigned client id");
    assert!(!assigned.is_empty());
    gateway.device_as("nameless", Connect::new(Version::V311, "")).await;
    let refused = Connect::new(Version::V311, "").clean(false);
    let device = Device::connect(gateway.address(8883), &gateway.identity("nameless"), &refused).await;
    assert_eq!(device.code, 2);
}

#[tokio::test]
async fn a_silent_client_is_cut_after_one_and_a_half_keep_alives() {
    let gateway = gateway().await;
    let mut witness = gateway.v5("witness").await;
    witness.subscribe("gone", 0).await;
    for version in VERSIONS {
        let mut silent = gateway.device(with_will(Connect::new(version, "silent").keep_alive(1))).await;
        let reason = silent.closed().await;
        assert_eq!(reason, (version == Version::V5).then_some(0x8d));
        assert_eq!(witness.message().await.topic, "gone");
    }
}

#[tokio::test]
async fn keep_alive_zero_is_accepted_and_never_expires() {
    let gateway = gateway().await;
    let mut patient = gateway.device(Connect::new(Version::V311, "patient").keep_alive(0)).await;
    let mut silent = gateway.device(Connect::new(Version::V5, "silent").keep_alive(1)).await;
    silent.closed().await;
    patient.ping().await;
}

#[tokio::test]
async fn a_second_connect_is_a_protocol_error() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "again");
        let mut device = gateway.device(connect.clone()).await;
        device.send(&connect.bytes()).await;
        let reason = device.closed().await;
        assert_eq!(reason, (version == Version::V5).then_some(0x82));
    }
}

#[tokio::test]
async fn an_unsubscribed_filter_stays_unsubscribed_after_a_resume() {
    let gateway = gateway().await;
    let connect = Connect::new(Version::V5, "chooser").persistent(60);
    let mut device = gateway.device(connect.clone()).await;
    device.subscribe("a", 1).await;
    device.subscribe("b", 1).await;
    assert_eq!(device.unsubscribe(&["a", "never"]).await, [0, 0x11]);
    device.disconnect().await;
    let mut publisher = gateway.v5("publisher").await;
    publisher.publish(Publish::new("a", "no", 1)).await;
    publisher.publish(Publish::new("b", "yes", 1)).await;
    let mut device = gateway.device(connect).await;
    assert_eq!(device.message().await.text(), "yes");
}

#[tokio::test]
async fn a_session_survives_the_death_of_the_process() {
    let mut gateway = gateway().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "survivor").persistent(600);
        let mut device = gateway.device(connect.clone()).await;
        device.subscribe("s/+", 2).await;
        let mut publisher = gateway.v5("publisher").await;
        assert!(publisher.publish(Publish::new("s/1", "in flight", 1)).await < 0x80);
        let before = device.delivery().await;
        assert!(!before.dup);
        for n in 0..10 {
            assert!(publisher.publish(Publish::new("s/2", format!("{n}"), 2)).await < 0x80);
        }
        drop(device);
        gateway.kill();
        gateway.launch().await;

        let mut device = gateway.device(connect).await;
        assert!(device.session_present);
        let again = device.message().await;
        assert_eq!((again.text(), again.id, again.dup), ("in flight".into(), before.id, true));
        for n in 0..10 {
            assert_eq!(device.message().await.text(), n.to_string());
        }
        let mut publisher = gateway.v5("publisher").await;
        assert!(publisher.publish(Publish::new("s/3", "still subscribed", 1)).await < 0x80);
        assert_eq!(device.message().await.text(), "still subscribed");
        device.disconnect().await;
        gateway.device(Connect::new(version, "survivor")).await.disconnect().await;
    }
}

#[tokio::test]
async fn an_orderly_stop_tells_version_5_clients_and_keeps_their_sessions() {
    let mut gateway = gateway().await;
    let connect = Connect::new(Version::V5, "told").persistent(600);
    let mut device = gateway.device(connect.clone()).await;
    device.subscribe("x", 1).await;
    let (status, reason) = tokio::join!(gateway.stop(), device.closed());
    assert_eq!((status.code(), reason), (Some(0), Some(0x8b)));
    gateway.launch().await;
    assert!(gateway.device(connect).await.session_present);
}

#[tokio::test]
async fn a_clean_session_leaves_nothing_behind_a_restart() {
    let mut gateway = gateway().await;
    let mut device = gateway.v311("clean").await;
    device.subscribe("x", 1).await;
    gateway.kill();
    gateway.launch().await;
    let mut device = gateway.device(Connect::new(Version::V311, "clean").persistent(0)).await;
    assert!(!device.session_present);
    device.ping().await;
    let packets = device.pending();
    assert!(packets.is_empty(), "{packets:?}");
}

/// The position up to which the sessions' snapshots are complete.
fn complete(gateway: &Gateway) -> u64 {
    let store = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    let sql = "select position from cursors where name = 'sessions-complete'";
    store.query_row(sql, [], |row| row.get(0)).unwrap_or(0)
}

#[tokio::test]
async fn a_restart_reads_what_is_new_although_a_session_waits_for_an_old_message() {
    let mut gateway = gateway().await;
    let pin = Connect::new(Version::V5, "pin").persistent(600);
    let mut device = gateway.device(pin.clone()).await;
    device.subscribe("old", 1).await;
    device.disconnect().await;
    // A session that has ended leaves nothing behind, whatever of the journal is read again.
    let ended = Connect::new(Version::V5, "ended").persistent(600);
    gateway.device(ended.clone()).await.subscribe("busy", 1).await;
    gateway.device(Connect::new(Version::V5, "ended")).await.disconnect().await;

    let busy = Connect::new(Version::V5, "busy").persistent(600);
    let mut device = gateway.device(busy.clone()).await;
    device.subscribe("busy", 2).await;
    let mut publisher = gateway.v5("publisher").await;
    assert!(publisher.publish(Publish::new("old", "kept", 1)).await < 0x80);
    // A message and the three records of its delivery.
    for n in 0..400 {
        assert!(publisher.publish(Publish::new("busy", format!("{n}"), 2)).await < 0x80);
        assert_eq!(device.message().await.text(), n.to_string());
    }
    wait::until("a checkpoint", async || (complete(&gateway) > 1500).then_some(())).await;
    for n in 400..410 {
        assert!(publisher.publish(Publish::new("busy", format!("{n}"), 2)).await < 0x80);
    }
    gateway.kill();
    gateway.launch().await;
    let log = gateway.log();
    let read = log.rsplit_once("records=").unwrap().1.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    assert!(read < 600, "{read} records were read again");

    let mut device = gateway.device(busy).await;
    let mut next = 400;
    while next < 410 {
        // A delivery whose acknowledgement is not on disk may come again; none may be missing.
        let n = device.message().await.text().parse::<u32>().unwrap();
        assert!(n <= next, "{next} is missing before {n}");
        next = next.max(n + 1);
    }
    let mut device = gateway.device(pin).await;
    assert!(device.session_present);
    assert_eq!(device.message().await.text(), "kept");
    assert!(!gateway.device(ended).await.session_present);
}
