//! Recordings as the gateway makes them: from the tap of a plugin to the file.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use causeway_host::{Batch, Failure, Input as Told, Level, Limit, Log, LostLines, Qos, Records, Sender, State, Trap};
use tempfile::TempDir;

use super::*;
use crate::config::Size;

struct Quiet;

impl Log for Quiet {
    fn write(&mut self, _: Level, _: &str) {}
    fn lost(&mut self, _: LostLines) {}
}

impl State for Quiet {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        Some(format!("{name} of {message}").into_bytes())
    }
}

impl Records for Quiet {
    fn get(&mut self, _: u32, collection: &str, _: &[&str]) -> Result<Option<String>, causeway_host::ReadError> {
        Err(causeway_host::ReadError::Denied(collection.to_owned()))
    }
}

pub(super) fn imports() -> causeway_host::Imports {
    causeway_host::Imports { log: Box::new(Quiet), state: Box::new(Quiet), records: Box::new(Quiet) }
}

pub(super) fn recordings(home: &TempDir, config: RecordingsConfig) -> Recordings {
    Recordings::new(home.path(), config, Clock::new(0), RecordingMetrics::default())
}

/// One call about messages of these topics, all answered alike.
pub(super) fn call(tap: &Tap, topics: &[&str], answer: Result<causeway_host::Outcome, Trap>) {
    let senders = [Sender { id: "d1", attributes: &[("vin", "V1")] }];
    let told = |topic: &&'static str| Told {
        topic,
        variables: &[],
        sender: 0,
        payload: b"payload",
        qos: Qos::AtLeastOnce,
        retain: false,
        received_ms: 5,
        content_type: None,
        user_properties: &[],
    };
    let topics: Vec<&'static str> = topics.iter().map(|topic| &*topic.to_string().leak()).collect();
    let inputs: Vec<_> = topics.iter().map(told).collect();
    let keys = vec!["d1"; inputs.len()];
    let batch = Batch { senders: &senders, inputs: &inputs };
    match answer {
        Ok(outcome) => tap.end(&batch, &keys, Ok(&vec![outcome; inputs.len()])),
        Err(trap) => tap.end(&batch, &keys, Err(&trap)),
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn trap() -> Trap {
    Trap { limit: Limit::None, reason: "unreachable".to_owned() }
}

#[test]
fn a_recording_has_what_was_asked_answered_and_returned_while_it_ran() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let tap = recordings.tap(header());
    let mut imports = tap.imports(imports());
    tap.begin();
    call(&tap, &["before"], Ok(Ok(Vec::new())));
    recordings.start("alarm", None, None).unwrap();
    tap.begin();
    assert_eq!(imports.state.get(1, "level").unwrap(), b"level of 1");
    assert_eq!(imports.state.get(1, "level").unwrap(), b"level of 1");
    assert!(imports.records.get(0, "c", &["k"]).is_err());
    call(&tap, &["a", "b"], Ok(Err(Failure::Malformed("why".to_owned()))));
    tap.begin();
    call(&tap, &["c", "d"], Err(trap()));
    tap.begin();
    call(&tap, &["c"], Err(trap()));
    let status = recordings.stop("alarm").unwrap();
    tap.begin();
    call(&tap, &["after"], Ok(Ok(Vec::new())));

    let recording = Recording::open(&status.file).unwrap();
    let topics: Vec<_> = recording.inputs.iter().map(|input| input.topic.as_str()).collect();
    assert_eq!(topics, ["a", "b", "c"]);
    let [a, b, c] = &recording.inputs[..] else { panic!("three inputs") };
    let denied = Read::Denied("c".to_owned());
    assert_eq!(a.answers, [Answer::Record { collection: "c".to_owned(), key: vec!["k".to_owned()], read: denied }]);
    let value = Some(Blob(b"level of 1".to_vec()));
    assert_eq!(b.answers, [Answer::State { name: "level".to_owned(), value }]);
    assert_eq!(b.attributes, [("vin".to_owned(), "V1".to_owned())]);
    assert_eq!(b.outcome, Outcome::Malformed("why".to_owned()));
    assert!(matches!(&c.outcome, Outcome::Trap { limit, .. } if limit == "trap"));
    assert_eq!((recording.end.why, recording.end.inputs), (Why::Stopped, 3));
}

#[test]
fn payloads_are_for_the_gateways_user_alone() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let _tap = recordings.tap(header());
    let status = recordings.start("alarm", None, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&status.file), mode(&home.path().join(FOLDER))), (0o600, 0o700));
}

#[test]
fn a_recording_ends_by_itself_with_its_last_input_or_byte() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let tap = recordings.tap(header());
    for (messages, bytes, why) in [(Some(3), None, Why::Messages), (None, Some(64 << 10), Why::Bytes)] {
        let file = recordings.start("alarm", messages, bytes).unwrap().file;
        for _ in 0..2000 {
            tap.begin();
            call(&tap, &["a"], Ok(Ok(Vec::new())));
        }
        until("the end", || recordings.list().unwrap().iter().all(|recording| !recording.running));
        let recording = Recording::open(&file).unwrap();
        assert_eq!(recording.end.why, why);
        assert!(fs::metadata(&file).unwrap().len() <= bytes.unwrap_or(u64::MAX));
        assert!(messages.is_none_or(|messages| recording.end.inputs == messages));
    }
}

#[test]
fn what_cannot_be_recorded_is_said_so() {
    let home = TempDir::new().unwrap();
    let config = RecordingsConfig { keep: 1, max_bytes: Size::kib(64), ..RecordingsConfig::default() };
    let recordings = recordings(&home, config);
    let _tap = recordings.tap(header());
    let check = |answer: Result<RecordingStatus, RecordError>, part: &str| {
        let text = answer.unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    check(recordings.start("other", None, None), "no binding `other`");
    check(recordings.stop("alarm"), "is not being recorded");
    check(recordings.start("alarm", None, Some(1 << 20)), "recordings.max_messages");
    let running = recordings.start("alarm", None, None).unwrap();
    check(recordings.start("alarm", None, None), "is being recorded already");
    assert!(matches!(recordings.remove(&running.name), Err(RecordError::Running(_))));
    recordings.stop("alarm").unwrap();
    check(recordings.start("alarm", None, None), "recordings.keep");
    assert!(matches!(recordings.remove("../store"), Err(RecordError::File(_))));
    recordings.remove(&running.name).unwrap();
    recordings.start("alarm", None, None).unwrap();
}

#[test]
fn another_plugin_under_the_same_binding_ends_its_recording() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let _tap = recordings.tap(header());
    let file = recordings.start("alarm", None, None).unwrap().file;
    let _other = recordings.tap(Header { digest: "sha256:01".to_owned(), ..header() });
    recordings.close();
    assert_eq!(Recording::open(&file).unwrap().end.why, Why::Plugin);
}

#[test]
fn the_end_of_the_gateway_is_the_end_of_its_recordings() {
    let home = TempDir::new().unwrap();
    let recordings = recordings(&home, RecordingsConfig::default());
    let _tap = recordings.tap(header());
    let file = recordings.start("alarm", None, None).unwrap().file;
    recordings.close();
    assert_eq!(Recording::open(&file).unwrap().end.why, Why::Shutdown);
}
