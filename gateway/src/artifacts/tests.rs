//! The whole road, from a layout or a file; registries have tests of their own, over the network.

use std::fs;

use super::layout::{Entry, Layout};
use super::manifest::{IMAGE_MANIFEST, REF_NAME};
use super::signature::{KeyKind, Payload, PrivateKey, Signed};
use super::*;
use crate::config::{KeyConfig, Size};

const ALARM: &str = "r.lan/acme/alarm";
const KIND: &str = "telemetry";
const MOST: u64 = 1 << 20;

/// A gateway's place on the disk, a stick, and a key.
struct Ground {
    home: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    key: PrivateKey,
}

impl Ground {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Self { home: tempfile::tempdir().unwrap(), runtime, key: PrivateKey::generate(KeyKind::EcdsaP256).unwrap() }
    }

    fn trust(&self) -> TrustConfig {
        let key = KeyConfig { id: "release".to_owned(), pem: Some(self.key.public_key_pem()), ..KeyConfig::default() };
        TrustConfig { keys: vec![key], ..TrustConfig::default() }
    }

    fn artifacts_of(&self, gateway: &str, trust: TrustConfig) -> Artifacts {
        let folder = self.home.path().join(gateway);
        fs::create_dir_all(&folder).unwrap();
        let artifacts = ArtifactsConfig {
            dir: folder.join("artifacts"),
            lockfile: folder.join("plugins.lock"),
            max_bytes: Size::mib(4),
            ..ArtifactsConfig::default()
        };
        let settings = Settings { artifacts, registries: Vec::new(), trust };
        Artifacts::open(&settings, self.runtime.handle().clone(), Access::Gateway).unwrap()
    }

    fn artifacts(&self) -> Artifacts {
        self.artifacts_of("gateway", self.trust())
    }

    fn stick(&self) -> Layout {
        Layout::create(&self.home.path().join("stick")).unwrap()
    }

    /// Puts an image onto the stick, signed for a repository by a key.
    fn put(&self, tag: &str, component: &[u8], signed: Option<(&PrivateKey, &str)>) -> Digest {
        let stick = self.stick();
        stick.keep(component).unwrap();
        stick.keep(b"{}").unwrap();
        let (config, layer) = (Descriptor::of("config", b"{}"), Descriptor::of("layer", component));
        let manifest = Manifest { artifact_type: None, config, layers: vec![layer], annotations: Default::default() };
        let digest = self.name(tag, &manifest.to_bytes());
        if let Some((key, repository)) = signed {
            self.sign(digest, key, repository);
        }
        digest
    }

    fn sign(&self, digest: Digest, key: &PrivateKey, repository: &str) {
        let signed = Payload { repository: repository.to_owned(), digest }.sign(key).unwrap();
        let (image, config) = Signed::image(std::slice::from_ref(&signed));
        self.stick().keep(&config).unwrap();
        self.stick().keep(&signed.payload).unwrap();
        self.name(&digest.signature_tag(), &image.to_bytes());
    }

    fn name(&self, tag: &str, manifest: &[u8]) -> Digest {
        let stick = self.stick();
        let digest = stick.keep(manifest).unwrap();
        let mut entries = stick.index().unwrap();
        entries.retain(|entry| entry.name() != Some(tag));
        let mut manifest = Descriptor::of(IMAGE_MANIFEST, manifest);
        manifest.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        entries.push(Entry { manifest });
        stick.write_index(&entries).unwrap();
        digest
    }

    fn unplug(&self) {
        fs::remove_dir_all(self.home.path().join("stick")).unwrap();
    }

    fn wanted(&self, tag: &str) -> Wanted {
        let reference = format!("oci-layout://{}:{tag}", self.home.path().join("stick").display());
        Wanted { reference: reference.parse().unwrap(), signed_as: Some(ALARM.to_owned()), kind: KIND }
    }
}

/// All of what is wanted: its component.
fn fetch(artifacts: &Artifacts, wanted: &Wanted) -> Result<Vec<u8>, FetchError> {
    let trusted = artifacts.manifest(wanted)?;
    Ok(artifacts.blob(&trusted, &trusted.manifest.layers[0], MOST)?.bytes().unwrap())
}

fn refused<T: Debug>(result: Result<T, FetchError>, rule: Because, words: &str) {
    let error = result.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, FetchError::Refused { because, .. } if because == rule), "{error:?}");
    assert!(told.contains(words) && !told.contains('\n'), "{told}");
}

#[test]
fn what_was_fetched_once_needs_nobody_any_more() {
    let ground = Ground::new();
    let digest = ground.put("1.0", b"component", Some((&ground.key, ALARM)));
    let artifacts = ground.artifacts();
    let trusted = artifacts.manifest(&ground.wanted("1.0")).unwrap();
    assert_eq!((trusted.digest, trusted.signed_by.as_deref()), (digest, Some("release")));
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"component");
    drop(artifacts);
    ground.unplug();
    let artifacts = ground.artifacts();
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"component");
    let again = artifacts.again(&digest, &ground.wanted("1.0")).unwrap();
    assert_eq!(again.signed_by.as_deref(), Some("release"));
    let listed = artifacts.list().unwrap();
    assert_eq!((listed.len(), listed[0].digest, listed[0].complete, listed[0].signatures), (1, digest, true, 1));
    assert!(matches!(fetch(&artifacts, &ground.wanted("2.0")), Err(FetchError::NotFound { .. })));
}

#[test]
fn a_tag_that_is_moved_after_it_was_approved_changes_nothing() {
    let ground = Ground::new();
    let first = ground.put("1.0", b"first", Some((&ground.key, ALARM)));
    let artifacts = ground.artifacts();
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"first");
    let second = ground.put("1.0", b"second", Some((&ground.key, ALARM)));
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"first");
    let reference = ground.wanted("1.0").reference;
    assert_eq!(artifacts.resolve(&reference, Lock::Use).unwrap(), first);
    assert_eq!(artifacts.resolve(&reference, Lock::Update).unwrap(), second);
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"second");

    let third = ground.put("1.0", b"third", Some((&ground.key, ALARM)));
    assert_eq!(artifacts.newest(&ground.wanted("1.0")).unwrap().digest, third);
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"third");
    ground.put("1.0", b"unsigned", None);
    refused(artifacts.newest(&ground.wanted("1.0")), Because::Unsigned, "no signature");
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"third", "what is refused is not locked");
}

#[test]
fn a_tag_is_not_locked_to_what_was_refused() {
    let ground = Ground::new();
    ground.put("1.0", b"unsigned", None);
    let artifacts = ground.artifacts();
    refused(fetch(&artifacts, &ground.wanted("1.0")), Because::Unsigned, "no signature");
    ground.put("1.0", b"signed", Some((&ground.key, ALARM)));
    assert_eq!(fetch(&artifacts, &ground.wanted("1.0")).unwrap(), b"signed");
}

#[test]
fn nothing_of_what_is_refused_is_kept() {
    let ground = Ground::new();
    let other = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    ground.put("unsigned", b"a", None);
    ground.put("stranger", b"b", Some((&other, ALARM)));
    ground.put("elsewhere", b"c", Some((&ground.key, "r.lan/acme/other")));
    let artifacts = ground.artifacts();
    refused(fetch(&artifacts, &ground.wanted("unsigned")), Because::Unsigned, "no signature");
    refused(fetch(&artifacts, &ground.wanted("stranger")), Because::Signature, "release");
    refused(fetch(&artifacts, &ground.wanted("elsewhere")), Because::Signature, "r.lan/acme/other");
    let nowhere = Wanted { signed_as: None, ..ground.wanted("elsewhere") };
    refused(fetch(&artifacts, &nowhere), Because::Signature, "signed_as: r.lan/acme/other");
    ground.name("text", b"no manifest");
    ground.sign(Digest::of(b"no manifest"), &ground.key, ALARM);
    refused(fetch(&artifacts, &ground.wanted("text")), Because::Manifest, "not one");
    assert!(artifacts.list().unwrap().is_empty());
    let blobs = artifacts.cache.layout().blobs();
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
    assert!(!ground.home.path().join("gateway/plugins.lock").exists());
}

#[test]
fn the_signature_for_one_digest_is_none_for_another() {
    let ground = Ground::new();
    let signed = ground.put("1.0", b"good", Some((&ground.key, ALARM)));
    let evil = ground.put("2.0", b"evil", None);
    let stick = ground.stick();
    let mut entries = stick.index().unwrap();
    for entry in &mut entries {
        if entry.name() == Some(&signed.signature_tag()) {
            entry.manifest.annotations.insert(REF_NAME.to_owned(), evil.signature_tag());
        }
    }
    stick.write_index(&entries).unwrap();
    refused(fetch(&ground.artifacts(), &ground.wanted("2.0")), Because::Signature, "and not of sha256:");
}

#[test]
fn what_is_kept_is_judged_by_todays_trust() {
    let ground = Ground::new();
    let digest = ground.put("1.0", b"component", Some((&ground.key, ALARM)));
    let artifacts = ground.artifacts();
    let wanted = ground.wanted("1.0");
    fetch(&artifacts, &wanted).unwrap();

    artifacts.retrust(&TrustConfig { revoked: vec![digest.to_string()], ..ground.trust() }).unwrap();
    refused(artifacts.again(&digest, &wanted), Because::Revoked, "revoked");
    refused(fetch(&artifacts, &wanted), Because::Revoked, "revoked");
    let component = Digest::of(b"component");
    artifacts.retrust(&TrustConfig { revoked: vec![component.to_string()], ..ground.trust() }).unwrap();
    refused(artifacts.again(&digest, &wanted), Because::Revoked, &component.to_string());
    assert!(artifacts.not_revoked(&component).is_err());

    let other = PrivateKey::generate(KeyKind::Ed25519).unwrap();
    let key = KeyConfig { id: "next".to_owned(), pem: Some(other.public_key_pem()), ..KeyConfig::default() };
    artifacts.retrust(&TrustConfig { keys: vec![key], ..TrustConfig::default() }).unwrap();
    refused(fetch(&artifacts, &wanted), Because::Signature, "next");
    ground.sign(digest, &other, ALARM);
    assert_eq!(artifacts.manifest(&wanted).unwrap().signed_by.as_deref(), Some("next"), "it was signed again since");
    ground.unplug();
    assert_eq!(artifacts.again(&digest, &wanted).unwrap().signed_by.as_deref(), Some("next"));
    assert!(artifacts.retrust(&TrustConfig { revoked: vec!["x".to_owned()], ..TrustConfig::default() }).is_err());
    assert!(artifacts.again(&digest, &wanted).is_ok(), "what cannot be read changes nothing");
}

#[test]
fn a_damaged_cache_is_fetched_again_or_refused() {
    let ground = Ground::new();
    let digest = ground.put("1.0", b"component", Some((&ground.key, ALARM)));
    let artifacts = ground.artifacts();
    let wanted = ground.wanted("1.0");
    fetch(&artifacts, &wanted).unwrap();
    let blob = artifacts.cache.layout().blob_path(&Digest::of(b"component"));
    let manifest = artifacts.cache.layout().blob_path(&digest);
    for path in [&blob, &manifest] {
        fs::write(path, b"componenT").unwrap();
        assert_eq!(fetch(&artifacts, &wanted).unwrap(), b"component");
        assert!(fs::read(path).unwrap() != b"componenT");
    }
    ground.unplug();
    for path in [&blob, &manifest] {
        fs::write(path, b"componenT").unwrap();
        assert!(matches!(fetch(&artifacts, &wanted), Err(FetchError::NotFound { .. })));
    }
    assert!(matches!(artifacts.again(&digest, &wanted), Err(FetchError::NotFound { .. })));
}

#[test]
fn what_is_not_as_large_as_it_says_is_refused_before_or_after() {
    let ground = Ground::new();
    ground.put("1.0", b"component", Some((&ground.key, ALARM)));
    let artifacts = ground.artifacts();
    let trusted = artifacts.manifest(&ground.wanted("1.0")).unwrap();
    let layer = trusted.manifest.layers[0].clone();
    refused(artifacts.blob(&trusted, &layer, 8), Because::Size, "more than the 8");
    let other = Descriptor::of("layer", b"another");
    refused(artifacts.blob(&trusted, &other, MOST), Because::Manifest, "does not name");
    let path = ground.stick().blob_path(&layer.digest);
    for (bytes, rule) in
        [(&b"componen"[..], Because::Size), (b"component!", Because::Size), (b"componenT", Because::Digest)]
    {
        fs::write(&path, bytes).unwrap();
        refused(artifacts.blob(&trusted, &layer, MOST), rule, "");
    }
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    refused(artifacts.blob(&trusted, &layer, MOST), Because::Digest, "no regular file");
    assert!(!artifacts.cache.layout().has_blob(&layer.digest));
}

#[test]
fn a_file_is_the_operators_own_unless_the_configuration_asks_for_more() {
    let ground = Ground::new();
    let path = ground.home.path().join("alarm.wasm");
    fs::write(&path, b"component").unwrap();
    let reference = Reference::File(path.clone());
    let wanted = Wanted { reference: reference.clone(), signed_as: None, kind: KIND };
    let artifacts = ground.artifacts();
    let file = |most| artifacts.file(&path, &wanted, most);
    let found = file(MOST).unwrap();
    assert_eq!((found.bytes, found.digest, found.signed_by), (b"component".to_vec(), Digest::of(b"component"), None));
    refused(file(8), Because::Size, "8 at most");
    artifacts.retrust(&TrustConfig { unsigned: Vec::new(), ..ground.trust() }).unwrap();
    refused(file(MOST), Because::Unsigned, "no signature");
    let sign = |bytes: &[u8]| {
        use base64::Engine as _;
        let signature = base64::engine::general_purpose::STANDARD.encode(ground.key.sign(bytes).unwrap());
        fs::write(ground.home.path().join("alarm.wasm.sig"), signature + "\n").unwrap();
    };
    sign(b"component");
    assert_eq!(file(MOST).unwrap().signed_by.as_deref(), Some("release"));
    sign(b"another");
    refused(file(MOST), Because::Signature, "release");
    fs::write(ground.home.path().join("alarm.wasm.sig"), "not Base64").unwrap();
    refused(file(MOST), Because::Signature, "release");
    assert!(matches!(artifacts.manifest(&wanted), Err(FetchError::NotFound { .. })), "a file has no manifest");
}

#[test]
fn a_stick_carries_plugins_to_a_gateway_without_a_network() {
    let ground = Ground::new();
    let digest = ground.put("1.0", b"component", Some((&ground.key, ALARM)));
    let here = ground.artifacts();
    let parcel = ground.home.path().join("parcel");
    let exported = here.export(&[ground.wanted("1.0")], &parcel).unwrap();
    assert_eq!(exported[0].reference.to_string(), "oci://r.lan/acme/alarm:1.0");
    ground.unplug();

    let there = ground.artifacts_of("there", ground.trust());
    let as_wanted = |reference| Wanted { reference, signed_as: None, kind: KIND };
    let imported = there.import(&parcel, as_wanted).unwrap();
    assert_eq!((imported.len(), imported[0].digest, imported[0].signed_by.as_deref()), (1, digest, Some("release")));
    fs::remove_dir_all(&parcel).unwrap();
    let wanted = as_wanted("oci://r.lan/acme/alarm:1.0".parse().unwrap());
    assert_eq!(fetch(&there, &wanted).unwrap(), b"component");
}

#[test]
fn a_stick_is_believed_no_more_than_a_registry() {
    let ground = Ground::new();
    ground.put("1.0", b"component", Some((&ground.key, ALARM)));
    let here = ground.artifacts();
    let parcel = ground.home.path().join("parcel");
    here.export(&[ground.wanted("1.0")], &parcel).unwrap();
    let as_wanted = |reference| Wanted { reference, signed_as: None, kind: KIND };
    let stranger = ground.artifacts_of("stranger", TrustConfig::default());
    refused(stranger.import(&parcel, as_wanted), Because::Signature, "trust.keys");

    let lockfile = parcel.join("plugins.lock");
    let text = fs::read_to_string(&lockfile).unwrap();
    fs::write(&lockfile, text.replace("acme/alarm", "acme/brake")).unwrap();
    let there = ground.artifacts_of("there", ground.trust());
    refused(there.import(&parcel, as_wanted), Because::Signature, "and not for `r.lan/acme/brake`");
    fs::write(&lockfile, &text).unwrap();
    let blob = Layout::open(&parcel).unwrap().blob_path(&Digest::of(b"component"));
    fs::write(blob, b"componenT").unwrap();
    refused(there.import(&parcel, as_wanted), Because::Digest, "is damaged");
    fs::remove_file(&lockfile).unwrap();
    assert!(matches!(there.import(&parcel, as_wanted), Err(FetchError::NotFound { .. })));
    let no_repository = Wanted { signed_as: None, ..ground.wanted("1.0") };
    refused(here.export(&[no_repository], &parcel), Because::Signature, "add `signed_as`");
}

#[test]
fn what_was_asked_for_stays_until_it_is_said_what_is_in_use() {
    let ground = Ground::new();
    let large = |byte: u8| vec![byte; 1_500_000];
    let wanted = |tag: &str, byte: u8| {
        ground.put(tag, &large(byte), Some((&ground.key, ALARM)));
        ground.wanted(tag)
    };
    let artifacts = ground.artifacts();
    let fetch = |wanted: &Wanted| {
        let trusted = artifacts.manifest(wanted)?;
        artifacts.blob(&trusted, &trusted.manifest.layers[0], 2 * MOST).map(|_| trusted.digest)
    };
    let first = fetch(&wanted("1.0", 1)).unwrap();
    let second = fetch(&wanted("2.0", 2)).unwrap();
    assert!(matches!(fetch(&wanted("3.0", 3)), Err(FetchError::Disk { .. })), "4 MiB hold two of them");
    artifacts.retain([second]);
    let third = fetch(&wanted("3.0", 3)).unwrap();
    let kept = |digest| artifacts.again(&digest, &ground.wanted("1.0")).is_ok();
    assert!(!kept(first) && kept(second) && kept(third));
}
