//! The device registry over a real store: what is admitted, changed, imported and kept.

use super::import::{Entry, Format, parse};
use super::*;
use crate::config::StorageConfig;
use crate::store::StoreMetrics;
use prometheus_client::registry::Registry;
use tempfile::TempDir;

fn store(home: &TempDir) -> Store {
    let metrics = StoreMetrics::new(&mut Registry::default());
    Store::open(home.path(), &StorageConfig::default(), metrics).unwrap()
}

fn open(store: &Store, config: &DevicesConfig) -> Devices {
    Devices::open(store.clone(), config, DevicesMetrics::new(&mut Registry::default())).unwrap()
}

/// A registry on an empty store.
fn devices(registration: Registration) -> (Devices, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let config = DevicesConfig { registration, max_devices: 3, ..DevicesConfig::default() };
    (open(&store(&home), &config), home)
}

fn vin(value: &str) -> Change {
    Change { attributes: [("vin".to_owned(), Some(value.to_owned()))].into(), ..Change::default() }
}

fn named(identities: &[&str]) -> Change {
    Change { identities: Some(identities.iter().map(|&name| name.to_owned()).collect()), ..Change::default() }
}

fn under(parent: &str) -> Change {
    Change { parent: Some(Some(parent.to_owned())), ..Change::default() }
}

#[tokio::test]
async fn an_added_device_is_admitted_by_its_identities() {
    let (devices, _home) = devices(Registration::Explicit);
    devices.add("d1", named(&["car one", "spiffe://fleet/d1"])).await.unwrap();
    let device = devices.admit("spiffe://fleet/d1", 1_000, Some(9_000)).await.unwrap();
    assert_eq!(device.id, "d1");
    assert_eq!((device.first_seen_ms, device.last_seen_ms), (Some(1_000), Some(1_000)));
    assert_eq!(device.certificate_expiry_ms, Some(9_000));
    let error = devices.admit("d1", 1_000, None).await.unwrap_err();
    assert!(matches!(error, AdmitError::Unknown(_)), "{error}");
}

#[tokio::test]
async fn a_disabled_device_is_not_admitted_until_it_is_enabled() {
    let (devices, _home) = devices(Registration::OnFirstConnect);
    devices.add("d1", Change::default()).await.unwrap();
    let mut changed = devices.changed();
    let before = *changed.borrow_and_update();
    devices.enable("d1", false).await.unwrap();
    assert!(*changed.borrow_and_update() > before);
    let error = devices.admit("d1", 0, None).await.unwrap_err();
    assert!(matches!(error, AdmitError::Disabled(_)), "{error}");
    devices.enable("d1", true).await.unwrap();
    devices.admit("d1", 0, None).await.unwrap();
}

#[tokio::test]
async fn a_first_connection_registers_and_a_removed_device_does_not_come_back() {
    let (devices, _home) = devices(Registration::OnFirstConnect);
    assert_eq!(devices.admit("d1", 5, None).await.unwrap().id, "d1");
    devices.remove("d1").await.unwrap();
    assert!(devices.get("d1").is_none());
    let error = devices.admit("d1", 5, None).await.unwrap_err();
    assert!(matches!(error, AdmitError::Removed(_)), "{error}");
    devices.add("d1", Change::default()).await.unwrap();
    devices.admit("d1", 6, None).await.unwrap();
}

#[tokio::test]
async fn a_registration_is_refused_when_the_identity_is_no_id_or_taken_or_there_is_no_room() {
    let (devices, _home) = devices(Registration::OnFirstConnect);
    devices.add("d1", named(&["car one"])).await.unwrap();
    let refused = async |identity| devices.admit(identity, 0, None).await.unwrap_err();
    assert!(matches!(refused("car/2").await, AdmitError::Grammar { .. }));
    assert!(matches!(refused("d1").await, AdmitError::Taken(_)));
    devices.admit("d2", 0, None).await.unwrap();
    devices.admit("d3", 0, None).await.unwrap();
    assert!(matches!(refused("d4").await, AdmitError::Full(3)));
    let error = devices.add("d4", Change::default()).await.unwrap_err();
    assert!(matches!(error, ChangeError::Full(3)), "{error}");
}

#[tokio::test]
async fn many_first_connections_at_once_register_each_device_once() {
    let (devices, _home) = devices(Registration::OnFirstConnect);
    let connections = (0..30).map(|n| {
        let devices = devices.clone();
        tokio::spawn(async move { devices.admit(["a", "b", "c"][n % 3], 7, None).await.unwrap().id.clone() })
    });
    for (n, connection) in connections.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(connection.await.unwrap(), ["a", "b", "c"][n % 3]);
    }
    assert_eq!(devices.count(), 3);
}

#[tokio::test]
async fn changes_survive_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let first = store(&home);
    let devices = open(&first, &DevicesConfig::default());
    devices.add("d1", vin("V1")).await.unwrap();
    devices.add("d2", under("d1")).await.unwrap();
    devices.remove("d2").await.unwrap();
    devices.set("d1", vin("V2")).await.unwrap();
    devices.admit("d1", 40, Some(50)).await.unwrap();
    devices.seen("d1", 60);
    devices.flush().await.unwrap();
    let kept = devices.get("d1").unwrap();
    first.shutdown().await;

    let again = open(&store(&home), &DevicesConfig::default());
    assert_eq!(again.get("d1"), Some(kept.clone()));
    assert_eq!(kept.attributes["vin"], "V2");
    assert_eq!(kept.last_seen_ms, Some(60));
    let error = again.admit("d2", 0, None).await.unwrap_err();
    assert!(matches!(error, AdmitError::Removed(_)), "{error}");
}

#[tokio::test]
async fn concurrent_changes_of_one_device_are_all_kept() {
    let (devices, _home) = devices(Registration::Explicit);
    devices.add("d1", Change::default()).await.unwrap();
    let changes = (0..20).map(|n| {
        let devices = devices.clone();
        let change = Change { attributes: [(format!("a{n}"), Some("x".to_owned()))].into(), ..Change::default() };
        tokio::spawn(async move { devices.set("d1", change).await.unwrap() })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap();
    }
    let device = devices.get("d1").unwrap();
    assert_eq!((device.attributes.len(), device.revision), (20, 21));
}

#[tokio::test]
async fn an_identity_belongs_to_one_device() {
    let (devices, _home) = devices(Registration::Explicit);
    devices.add("d1", named(&["x"])).await.unwrap();
    let error = devices.add("d2", named(&["x"])).await.unwrap_err();
    assert!(matches!(error, ChangeError::IdentityTaken { .. }), "{error}");
    assert!(devices.get("d2").is_none());
    devices.set("d1", named(&["y"])).await.unwrap();
    devices.add("d2", named(&["x"])).await.unwrap();
    assert_eq!(devices.admit("x", 0, None).await.unwrap().id, "d2");
    assert_eq!(devices.admit("y", 0, None).await.unwrap().id, "d1");
}

#[tokio::test]
async fn parents_exist_and_form_no_circle() {
    let (devices, _home) = devices(Registration::Explicit);
    devices.add("d1", Change::default()).await.unwrap();
    devices.add("d2", under("d1")).await.unwrap();
    let error = devices.set("d1", under("d2")).await.unwrap_err();
    assert!(matches!(error, ChangeError::Parent { .. }), "{error}");
    let error = devices.set("d1", under("d9")).await.unwrap_err();
    assert!(matches!(error, ChangeError::NoParent(_)), "{error}");
    let error = devices.remove("d1").await.unwrap_err();
    assert!(matches!(error, ChangeError::HasChildren { children: 1, .. }), "{error}");
    assert_eq!(devices.get("d1").unwrap().parent, None);
}

#[tokio::test]
async fn an_import_adds_and_updates_all_or_nothing() {
    let (devices, _home) = devices(Registration::Explicit);
    devices.add("d1", vin("V1")).await.unwrap();
    let import = async |csv| devices.import(parse(Format::Csv, csv).unwrap()).await;
    let imported = import("id,vin,parent\nd2,V2,d3\nd1,V1,\nd3,V3,\n").await.unwrap();
    let expected = Imported { added: 2, updated: 0, unchanged: 1 };
    assert_eq!(imported, expected);
    assert_eq!(devices.get("d2").unwrap().parent.as_deref(), Some("d3"));

    let error = import("id,vin\nd1,V9\nd4,V4\n").await.unwrap_err();
    assert!(matches!(error, ChangeError::Full(3)), "{error}");
    assert_eq!(devices.get("d1").unwrap().attributes["vin"], "V1");
    assert_eq!(devices.count(), 3);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let (devices, _home) = devices(Registration::Explicit);
    let entry = |id: &str, groups: &[&str]| Entry {
        id: id.to_owned(),
        change: Change { groups: Some(groups.iter().map(|&group| group.to_owned()).collect()), ..vin(id) },
    };
    devices.import(vec![entry("a", &["g"]), entry("b", &["g"]), entry("c", &[])]).await.unwrap();
    let ids = |filter: Filter| devices.list(&filter).iter().map(|device| device.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(Filter::default()), ["a", "b", "c"]);
    let group = Filter { group: Some("g".to_owned()), ..Filter::default() };
    assert_eq!(ids(group), ["a", "b"]);
    let page = Filter { after: Some("a".to_owned()), limit: Some(1), ..Filter::default() };
    assert_eq!(ids(page), ["b"]);
    let attribute = Filter { attributes: vec![("vin".to_owned(), "c".to_owned())], ..Filter::default() };
    assert_eq!(ids(attribute), ["c"]);
}
