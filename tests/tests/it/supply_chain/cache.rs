//! What was fetched and verified, and was damaged on the disk since: never run, and fetched again when it can be.

use super::scene::{DISK, REFUSED, Scene, UNAVAILABLE, component, said};
use causeway_tests::artifact::{Artifact, Signature};
use causeway_tests::mutating::Answer;
use causeway_tests::{SmallDisk, bulk};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

type Damage = fn(&Scene, &Path);

const DAMAGES: [(&str, Damage); 9] = [
    ("a flipped bit", |_, file| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    }),
    ("other bytes of the same length", |_, file| {
        let length = fs::metadata(file).unwrap().len();
        fs::write(file, vec![0; usize::try_from(length).unwrap()]).unwrap();
    }),
    ("an end that is missing", |_, file| {
        let length = fs::metadata(file).unwrap().len();
        File::options().write(true).open(file).unwrap().set_len(length - 1).unwrap();
    }),
    ("nothing in it", |_, file| fs::write(file, "").unwrap()),
    ("a byte too many", |_, file| {
        let length = fs::metadata(file).unwrap().len();
        File::options().write(true).open(file).unwrap().write_all_at(b"!", length).unwrap();
    }),
    ("a link to a good one", |scene, file| {
        fs::rename(file, scene.path("elsewhere")).unwrap();
        symlink(scene.path("elsewhere"), file).unwrap();
    }),
    ("a folder", |_, file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
    ("a pipe", |_, file| {
        fs::remove_file(file).unwrap();
        let mode = rustix::fs::Mode::from_bits_truncate(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }),
    ("nothing there", |_, file| fs::remove_file(file).unwrap()),
];

fn registry_is_away(scene: &Scene) {
    scene.registry.mutate(|_, answer| *answer = Answer::new(503, "away"));
}

fn registry_is_back(scene: &Scene) {
    scene.registry.mutate(|_, _| {});
}

/// The blobs of an artifact that was pulled, by what they are.
fn blobs(scene: &Scene) -> [(&'static str, PathBuf); 4] {
    let signature = Signature::of(&scene.artifact.digest(), &scene.repository(), &scene.key);
    // A signature is not made twice, so its manifest is found by what it says.
    let payload = causeway_tests::artifact::digest(&signature.payload);
    let folder = scene.path("data/artifacts/blobs/sha256");
    let signature = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains("simplesigning") && text.contains(&payload)
    });
    [
        ("the component", scene.cached(&scene.artifact.layer_digest())),
        ("the manifest", scene.cached(&scene.artifact.digest())),
        ("the payload of the signature", scene.cached(&payload)),
        ("the manifest of the signature", signature.expect("the signature is kept")),
    ]
}

/// The command fails with one line.
fn refused(scene: &Scene, what: &str) {
    for verb in ["verify", "pull"] {
        let output = scene.plugin(verb);
        let (code, said) = (output.status.code(), said(&output));
        assert!([UNAVAILABLE, REFUSED, DISK].map(Some).contains(&code), "{what}: {verb} ends with {code:?}: {said}");
        assert!(said.lines().count() == 1 && said.starts_with("causeway: "), "{what}: {said}");
    }
}

fn accepted(scene: &Scene, what: &str) {
    let output = scene.plugin("pull");
    assert!(output.status.success(), "{what}: {}", said(&output));
}

#[test]
fn a_damaged_blob_is_never_used_and_is_fetched_again() {
    for (name, damage) in DAMAGES {
        let scene = Scene::new();
        accepted(&scene, "at first");
        for (what, file) in blobs(&scene) {
            let what = format!("{what} is {name}");
            let good = fs::read(&file).unwrap();
            registry_is_away(&scene);
            accepted(&scene, "without its registry");
            damage(&scene, &file);
            refused(&scene, &what);
            registry_is_back(&scene);
            if file.is_dir() {
                // Whoever put it there may need what is in it: it is named, and left to people.
                assert!(said(&scene.plugin("pull")).contains(file.to_str().unwrap()), "{what}");
                fs::remove_dir(&file).unwrap();
            }
            accepted(&scene, &what);
            assert!(!file.is_symlink() && fs::read(&file).unwrap() == good, "{what}: it is not whole again");
        }
    }
}

#[test]
fn a_disk_that_is_full_while_pulling_is_said_in_one_line_and_nothing_is_left() {
    let mut scene = Scene::new();
    let large = bulk::beside(component(), 1_000, 700);
    scene.publish(Artifact::component(&large, "1.0.0"));
    let Some(disk) = SmallDisk::mount(&scene.path("data"), 8) else { return };
    disk.fill();
    // Room for the signature and the manifest, and for a part of the component.
    File::options().write(true).open(scene.path("data/filler")).unwrap().set_len(5 << 20).unwrap();
    let refused = scene.plugin("pull");
    let line = said(&refused);
    assert_eq!(refused.status.code(), Some(DISK), "{line}");
    assert!(line.lines().count() == 1 && line.contains("No space left") && line.contains("data/artifacts"), "{line}");
    scene.assert_nothing_bad_is_cached("a full disk");
    disk.free();
    let pulled = scene.plugin("pull");
    assert!(pulled.status.success(), "{}", said(&pulled));
}
