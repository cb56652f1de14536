//! What a folder holds, and what is made of one that somebody changed.

use std::os::unix::fs::symlink;

use super::*;

fn layout() -> (tempfile::TempDir, Layout) {
    let home = tempfile::tempdir().unwrap();
    let layout = Layout::create(&home.path().join("layout")).unwrap();
    (home, layout)
}

fn refused<T: std::fmt::Debug>(result: Result<T, LayoutError>, words: &str) {
    let told = result.unwrap_err().to_string();
    assert!(told.contains(words) && !told.contains('\n'), "{told}");
}

#[test]
fn what_is_kept_is_found_by_its_digest() {
    let (_home, layout) = layout();
    let digest = layout.keep(b"one").unwrap();
    assert_eq!(layout.keep(b"one").unwrap(), digest);
    assert_eq!(layout.blob(&digest, 3).unwrap(), b"one");
    refused(layout.blob(&digest, 2), "2 at most");
    refused(layout.blob(&Digest::of(b"two"), 3), "has no blob");
    assert_eq!(fs::read_dir(layout.blobs()).unwrap().count(), 1, "nothing is left beside it");
    let mut entry = Entry { manifest: Descriptor::of(IMAGE_INDEX, b"one") };
    entry.manifest.annotations.insert(REF_NAME.to_owned(), "r.lan/a:1".to_owned());
    layout.write_index(std::slice::from_ref(&entry)).unwrap();
    let again = Layout::create(layout.path()).unwrap();
    assert_eq!(again.index().unwrap(), [entry]);
    assert_eq!(again.index().unwrap()[0].name(), Some("r.lan/a:1"));
}

#[test]
fn what_is_no_layout_is_said_to_be_none() {
    let (_home, layout) = layout();
    let none = tempfile::tempdir().unwrap();
    refused(Layout::open(none.path()), "no file `oci-layout`");
    let write = |name: &str, text: &str| fs::write(layout.path().join(name), text).unwrap();
    write(
        INDEX,
        "{\"schemaVersion\": 2, \"manifests\": [{\"mediaType\": \"a\", \"digest\": \"../../x\", \"size\": 1}]}",
    );
    refused(layout.index(), "no digest");
    write(INDEX, "[]");
    refused(layout.index(), "index.json");
    fs::remove_file(layout.path().join(INDEX)).unwrap();
    refused(layout.index(), "no `index.json`");
    write(MARKER, "{\"imageLayoutVersion\": \"2.0.0\"}");
    refused(Layout::open(layout.path()), "not 1.0.0");
    write(MARKER, "gzip");
    refused(Layout::open(layout.path()), "expected value");
}

#[test]
fn a_blob_that_was_changed_is_damaged_and_a_link_is_no_file() {
    let (home, layout) = layout();
    let digest = layout.keep(b"one").unwrap();
    let path = layout.blob_path(&digest);
    fs::write(&path, b"two").unwrap();
    refused(layout.blob(&digest, 9), "is damaged");
    fs::write(&path, b"").unwrap();
    refused(layout.blob(&digest, 9), "is damaged");
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, b"one").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    refused(layout.blob(&digest, 9), "no regular file");
    assert!(!layout.has_blob(&digest));
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    refused(layout.blob(&digest, 9), "no regular file");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(layout.blob(&digest, 9), "no regular file");
}

#[test]
fn a_draft_becomes_a_blob_only_when_it_is_whole() {
    let (_home, layout) = layout();
    let count = || fs::read_dir(layout.blobs()).unwrap().count();
    let mut draft = layout.draft().unwrap();
    draft.write(b"on").unwrap();
    assert_eq!(count(), 1);
    refused(draft.finish(&Digest::of(b"one")), "is damaged");
    assert_eq!(count(), 0);
    let mut draft = layout.draft().unwrap();
    draft.write(b"o").unwrap();
    layout.remove_abandoned().unwrap();
    draft.write(b"ne").unwrap();
    draft.finish(&Digest::of(b"one")).unwrap();
    assert_eq!(layout.blob(&Digest::of(b"one"), 3).unwrap(), b"one");

    fs::write(layout.blobs().join(".draft-1.1"), b"of a process that is no more").unwrap();
    layout.remove_abandoned().unwrap();
    assert_eq!(count(), 1);
}

#[test]
fn a_draft_that_another_process_writes_is_left_to_it() {
    let (_home, layout) = layout();
    let draft = layout.draft().unwrap();
    let name = fs::read_dir(layout.blobs()).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let (process, number) = name.rsplit_once('.').unwrap();
    let number: u64 = number.parse().unwrap();
    // Another container's, whose processes have the same numbers; other tests take numbers too.
    let names = (number + 1..number + 200).map(|number| layout.blobs().join(format!("{process}.{number}")));
    let theirs: Vec<_> = names.filter_map(|name| Some((File::create_new(&name).ok()?, name))).collect();
    for (file, _) in &theirs {
        flock(file, FlockOperation::NonBlockingLockExclusive).unwrap();
    }
    layout.keep(b"ours").unwrap();
    assert!(theirs.iter().all(|(_, name)| name.exists()));
    drop(draft);
}

#[test]
fn of_those_who_publish_first_in_a_new_layout_none_is_lost() {
    const PUBLISHERS: usize = 6;
    for _ in 0..20 {
        let home = tempfile::tempdir().unwrap();
        let (path, together) = (home.path().join("layout"), std::sync::Barrier::new(PUBLISHERS));
        let publish = |name: usize| {
            together.wait();
            let layout = Layout::create(&path).unwrap();
            let _lock = layout.lock().unwrap();
            let mut index = layout.index().unwrap();
            let mut entry = Entry { manifest: Descriptor::of(IMAGE_INDEX, b"one") };
            entry.manifest.annotations.insert(REF_NAME.to_owned(), name.to_string());
            index.push(entry);
            layout.write_index(&index).unwrap();
        };
        std::thread::scope(|scope| {
            (0..PUBLISHERS).for_each(|name| {
                drop(scope.spawn({
                    let publish = &publish;
                    move || publish(name)
                }))
            })
        });
        assert_eq!(Layout::open(&path).unwrap().index().unwrap().len(), PUBLISHERS);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::prelude::any::<Vec<u8>>(), text in "[a-zA-Z0-9:{}\\[\\]\", ]{0,80}") {
        let (_home, layout) = layout();
        for bytes in [bytes, format!("{{\"schemaVersion\":2,\"manifests\":[{text}]}}").into_bytes()] {
            fs::write(layout.path().join(INDEX), &bytes).unwrap();
            let _ = layout.index();
            fs::write(layout.path().join(MARKER), &bytes).unwrap();
            let _ = Layout::open(layout.path());
        }
    }
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_folder_above() {
    use std::os::unix::fs::{MetadataExt, chown};

    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root makes what is not its own");
    }
    for is_there in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("firmware");
        if is_there {
            fs::create_dir(&path).unwrap();
            chown(&path, Some(4321), Some(4321)).unwrap();
        } else {
            chown(home.path(), Some(4321), Some(4321)).unwrap();
        }
        let layout = Layout::create(&path).unwrap();
        let blob = layout.blob_path(&layout.keep(b"image").unwrap());
        drop(layout.lock().unwrap());
        for made in [&path, &path.join("blobs"), &layout.blobs(), &path.join(INDEX), &path.join(LOCK), &blob] {
            let made_by = fs::metadata(made).unwrap();
            assert_eq!((made_by.uid(), made_by.gid()), (4321, 4321), "{}", made.display());
        }
    }
}
