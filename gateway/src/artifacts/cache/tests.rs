//! What stays, what goes, and what is made of entries that somebody changed.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::super::signature::{KeyKind, Payload, PrivateKey};
use super::*;

const MANIFEST: u64 = 1 << 20;

struct Ground {
    home: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn open(&self, most: u64, access: Access) -> Result<Cache, CacheError> {
        Cache::open(&self.home.path().join("artifacts"), most, MANIFEST, access, ArtifactsMetrics::default())
    }

    fn gateway(&self, most: u64) -> Cache {
        self.open(most, Access::Gateway).unwrap()
    }
}

/// An image of one layer, recorded under a name.
fn image(cache: &Cache, name: &str, layer: &[u8]) -> Digest {
    cache.keep(layer).unwrap();
    let (config, layer) = (Descriptor::of("a", b"{}"), Descriptor::of("b", layer));
    cache.keep(b"{}").unwrap();
    let manifest = Manifest { artifact_type: None, config, layers: vec![layer], annotations: Default::default() };
    let bytes = manifest.to_bytes();
    let payload = Payload { repository: "r.lan/a".to_owned(), digest: Digest::of(&bytes) };
    let signed = payload.sign(&PrivateKey::generate(KeyKind::Ed25519).unwrap()).unwrap();
    cache.record(name, &bytes, &[signed]).unwrap()
}

/// A file looks as if it was last used this many seconds ago.
fn age(cache: &Cache, digest: &Digest, seconds: u64) {
    let file = File::open(cache.layout.blob_path(digest)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

fn has(cache: &Cache, digest: &Digest) -> bool {
    cache.layout.has_blob(digest)
}

#[test]
fn what_was_recorded_is_found_again_with_its_signatures() {
    let ground = Ground::new();
    let digest = image(&ground.gateway(1 << 20), "r.lan/a:1", b"layer");
    let cache = ground.gateway(1 << 20);
    let manifest = Manifest::parse(&cache.get(&digest, MANIFEST).unwrap().unwrap()).unwrap();
    let signatures = cache.signatures(&digest).unwrap();
    assert_eq!(Payload::parse(&signatures[0].payload).unwrap().digest, digest);
    let blob = cache.blob(&manifest.layers[0].digest, 5).unwrap().unwrap();
    assert_eq!((blob.bytes().unwrap(), blob.len(), blob.digest()), (b"layer".to_vec(), 5, Digest::of(b"layer")));
    let mut part = [0; 9];
    assert_eq!(blob.read_at(&mut part, 2).unwrap(), 3);
    assert_eq!(&part[..3], b"yer");
    assert_eq!(blob.read_at(&mut part, 99).unwrap(), 0);
    assert!(cache.signatures(&Digest::of(b"other")).unwrap().is_empty());
    let names: Vec<_> = cache.index().unwrap().iter().filter_map(|entry| entry.name().map(str::to_owned)).collect();
    assert_eq!(names, ["r.lan/a:1".to_owned(), digest.signature_tag()]);
}

#[test]
fn a_damaged_entry_is_removed_and_not_there() {
    let ground = Ground::new();
    let cache = ground.gateway(1 << 20);
    let digest = Digest::of(b"component");
    let path = cache.layout.blob_path(&digest);
    let elsewhere = ground.home.path().join("elsewhere");
    fs::write(&elsewhere, b"component").unwrap();
    let damages: [&dyn Fn(); 4] = [
        &|| fs::write(&path, b"componenT").unwrap(),
        &|| fs::write(&path, b"compone").unwrap(),
        &|| fs::write(&path, b"").unwrap(),
        &|| {
            fs::remove_file(&path).unwrap();
            symlink(&elsewhere, &path).unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        for whole in [true, false] {
            assert_eq!(cache.keep(b"component").unwrap(), digest);
            damage();
            let found = if whole {
                cache.get(&digest, 100).unwrap().is_some()
            } else {
                cache.blob(&digest, 9).unwrap().is_some()
            };
            assert!(!found, "damage {number}");
            assert!(fs::symlink_metadata(&path).is_err(), "damage {number} is still there");
        }
    }
    assert_eq!(fs::read(&elsewhere).unwrap(), b"component", "what the link led to is left alone");
    cache.keep(b"component").unwrap();
    let blob = cache.blob(&digest, 9).unwrap().unwrap();
    fs::write(&path, b"componenT").unwrap();
    assert!(blob.bytes().is_err(), "what was changed after it was opened is not used either");
}

#[test]
fn what_is_asked_for_with_a_wrong_size_stays_what_it_is() {
    let ground = Ground::new();
    let cache = ground.gateway(1 << 20);
    let digest = cache.keep(b"component").unwrap();
    assert!(cache.blob(&digest, 5).unwrap().is_none());
    assert!(cache.get(&digest, 5).unwrap().is_none());
    assert!(cache.blob(&digest, 9).unwrap().is_some());
}

#[test]
fn a_damaged_index_is_begun_anew() {
    let ground = Ground::new();
    let cache = ground.gateway(1 << 20);
    let digest = image(&cache, "r.lan/a:1", b"layer");
    fs::write(cache.path().join("index.json"), b"{").unwrap();
    assert!(cache.signatures(&digest).unwrap().is_empty());
    assert_eq!(image(&cache, "r.lan/a:1", b"layer"), digest);
    assert_eq!(cache.signatures(&digest).unwrap().len(), 1);
}

#[test]
fn what_nobody_uses_makes_room_the_oldest_first() {
    let ground = Ground::new();
    let cache = ground.gateway(40_000);
    let [first, second, third] = [(b'a', 300), (b'b', 200), (b'c', 100)].map(|(byte, ago)| {
        let digest = image(&cache, &format!("r.lan/{}:1", char::from(byte)), &vec![byte; 10_000]);
        age(&cache, &digest, ago);
        digest
    });
    cache.retain(Holder::Plugins, [first]);
    let single = cache.keep(&[b'd'; 15_000]).unwrap();
    assert!(has(&cache, &first) && !has(&cache, &second) && has(&cache, &third) && has(&cache, &single));
    assert!(has(&cache, &Digest::of(&[b'a'; 10_000])) && !has(&cache, &Digest::of(&[b'b'; 10_000])));
    assert!(has(&cache, &Digest::of(b"{}")), "what images share stays with the last of them");
    assert_eq!(cache.signatures(&first).unwrap().len(), 1);
    assert!(cache.signatures(&second).unwrap().is_empty());
    let names: Vec<_> = cache.index().unwrap().iter().filter_map(|entry| entry.name().map(str::to_owned)).collect();
    assert!(!names.contains(&second.signature_tag()) && !names.contains(&"r.lan/b:1".to_owned()), "{names:?}");
    assert!(cache.bytes().unwrap() <= 40_000);

    cache.retain(Holder::Plugins, [first, third]);
    cache.retain(Holder::Firmware, [single]);
    let told = cache.keep(&[b'e'; 10_000]).unwrap_err().to_string();
    assert!(told.contains("artifacts.max_bytes"), "{told}");
    assert!(has(&cache, &first) && has(&cache, &third) && has(&cache, &single));
    assert!(matches!(ground.open(40_000, Access::Shared).unwrap().keep(&[b'e'; 10_000]), Err(CacheError::Full { .. })));
}

#[test]
fn a_command_removes_nothing_that_a_gateway_may_need() {
    let ground = Ground::new();
    let gateway = ground.gateway(20_000);
    let digest = gateway.keep(&[1; 15_000]).unwrap();
    let command = ground.open(20_000, Access::Shared).unwrap();
    assert!(matches!(command.keep(&[2; 15_000]), Err(CacheError::Full { .. })));
    assert!(has(&gateway, &digest));
    command.keep(&[3; 1_000]).unwrap();
    assert!(gateway.get(&Digest::of(&[3; 1_000]), 1_000).unwrap().is_some());
}

#[test]
fn two_gateways_do_not_share_a_cache() {
    let ground = Ground::new();
    let first = ground.gateway(1 << 20);
    let told = ground.open(1 << 20, Access::Gateway).unwrap_err().to_string();
    assert!(told.contains("in use by another gateway"), "{told}");
    assert!(ground.open(1 << 20, Access::Shared).is_ok());
    let clone = first.clone();
    drop(first);
    assert!(ground.open(1 << 20, Access::Gateway).is_err(), "a clone keeps it");
    drop(clone);
    assert!(ground.open(1 << 20, Access::Gateway).is_ok());
}

#[test]
fn two_writers_of_the_index_lose_nothing() {
    let ground = Ground::new();
    let gateway = ground.gateway(8 << 20);
    let command = ground.open(8 << 20, Access::Shared).unwrap();
    std::thread::scope(|scope| {
        for (name, cache) in [("gateway", &gateway), ("command", &command)] {
            scope.spawn(move || {
                for number in 0..20 {
                    image(cache, &format!("r.lan/{name}:{number}"), format!("{name} {number}").as_bytes());
                }
            });
        }
    });
    let entries = gateway.index().unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.name().unwrap().starts_with("r.lan/")).count(), 40);
}
