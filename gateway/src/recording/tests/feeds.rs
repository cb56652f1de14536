//! What a shadow gets of a binding's calls, and what it never costs the binding.

use tempfile::TempDir;

use super::taps::{call, imports, recordings, trap};
use super::*;

const BOUNDS: FeedBounds = FeedBounds { inputs: 8, bytes: 1 << 20 };

fn topics(feeding: &Feeding) -> Vec<String> {
    std::iter::from_fn(|| feeding.try_next()).map(|waited| waited.fed().input.topic.clone()).collect()
}

#[test]
fn a_feed_has_each_input_with_its_answers_and_the_version_that_answered() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let tap = recordings.tap(header());
    let mut imports = tap.imports(imports());
    let feeding = recordings.feed("alarm", BOUNDS);
    tap.begin();
    assert_eq!(imports.state.get(0, "level").unwrap(), b"level of 0");
    call(&tap, &["a", "b"], Ok(Ok(Vec::new())));
    tap.begin();
    call(&tap, &["c"], Err(trap()));
    assert_eq!(feeding.handle().waiting(), 3);
    let first = feeding.next().unwrap();
    let Fed { input, version } = first.fed();
    assert_eq!((input.topic.as_str(), input.answers.len(), version.digest.as_str()), ("a", 1, "sha256:00"));
    let newer = recordings.tap(Header { digest: "sha256:01".to_owned(), ..header() });
    newer.begin();
    call(&newer, &["d"], Ok(Ok(Vec::new())));
    assert_eq!(topics(&feeding)[..2], ["b", "c"]);
    newer.begin();
    call(&newer, &["e"], Ok(Ok(Vec::new())));
    let last = feeding.next().unwrap();
    assert!(last.fed().version.number > version.number && last.fed().version.digest == "sha256:01");
}

#[test]
fn an_input_that_finds_no_room_is_dropped_and_counted_and_the_next_ones_are_not() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let tap = recordings.tap(header());
    let ask = |topic: &str| {
        tap.begin();
        call(&tap, &[topic], Ok(Ok(Vec::new())));
    };
    for bounds in [FeedBounds { inputs: 2, ..BOUNDS }, FeedBounds { bytes: 2 * 600, ..BOUNDS }] {
        let feeding = recordings.feed("alarm", bounds);
        ["a", "b", "c", "d", "e"].iter().for_each(|topic| ask(topic));
        let kept = topics(&feeding);
        assert_eq!((&kept[0], kept.len() as u64 + feeding.handle().dropped()), (&"a".to_owned(), 5), "{bounds:?}");
        assert!(feeding.handle().dropped() > 0 && feeding.handle().waiting() == 0, "{bounds:?}");
        ask("f");
        assert_eq!(topics(&feeding), ["f"], "{bounds:?}");
    }
}

#[test]
fn a_feed_and_a_recording_of_one_binding_do_not_disturb_each_other() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let tap = recordings.tap(header());
    let feeding = recordings.feed("alarm", FeedBounds { inputs: 1, ..BOUNDS });
    recordings.start("alarm", None, None).unwrap();
    for topic in ["a", "b"] {
        tap.begin();
        call(&tap, &[topic], Ok(Ok(Vec::new())));
    }
    let file = recordings.stop("alarm").unwrap().file;
    tap.begin();
    call(&tap, &["c"], Ok(Ok(Vec::new())));
    assert_eq!(Recording::open(&file).unwrap().inputs.len(), 2);
    assert_eq!((topics(&feeding), feeding.handle().dropped()), (vec!["a".to_owned()], 2));
}

#[test]
fn a_feed_that_ended_hands_out_what_it_has_and_leaves_its_successor_alone() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let old = recordings.feed("alarm", BOUNDS);
    assert!(matches!(recordings.start("alarm", None, None), Err(RecordError::Binding(_))), "it has no plugin yet");
    let tap = recordings.tap(header());
    let ask = |topic: &str| {
        tap.begin();
        call(&tap, &[topic], Ok(Ok(Vec::new())));
    };
    ask("a");
    let new = recordings.feed("alarm", BOUNDS);
    ask("b");
    old.handle().end();
    assert_eq!(old.next().map(|waited| waited.fed().input.topic.clone()), Some("a".to_owned()));
    assert!(old.next().is_none());
    drop(old);
    ask("c");
    assert_eq!(topics(&new), ["b", "c"]);
    new.handle().end();
    ask("d");
    assert!(new.next().is_none());
}
