//! Patches: of what they are made, who gets one, and what becomes of one that is damaged or not worth it.

use super::*;

fn two_releases(ground: &Ground) -> (Vec<u8>, Vec<u8>, String, String) {
    let old: Vec<u8> = (0..20_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut new = old.clone();
    new.splice(40_000..40_008, *b"a few more bytes");
    let references = [("0.1.0", &old), ("0.1.1", &new)].map(|(version, image)| ground.blob(version, image));
    let [first, second] = references;
    (old, new, first, second)
}

fn formats(formats: &[&str]) -> Vec<String> {
    formats.iter().map(|format| (*format).to_owned()).collect()
}

#[test]
fn a_patch_is_made_for_a_device_that_can_apply_it_and_kept() {
    let ground = Ground::new();
    let (_, new, first, second) = two_releases(&ground);
    let known = formats(&["other", PATCH_FORMAT]);
    let (patch, bytes) = {
        let firmware = ground.start();
        settled(|| firmware.release(&first)).unwrap();
        let to = settled(|| firmware.release(&second)).unwrap();
        assert_eq!(firmware.patch("motor", "0.1.0", &to, &formats(&["other"])), Ok(None), "it cannot apply it");
        assert_eq!(firmware.patch("motor", "0.0.9", &to, &known), Ok(None), "its image is not here");
        assert_eq!(firmware.patch("motor", "0.1.1", &to, &known), Ok(None), "it runs it");
        let patch = settled(|| firmware.patch("motor", "0.1.0", &to, &known)).unwrap().unwrap();
        assert_eq!(patch.format, PATCH_FORMAT);
        assert!(patch.size < new.len() as u64 / 10, "{patch:?}");
        let image = settled(|| firmware.image(&patch.image)).unwrap();
        assert_eq!(image.size(), patch.size);
        (patch, image.block(0, u32::MAX).unwrap())
    };
    // After a restart a device that is in the middle of it goes on with the same bytes.
    let firmware = ground.start();
    let to = settled(|| firmware.release(&second)).unwrap();
    assert_eq!(firmware.patch("motor", "0.1.0", &to, &known), Ok(Some(patch.clone())));
    let image = settled(|| firmware.image(&patch.image)).unwrap();
    assert_eq!(image.block(0, u32::MAX).unwrap(), bytes);
}

#[test]
fn a_patch_that_is_damaged_is_made_again_before_a_byte_of_it_is_served() {
    let ground = Ground::new();
    let (_, _, first, second) = two_releases(&ground);
    let known = formats(&[PATCH_FORMAT]);
    let patch = {
        let firmware = ground.start();
        settled(|| firmware.release(&first)).unwrap();
        let to = settled(|| firmware.release(&second)).unwrap();
        settled(|| firmware.patch("motor", "0.1.0", &to, &known)).unwrap().unwrap()
    };
    let digest: Digest = patch.image.parse().unwrap();
    let file = Layout::open(&ground.path("artifacts")).unwrap().blob_path(&digest);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&file, &bytes).unwrap();

    let firmware = ground.start();
    let to = settled(|| firmware.release(&second)).unwrap();
    let image = until("it is made again", || {
        let patch = firmware.patch("motor", "0.1.0", &to, &known).ok().flatten()?;
        firmware.image(&patch.image).ok()
    });
    assert_eq!(Digest::of(&image.block(0, u32::MAX).unwrap()), digest);
}

/// What `causeway firmware push` publishes without a registry is noted, and fetched by whoever asks for it.
#[test]
fn a_patch_is_made_of_an_image_of_the_own_layout_that_nobody_has_asked_for() {
    let mut ground = Ground::new();
    let (_, _, _, second) = two_releases(&ground);
    ground.config.dir = ground.path("stick");
    let firmware = ground.start();
    let to = settled(|| firmware.release(&second)).unwrap();
    let known = formats(&[PATCH_FORMAT]);
    let made = settled(|| firmware.patch("motor", "0.1.0", &to, &known));
    assert!(matches!(&made, Ok(Some(patch)) if patch.size < to.size / 10), "{made:?}");
}

/// A gateway that knows two releases and has only the image of the second; and what brings the first one back.
fn without_the_first(ground: &Ground) -> (Firmware, Arc<Release>, impl FnOnce()) {
    let (old, _, first, second) = two_releases(ground);
    let digest = Digest::of(&old);
    let remove = |folder: &str| std::fs::remove_file(Layout::open(&ground.path(folder)).unwrap().blob_path(&digest));
    settled(|| ground_release(&ground.start(), &first)).unwrap();
    let firmware = ground.start();
    let to = settled(|| firmware.release(&second)).unwrap();
    remove("artifacts").unwrap();
    remove("stick").unwrap();
    let stick = ground.path("stick");
    let bring_back = move || {
        Layout::open(&stick).unwrap().keep(&old).unwrap();
    };
    (firmware, to, bring_back)
}

#[test]
fn there_is_no_patch_of_an_image_that_is_gone_until_it_is_back() {
    let mut ground = Ground::new();
    ground.config.retry = Duration::from_millis(1);
    let (firmware, to, bring_back) = without_the_first(&ground);
    let known = formats(&[PATCH_FORMAT]);
    assert_eq!(settled(|| firmware.patch("motor", "0.1.0", &to, &known)), Ok(None));
    bring_back();
    let patch = until("it is made", || firmware.patch("motor", "0.1.0", &to, &known).ok().flatten());
    assert!(patch.size < to.size / 10, "{patch:?}");
}

#[test]
fn while_a_patch_cannot_be_made_it_is_none_for_those_too_who_ask_less_often_than_it_is_tried() {
    let known = formats(&[PATCH_FORMAT]);
    // However long it is since it was tried: the first one who asks is told to wait, and nobody after that.
    for retry in [Duration::from_secs(600), Duration::ZERO] {
        let mut ground = Ground::new();
        ground.config.retry = retry;
        let (firmware, to, _) = without_the_first(&ground);
        let ask = || firmware.patch("motor", "0.1.0", &to, &known);
        assert_eq!(ask(), Err(Unready::Fetching));
        assert_eq!(settled(ask), Ok(None));
        for _ in 0..100 {
            assert_eq!(ask(), Ok(None), "tried again after {retry:?}");
        }
    }
}

#[test]
fn what_patches_could_be_made_of_gives_way_to_a_patch_that_is_made() {
    let ground = Ground::new();
    let (_, _, first, second) = two_releases(&ground);
    let start = |most| {
        let artifacts = ground.bounded(&["oci-layout://"], most);
        Firmware::start(&ground.config, &artifacts, FirmwareMetrics::default()).unwrap()
    };
    settled(|| ground_release(&start(Size::mib(1)), &first)).unwrap();
    // Room for two images of 80 000 bytes and what is said of them, and not for a patch.
    let firmware = start(Size(161_500));
    let to = settled(|| firmware.release(&second)).unwrap();
    let base = firmware.shared.read().base("motor", "0.1.0").unwrap();
    firmware.shared.hold();
    let patch = settled(|| firmware.patch("motor", "0.1.0", &to, &formats(&[PATCH_FORMAT]))).unwrap().unwrap();
    settled(|| firmware.image(&patch.image)).unwrap();
    assert!(!firmware.shared.artifacts.has(&base.said.image), "there was room for both");
}

#[test]
fn a_patch_that_is_not_worth_it_is_none() {
    let mut ground = Ground::new();
    ground.config.patches.worth = 1;
    let (_, _, first, second) = two_releases(&ground);
    let known = formats(&[PATCH_FORMAT]);
    let firmware = ground.start();
    settled(|| firmware.release(&first)).unwrap();
    let to = settled(|| firmware.release(&second)).unwrap();
    assert_eq!(settled(|| firmware.patch("motor", "0.1.0", &to, &known)), Ok(None));
    assert_eq!(firmware.patch("motor", "0.1.0", &to, &known), Ok(None), "and is not tried again");
}

#[test]
fn images_that_would_take_more_memory_than_is_allowed_get_no_patch() {
    let mut ground = Ground::new();
    ground.config.patches.max_memory = Size::kib(64);
    let (_, _, first, second) = two_releases(&ground);
    let firmware = ground.start();
    settled(|| firmware.release(&first)).unwrap();
    let to = settled(|| firmware.release(&second)).unwrap();
    assert_eq!(firmware.patch("motor", "0.1.0", &to, &formats(&[PATCH_FORMAT])), Ok(None));
}
