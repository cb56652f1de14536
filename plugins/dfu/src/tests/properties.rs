//! What holds for all bytes and all updates.

use causeway_plugin::dfu::Step;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::device::{LANGUAGES, Says, Told, attribute, read, write};
use super::*;

const ATTRIBUTES: [&str; 5] = ["op", "tagged", "embedded-update", "packed", ""];

/// Any bytes, and bytes that begin as a status does.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let begin = select(vec![
        bytes("a40045302e312e3001190200020103"),
        bytes("a46776657273696f6e45302e312e30"),
        bytes("8445302e312e30190200f6"),
        bytes("a16776657273696f6e65302e312e30"),
        br#"{"version":"0.1.0","#.to_vec(),
        br#"{"version":"0.1.0","mtu":64,"status":"#.to_vec(),
        Vec::new(),
    ]);
    (begin, vec(any::<u8>(), 0..64)).prop_map(|(begin, end)| [begin, end].concat())
}

/// A status in one language, with up to three bytes changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (select(LANGUAGES.to_vec()), says(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(
        |(language, says, changes)| {
            let mut payload = write(language, &says);
            for (at, byte) in changes {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            payload
        },
    )
}

fn says() -> impl Strategy<Value = Says> {
    let version = "[0-9a-z.+-]{0,16}";
    let progress = proptest::option::of((version, any::<u32>(), proptest::option::of("[a-z]{1,8}")));
    let patches = vec("[a-z]{1,8}", 0..3);
    (version, any::<Option<u32>>(), any::<Option<u32>>(), progress, patches).prop_map(
        |(version, mtu, correlation, progress, patches)| Says { version, mtu, correlation, progress, patches },
    )
}

fn check_bounds(update: &Update, payload: Vec<u8>, limit: u32) {
    let plugin: Dfu = Update::configure(r#"{"mtu":64,"max_mtu":128}"#).unwrap();
    let Ok(answer) = update.ask(&plugin, payload) else { return };
    if let Step::Write(block) = &answer.step {
        let mtu = answer.status.mtu.unwrap_or(64).min(128);
        assert!((1..=mtu).contains(&block.length), "{block:?}");
        assert!(block.offset + u64::from(block.length) <= u64::from(limit), "{block:?}");
    }
    // Base64, names and a version of 64 bytes included.
    assert!(answer.command.len() < 512, "{} bytes", answer.command.len());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_no_block_is_larger_than_the_device_takes(
        payload in prop_oneof![payloads(), damaged()],
        name in select(ATTRIBUTES.to_vec()),
    ) {
        check_bounds(&update().attribute("dfu-dialect", name), payload, 612);
    }

    #[test]
    fn what_a_device_says_is_what_is_understood(language in select(LANGUAGES.to_vec()), says in says()) {
        let update = Update::stay().attribute("dfu-dialect", attribute(language));
        let answer = ask(&update, write(language, &says)).unwrap();
        let status = answer.status;
        prop_assert_eq!((&status.version, status.mtu, &status.formats), (&says.version, says.mtu, &says.patches));
        let progress = status.progress.map(|progress| (progress.version, progress.offset as u32, progress.patch));
        prop_assert_eq!(progress, says.progress);
        let told = read(language, &answer.command);
        prop_assert_eq!((told.name.to_lowercase(), told.correlation), ("sync".to_owned(), says.correlation));
        prop_assert_eq!(told.version.unwrap(), says.version.into_bytes());
    }

    #[test]
    fn a_device_that_does_what_it_is_told_has_the_image(
        language in select(LANGUAGES.to_vec()),
        image in vec(any::<u8>(), 0..700),
        mtu in proptest::option::of(1_u32..300),
        patch in any::<bool>(),
    ) {
        let mut update = Update::to("0.1.1", if patch { b"" } else { &image });
        let mut says = Says { version: "0.1.0".to_owned(), mtu, correlation: Some(5), ..Says::default() };
        if patch {
            update = update.assignment(|assignment| assignment.size = 9999).patch("0.1.0", "zdiff", &image);
            says.patches = vec!["zdiff".to_owned()];
        }
        let update = update.attribute("dfu-dialect", attribute(language));
        let mut stored = Vec::new();
        let checksum = loop {
            let told = read(language, &ask(&update, write(language, &says)).unwrap().command);
            prop_assert_eq!((told.version.as_deref(), told.correlation), (Some(&b"0.1.1"[..]), Some(5)));
            let Told { offset: Some(offset), data: Some(data), patch, .. } = told else { break told.checksum };
            prop_assert_eq!(offset as usize, stored.len());
            prop_assert!(!data.is_empty() && data.len() <= mtu.unwrap_or(512) as usize);
            stored.extend_from_slice(&data);
            says.progress = Some(("0.1.1".to_owned(), stored.len() as u32, patch));
        };
        prop_assert_eq!((stored, checksum), (image, Some(vec![9; 32])));
    }

    #[test]
    fn cbor_that_is_accepted_is_cbor_that_ciborium_reads(payload in prop_oneof![payloads(), damaged()]) {
        if let Ok(tree) = tree::read(&payload, language::Notation::Cbor) {
            prop_assert_eq!(ciborium::from_reader::<ciborium::Value, _>(&payload[..]).ok(), Some(tree));
        }
    }
}
