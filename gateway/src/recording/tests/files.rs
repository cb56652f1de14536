//! The file: what is written is read back, and whatever else it is becomes a clear error.

use std::fs;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::recording::sink::Sink;
use crate::recording::writer::Writer;

const UNBOUNDED: Bounds = Bounds { messages: u64::MAX, bytes: u64::MAX };

/// The bytes of a recording with these inputs.
fn written(inputs: &[Input]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.cbor");
    let writer = Writer::create(&file, &header(), UNBOUNDED, Clock::new(0)).unwrap();
    let (sink, queue) = Sink::new(usize::MAX);
    for input in inputs {
        sink.offer(input.clone());
    }
    sink.end(Why::Stopped);
    assert_eq!(writer.run(&queue, &sink), Why::Stopped);
    fs::read(file).unwrap()
}

fn read(bytes: &[u8]) -> Result<Recording, ReadError> {
    Recording::read(bytes)
}

fn some() -> Vec<u8> {
    written(&[input("a"), input("b"), input("c")])
}

#[test]
fn a_file_that_is_something_else_is_foreign() {
    for bytes in [b"".as_slice(), b"{}", b"\x74causeway-rec", b"causeway-recording/1", &[0xff; 100], &[0; 100]] {
        assert!(matches!(read(bytes), Err(ReadError::Foreign)), "{bytes:?}");
    }
}

#[test]
fn a_later_version_is_named_as_such() {
    assert!(matches!(read(b"\x74causeway-recording/2and what it likes"), Err(ReadError::Version)));
}

#[test]
fn a_recording_that_ends_anywhere_before_its_end_is_torn() {
    let whole = some();
    for length in MAGIC_BYTES..whole.len() {
        let answer = read(&whole[..length]);
        assert!(matches!(answer, Err(ReadError::Torn { .. })), "{length} of {}: {answer:?}", whole.len());
    }
}

#[test]
fn any_flipped_bit_and_anything_behind_the_end_is_found() {
    let whole = some();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            // The time of the end is not a matter of the inputs, and the only thing without a checksum.
            if let Ok(recording) = read(&flipped) {
                assert_eq!(recording.inputs, read(&whole).unwrap().inputs, "bit {bit} of byte {at}");
                assert!(at > whole.len() - 64, "bit {bit} of byte {at}");
            }
        }
    }
    let longer = [whole, vec![0]].concat();
    assert!(matches!(read(&longer), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_length_that_no_file_has_is_an_error_and_not_an_allocation() {
    let bytes =
        [b"\x74causeway-recording/1".as_slice(), &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat();
    assert!(read(&bytes).is_err());
}

const MAGIC_BYTES: usize = 21;

fn text() -> impl Strategy<Value = String> {
    ".{0,8}"
}

fn blob() -> impl Strategy<Value = Blob> {
    vec(any::<u8>(), 0..5000).prop_map(Blob)
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..3)
}

fn answer() -> impl Strategy<Value = Answer> {
    let read = prop_oneof![
        text().prop_map(Read::Document),
        Just(Read::Nothing),
        text().prop_map(Read::Denied),
        text().prop_map(Read::Unavailable),
    ];
    prop_oneof![
        (text(), option::of(blob())).prop_map(|(name, value)| Answer::State { name, value }),
        (text(), vec(text(), 0..3), read).prop_map(|(collection, key, read)| Answer::Record { collection, key, read }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let effect = prop_oneof![
        (text(), text()).prop_map(|(collection, document)| Effect::Put { collection, document }),
        (text(), blob(), 0..3_u8, any::<bool>()).prop_map(|(topic, payload, qos, retain)| Effect::Publish {
            topic,
            payload,
            qos,
            retain
        }),
        (text(), option::of(blob())).prop_map(|(name, value)| Effect::SetState { name, value }),
    ];
    prop_oneof![
        vec(effect, 0..3).prop_map(Outcome::Effects),
        text().prop_map(Outcome::Malformed),
        text().prop_map(Outcome::Rejected),
        text().prop_map(Outcome::Unavailable),
        (text(), text()).prop_map(|(limit, reason)| Outcome::Trap { limit, reason }),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let told = (text(), pairs(), text(), pairs(), blob(), 0..3_u8);
    let more = (any::<bool>(), any::<u64>(), option::of(text()), pairs(), text());
    (told, more, vec(answer(), 0..3), outcome()).prop_map(|(told, more, answers, outcome)| {
        let (topic, variables, sender, attributes, payload, qos) = told;
        let (retain, received_ms, content_type, user_properties, key) = more;
        Input {
            topic,
            variables,
            sender,
            attributes,
            payload,
            qos,
            retain,
            received_ms,
            content_type,
            user_properties,
            key,
            answers,
            outcome,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(inputs in vec(any_input(), 0..4)) {
        let recording = read(&written(&inputs)).unwrap();
        prop_assert_eq!(recording.header, header());
        prop_assert_eq!(recording.end.inputs, inputs.len() as u64);
        prop_assert_eq!(recording.inputs, inputs);
    }

    #[test]
    fn bytes_behind_a_good_beginning_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&[b"\x74causeway-recording/1".as_slice(), &bytes].concat());
    }

    #[test]
    fn a_recording_with_bytes_replaced_is_never_taken_for_another(
        at in any::<prop::sample::Index>(), with in vec(any::<u8>(), 1..9),
    ) {
        let mut bytes = some();
        let at = at.index(bytes.len());
        let end = (at + with.len()).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(recording) = read(&bytes) {
            prop_assert_eq!(recording.inputs, read(&some()).unwrap().inputs);
        }
    }
}
