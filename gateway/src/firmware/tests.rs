//! From references to bytes, on layouts in folders: registries are asked by the integration tests.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::artifacts::layout::{Entry, Layout};
use crate::artifacts::manifest::{IMAGE_MANIFEST, REF_NAME};
use crate::artifacts::{Access, Descriptor, Manifest, Settings};
use crate::config::{ArtifactsConfig, Size, TrustConfig};

mod meanwhile;
mod patches;

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway's folders, with a layout in which firmware is published.
struct Ground {
    home: TempDir,
    runtime: Runtime,
    config: FirmwareConfig,
}

impl Ground {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = FirmwareConfig { dir: home.path().join("firmware"), ..FirmwareConfig::default() };
        Layout::create(&home.path().join("stick")).unwrap();
        Self { home, runtime, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn artifacts(&self, unsigned: &[&str]) -> Artifacts {
        self.bounded(unsigned, ArtifactsConfig::default().max_bytes)
    }

    fn bounded(&self, unsigned: &[&str], max_bytes: Size) -> Artifacts {
        let artifacts = ArtifactsConfig {
            dir: self.path("artifacts"),
            lockfile: self.path("plugins.lock"),
            max_bytes,
            ..ArtifactsConfig::default()
        };
        let unsigned = unsigned.iter().map(|prefix| (*prefix).to_owned()).collect();
        let trust = TrustConfig { unsigned, ..TrustConfig::default() };
        let settings = Settings { artifacts, trust, ..Settings::default() };
        // The threads of the gateway before end when they have done what they are at.
        let open = || Artifacts::open(&settings, self.runtime.handle().clone(), Access::Gateway);
        until("the gateway before has ended", || open().ok())
    }

    fn start(&self) -> Firmware {
        let artifacts = self.artifacts(&["oci-layout://", "file://"]);
        Firmware::start(&self.config, &artifacts, FirmwareMetrics::default()).unwrap()
    }

    /// Publishes an image in a layout, which is made if it is not there.
    fn publish(&self, folder: &str, tag: &str, image: &[u8]) -> String {
        let (config, layers, annotations) = (b"{}", [(layouts::BLOB, image)], [(layouts::TITLE, "motor")]);
        let layout = Layout::create(&self.path(folder)).unwrap();
        let layer = |(media_type, bytes): &(&str, &[u8])| {
            layout.keep(bytes).unwrap();
            Descriptor::of(media_type, bytes)
        };
        layout.keep(config).unwrap();
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let manifest = Manifest {
            artifact_type: None,
            config: Descriptor::of("application/vnd.oci.image.config.v1+json", config),
            layers: layers.iter().map(layer).collect(),
            annotations,
        };
        let bytes = manifest.to_bytes();
        layout.keep(&bytes).unwrap();
        let mut index = layout.index().unwrap();
        index.retain(|entry| entry.name() != Some(tag));
        let mut manifest = Descriptor::of(IMAGE_MANIFEST, &bytes);
        manifest.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        index.push(Entry { manifest });
        layout.write_index(&index).unwrap();
        format!("oci-layout://{}:{tag}", self.path(folder).display())
    }

    fn blob(&self, version: &str, image: &[u8]) -> String {
        self.publish("stick", version, image)
    }
}

/// Asks until the answer is another than that it is being fetched.
fn settled<T>(mut ask: impl FnMut() -> Result<T, Unready>) -> Result<T, Unready> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(Unready::Fetching) if Instant::now() < deadline => std::thread::yield_now(),
            settled => return settled,
        }
    }
}

#[test]
fn a_release_is_served_by_range_up_to_its_last_byte_and_not_beyond() {
    let ground = Ground::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let reference = ground.blob("1.0.0", &bytes);
    let firmware = ground.start();
    assert_eq!(firmware.release(&reference), Err(Unready::Fetching));
    let release = settled(|| firmware.release(&reference)).unwrap();
    assert_eq!((release.name.as_str(), release.version.as_str(), release.size), ("motor", "1.0.0", 1000));
    assert_eq!(release.checksum, Digest::of(&bytes).bytes());
    let image = settled(|| firmware.image(&release.image)).unwrap();
    for (offset, length) in
        [(0, 0), (0, 1), (0, 512), (999, 1), (999, 2), (1000, 1), (u64::MAX, u32::MAX), (0, u32::MAX)]
    {
        let from = usize::try_from(offset.min(1000)).unwrap();
        let expected: Vec<u8> = bytes[from..].iter().take(length as usize).copied().collect();
        assert_eq!(image.block(offset, length).unwrap(), expected, "{length} bytes from {offset}");
    }
    assert_eq!(firmware.image("sha256:00").unwrap_err(), Unready::Unknown);
    assert_eq!(firmware.image(&Digest::of(b"other").to_string()).unwrap_err(), Unready::Unknown);
}

#[test]
fn a_tag_that_moves_stays_what_it_stood_for_first() {
    let ground = Ground::new();
    let reference = ground.blob("stable", b"first");
    let before = {
        let firmware = ground.start();
        settled(|| firmware.release(&reference)).unwrap()
    };
    ground.blob("stable", b"second");
    let firmware = ground.start();
    assert_eq!(settled(|| firmware.release(&reference)).unwrap(), before);
}

#[test]
fn what_was_fetched_is_there_after_a_restart_without_its_source() {
    let ground = Ground::new();
    let reference = ground.blob("1.0.0", b"image");
    drop(settled(|| ground_release(&ground.start(), &reference)).unwrap());
    std::fs::remove_dir_all(ground.path("stick")).unwrap();
    let firmware = ground.start();
    let release = settled(|| firmware.release(&reference)).unwrap();
    let by_name = settled(|| firmware.release("motor:1.0.0")).unwrap();
    assert_eq!(release, by_name);
    assert_eq!(settled(|| firmware.image(&release.image)).unwrap().block(0, 9).unwrap(), b"image".as_slice());
    assert_eq!(settled(|| firmware.release("motor:2.0.0")), Err(Unready::Unknown));
}

fn ground_release(firmware: &Firmware, reference: &str) -> Result<Arc<Release>, Unready> {
    settled(|| firmware.release(reference))
}

#[test]
fn a_source_that_is_not_there_is_unavailable_and_asked_again() {
    let mut ground = Ground::new();
    ground.config.retry = Duration::from_millis(1);
    let reference = format!("oci-layout://{}:1.0.0", ground.path("stick").display());
    let firmware = ground.start();
    let told = settled(|| firmware.release(&reference)).unwrap_err();
    assert!(matches!(&told, Unready::Unavailable(text) if text.contains("1.0.0")), "{told:?}");
    ground.blob("1.0.0", b"image");
    let deadline = Instant::now() + PATIENCE;
    while firmware.release(&reference).is_err() {
        assert!(Instant::now() < deadline, "it is never asked again");
        std::thread::yield_now();
    }
}

#[test]
fn firmware_without_a_good_signature_is_refused() {
    let ground = Ground::new();
    let reference = ground.blob("1.0.0", b"image");
    let firmware = Firmware::start(&ground.config, &ground.artifacts(&[]), FirmwareMetrics::default()).unwrap();
    let told = settled(|| firmware.release(&reference)).unwrap_err();
    assert!(matches!(&told, Unready::Refused(text) if text.contains("no signature")), "{told:?}");
}

#[test]
fn what_was_refused_is_asked_for_again_when_somebody_else_is_trusted() {
    let ground = Ground::new();
    let reference = ground.blob("1.0.0", b"image");
    let artifacts = ground.artifacts(&[]);
    let firmware = Firmware::start(&ground.config, &artifacts, FirmwareMetrics::default()).unwrap();
    settled(|| firmware.release(&reference)).unwrap_err();
    let unsigned = vec!["oci-layout://".to_owned()];
    artifacts.retrust(&TrustConfig { unsigned, ..TrustConfig::default() }).unwrap();
    firmware.look_again();
    until("it is asked for again", || firmware.release(&reference).ok());
}

#[test]
fn a_release_from_two_places_is_used_from_the_one_that_is_still_trusted() {
    let ground = Ground::new();
    let [one, other] = ["stick", "other"].map(|folder| ground.publish(folder, "1.0.0", b"image"));
    let unsigned = |places: &[&str]| {
        places.iter().map(|place| format!("oci-layout://{}", ground.path(place).display())).collect::<Vec<_>>()
    };
    let artifacts = ground.artifacts(&[]);
    let trust = |unsigned| artifacts.retrust(&TrustConfig { unsigned, ..TrustConfig::default() }).unwrap();
    trust(unsigned(&["stick", "other"]));
    let firmware = Firmware::start(&ground.config, &artifacts, FirmwareMetrics::default()).unwrap();
    for reference in [&one, &other] {
        settled(|| firmware.release(reference)).unwrap();
    }
    for (trusted, is_trusted, is_not) in [("other", &other, &one), ("stick", &one, &other)] {
        trust(unsigned(&[trusted]));
        firmware.look_again();
        until("it is refused", || firmware.release(is_not).is_err().then_some(()));
        let release = until("it is trusted", || firmware.release(is_trusted).ok());
        settled(|| firmware.image(&release.image)).unwrap();
    }
}

#[test]
fn what_an_operator_insists_on_is_asked_for_again_at_once() {
    let ground = Ground::new();
    let reference = format!("oci-layout://{}:1.0.0", ground.path("stick").display());
    let firmware = ground.start();
    settled(|| firmware.insist(&reference)).unwrap_err();
    ground.blob("1.0.0", b"image");
    until("it is asked for again", || firmware.insist(&reference).ok());
}

#[test]
fn an_operator_is_not_told_what_came_of_it_before_they_asked() {
    let ground = Ground::new();
    let reference = format!("oci-layout://{}:1.0.0", ground.path("stick").display());
    let firmware = ground.start();
    settled(|| firmware.release(&reference)).unwrap_err();
    assert_eq!(firmware.insist(&reference), Err(Unready::Fetching));
    let told = settled(|| firmware.insist(&reference)).unwrap_err();
    assert!(matches!(told, Unready::Unavailable(_)), "{told:?}");
    assert_eq!(firmware.insist(&reference), Err(Unready::Fetching), "it may have been mended since");
}

#[test]
fn a_tag_that_was_pinned_is_listed_with_what_it_stands_for() {
    let ground = Ground::new();
    let reference = ground.blob("stable", b"image");
    let firmware = ground.start();
    let pinned = firmware.pin(&reference, None).unwrap();
    let listed = firmware.list().into_iter().find(|listed| listed.reference == reference);
    assert_eq!(listed.unwrap().known.unwrap().digest(), pinned.digest());
    let told = firmware.pin("motor:1.0.0", None).unwrap_err().to_string();
    assert!(told.contains("oci://host/repository:tag"), "{told}");
}

#[test]
fn an_open_image_whose_digest_is_revoked_is_closed_and_refused() {
    let ground = Ground::new();
    let (image, file) = (b"image", ground.path("motor.bin"));
    let digest = Digest::of(image);
    std::fs::write(&file, image).unwrap();
    let metadata = serde_json::json!({ "version": "1.0.0", "size": image.len(), "checksum": digest.hex() });
    std::fs::write(file.with_extension("json"), metadata.to_string()).unwrap();
    let reference = format!("file://{}", file.display());
    let artifacts = ground.artifacts(&["file://"]);
    let firmware = Firmware::start(&ground.config, &artifacts, FirmwareMetrics::default()).unwrap();
    let release = settled(|| firmware.release(&reference)).unwrap();
    settled(|| firmware.image(&release.image)).unwrap();
    let revoked = vec![digest.to_string()];
    artifacts
        .retrust(&TrustConfig { revoked, unsigned: vec!["file://".to_owned()], ..TrustConfig::default() })
        .unwrap();
    firmware.look_again();
    let told = until("it is refused", || firmware.release(&reference).err().filter(|told| *told != Unready::Fetching));
    assert!(matches!(&told, Unready::Refused(text) if text.contains("revoked")), "{told:?}");
    assert!(settled(|| firmware.image(&release.image)).is_err());
}

/// Waits until something is so.
fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = is_so() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn followed(reference: &str, approval: bool) -> [Followed; 1] {
    [Followed { reference: reference.to_owned(), approval }]
}

#[test]
fn a_followed_tag_is_taken_over_when_it_moves() {
    let mut ground = Ground::new();
    ground.config.poll = Duration::from_millis(1);
    let reference = ground.blob("latest", b"first");
    let firmware = ground.start();
    firmware.follow(&followed(&reference, false));
    let first = settled(|| firmware.release(&reference)).unwrap();
    ground.blob("latest", b"second one");
    let second = until("it is taken over", || firmware.release(&reference).ok().filter(|now| *now != first));
    assert_eq!(second.size, 10);
    let listed = firmware.list();
    assert!(listed.iter().any(|listed| listed.reference == reference && listed.followed && listed.waiting.is_none()));
    // Whoever follows no more stays with what it was last, also after a restart.
    firmware.follow(&[]);
    drop(firmware);
    ground.blob("latest", b"third");
    assert_eq!(settled(|| ground_release(&ground.start(), &reference)).unwrap(), second);
}

#[test]
fn a_followed_tag_with_approval_waits_for_the_operator_the_first_time_too() {
    let mut ground = Ground::new();
    ground.config.poll = Duration::from_millis(1);
    let reference = ground.blob("latest", b"first");
    let firmware = ground.start();
    firmware.follow(&followed(&reference, true));
    let waiting = || {
        let listed = firmware.list().into_iter().find(|listed| listed.reference == reference);
        listed.and_then(|listed| listed.waiting)
    };
    let first = until("the first one waits", waiting);
    let told = firmware.release(&reference).unwrap_err();
    assert!(matches!(&told, Unready::Refused(text) if text.contains("firmware pin")), "{told:?}");
    assert_eq!(firmware.pin(&reference, Some(first.digest())).unwrap().release, first.release);
    assert_eq!(firmware.release(&reference).unwrap(), first.release);

    ground.blob("latest", b"second");
    let second = until("the second one waits", waiting);
    assert_ne!(second.digest(), first.digest());
    assert_eq!(firmware.release(&reference).unwrap(), first.release, "what was approved stays");
    // What was shown is what is approved, wherever the tag has moved since.
    ground.blob("latest", b"third");
    firmware.pin(&reference, Some(second.digest())).unwrap();
    assert_eq!(firmware.release(&reference).unwrap(), second.release);
    // And back.
    firmware.pin(&reference, Some(first.digest())).unwrap();
    assert_eq!(firmware.release(&reference).unwrap(), first.release);
    assert!(firmware.pin("motor:1", None).is_err());
}

/// Two releases of which the second is a little different.
#[test]
fn an_image_that_was_damaged_on_the_disk_is_fetched_again_before_a_byte_is_served() {
    let ground = Ground::new();
    let reference = ground.blob("1.0.0", b"the image as it was published");
    let digest = settled(|| ground_release(&ground.start(), &reference)).unwrap().image.parse::<Digest>().unwrap();
    let file = Layout::open(&ground.path("artifacts")).unwrap().blob_path(&digest);
    std::fs::write(&file, b"the image as it was corrupted").unwrap();
    let firmware = ground.start();
    let release = settled(|| firmware.release(&reference)).unwrap();
    let image = settled(|| firmware.image(&release.image)).unwrap();
    assert_eq!(image.block(0, 100).unwrap(), b"the image as it was published".as_slice());
    assert_eq!(std::fs::read(&file).unwrap(), b"the image as it was published");
}

#[test]
fn a_bare_file_whose_image_was_damaged_in_the_cache_is_read_again() {
    let mut ground = Ground::new();
    ground.config.max_open = 1;
    let (image, file) = (b"the image", ground.path("motor.bin"));
    let digest = Digest::of(image);
    std::fs::write(&file, image).unwrap();
    let metadata = serde_json::json!({ "version": "1.0.0", "size": image.len(), "checksum": digest.hex() });
    std::fs::write(file.with_extension("json"), metadata.to_string()).unwrap();
    let firmware = ground.start();
    let release = settled(|| firmware.release(&format!("file://{}", file.display()))).unwrap();
    let other = ground.blob("other", b"other");
    settled(|| firmware.release(&other)).unwrap();
    let kept = Layout::open(&ground.path("artifacts")).unwrap().blob_path(&digest);
    std::fs::write(&kept, b"not image").unwrap();
    let image = settled(|| firmware.image(&release.image)).unwrap();
    assert_eq!(image.block(0, 100).unwrap(), b"the image".as_slice());
}

#[test]
fn what_a_killed_publisher_left_in_the_own_layout_goes_at_the_next_start() {
    let ground = Ground::new();
    ground.publish("firmware", "1.0.0", b"image");
    let left = Layout::open(&ground.path("firmware")).unwrap().blobs().join(".draft-1.0");
    std::fs::write(&left, b"half of an ima").unwrap();
    let _firmware = ground.start();
    until("it is gone", || (!left.exists()).then_some(()));
}

#[test]
fn of_more_images_than_may_be_open_the_one_closes_that_was_not_read_the_longest() {
    let mut ground = Ground::new();
    ground.config.max_open = 2;
    let references = ["1", "2", "3"].map(|version| ground.blob(version, version.as_bytes()));
    let firmware = ground.start();
    let releases = references.map(|reference| settled(|| firmware.release(&reference)).unwrap());
    let open = || firmware.list().iter().filter(|listed| listed.open).count();
    assert_eq!(open(), 2);
    for release in releases.iter().chain(&releases) {
        let image = settled(|| firmware.image(&release.image)).unwrap();
        assert_eq!(image.block(0, 9).unwrap(), release.version.as_bytes());
        assert!(open() <= 2);
    }
}

/// Makes a file look as if it was last used long ago, and says whether it still does.
fn unread_since(file: PathBuf) -> impl Fn() -> bool {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    move || std::fs::metadata(&file).unwrap().modified().unwrap() == long_ago
}

#[test]
fn whoever_looks_is_shown_what_was_dropped_in_and_reads_nothing_of_what_is_known() {
    let ground = Ground::new();
    let reference = ground.blob("1.0.0", b"image");
    let firmware = ground.start();
    settled(|| firmware.release(&reference)).unwrap();
    let digest = firmware.list()[0].known.as_ref().unwrap().digest();
    let unread = unread_since(Layout::open(&ground.path("artifacts")).unwrap().blob_path(&digest));
    assert_eq!(firmware.list().len(), 1);
    assert_eq!(settled(|| firmware.release("motor:1.0.0")).unwrap().version, "1.0.0");
    assert!(unread(), "what is known was read");
    // An operator publishes another one beside it.
    ground.publish("firmware", "1.1.0", b"another image");
    let listed = firmware.list();
    let versions: Vec<_> =
        listed.iter().map(|listed| listed.known.as_ref().unwrap().release.version.as_str()).collect();
    assert!(versions.contains(&"1.0.0") && versions.contains(&"1.1.0"), "{versions:?}");
    assert!(unread(), "what is known was read");
}

#[test]
fn a_release_that_was_published_since_is_found_by_its_name() {
    let mut ground = Ground::new();
    ground.config.retry = Duration::from_millis(1);
    let firmware = ground.start();
    assert_eq!(settled(|| firmware.release("motor:1.0.0")), Err(Unready::Unknown));
    ground.publish("firmware", "1.0.0", b"image");
    assert_eq!(until("it is found", || firmware.release("motor:1.0.0").ok()).size, 5);
}

#[test]
fn of_more_releases_than_are_known_at_the_same_time_each_is_found_by_its_name() {
    let mut ground = Ground::new();
    ground.config.max_releases = 2;
    let versions = ["1", "2", "3", "4", "5"];
    for version in versions {
        ground.publish("firmware", version, version.as_bytes());
    }
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = FirmwareMetrics::new(&mut registry);
    let firmware = Firmware::start(&ground.config, &ground.artifacts(&["oci-layout://"]), metrics).unwrap();
    for version in versions {
        let release = settled(|| firmware.release(&format!("motor:{version}"))).unwrap();
        assert_eq!(release.checksum, Digest::of(version.as_bytes()).bytes());
    }
    let mut counted = String::new();
    prometheus_client::encoding::text::encode(&mut counted, &registry).unwrap();
    let forgotten = counted.lines().find_map(|line| line.strip_prefix("causeway_firmware_forgotten_total "));
    // Three references, and three releases at the start already.
    assert!(forgotten.is_some_and(|count| count.parse::<u64>().unwrap() >= 6), "{counted}");
}

#[test]
fn of_two_images_under_one_name_nobody_chooses() {
    let ground = Ground::new();
    let reference = ground.blob("1.0.0", b"image");
    let firmware = ground.start();
    settled(|| firmware.release(&reference)).unwrap();
    ground.publish("firmware", "1.0.0", b"another image");
    assert_eq!(firmware.list().len(), 2);
    let told = settled(|| firmware.release("motor:1.0.0")).unwrap_err();
    assert!(matches!(&told, Unready::Refused(text) if text.contains("two images")), "{told:?}");
}
