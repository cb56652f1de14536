//! New versions against recordings of their binding that were made by hand.

use std::sync::Arc;
use std::time::Duration;

use causeway_host::{Binary, Component, Engine, EngineConfig, Limits, Setup};
use tempfile::TempDir;

use super::plays::{ALONE, REMEMBERS, five};
use super::*;
use crate::config::Size;
use crate::guest;

/// Traps when the payload of a call's first message begins with `!`.
const BEARS_NO_BANG: &str = "
    (if (i32.eq (i32.load8_u (i32.load offset=20 (local.get 2))) (i32.const 33)) (then (unreachable)))
    (call $ok (local.get 3))";

struct Ground {
    home: TempDir,
    recordings: Recordings,
    engine: Arc<Engine>,
}

impl Ground {
    fn new(config: RecordingsConfig) -> Self {
        let home = TempDir::new().unwrap();
        let recordings = Recordings::new(home.path(), config, Clock::new(0), RecordingMetrics::default());
        Self { home, recordings, engine: Arc::new(Engine::start(EngineConfig::default()).unwrap()) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(FOLDER).join(format!("{name}.cbor"))
    }

    fn write(&self, name: &str, inputs: Vec<Input>) {
        fs::create_dir_all(self.home.path().join(FOLDER)).unwrap();
        let bounds = Bounds { messages: inputs.len() as u64, bytes: u64::MAX };
        let writer = Writer::create(&self.file(name), &header(), bounds, Clock::new(0)).unwrap();
        let (sink, queue) = Sink::new(usize::MAX);
        inputs.into_iter().for_each(|input| sink.offer(input));
        assert_eq!(writer.run(&queue, &sink), Why::Messages);
    }

    fn trial(&self, body: &str) -> Result<Trial, TrialError> {
        self.trial_as(body, "alarm")
    }

    fn trial_as(&self, body: &str, binding: &str) -> Result<Trial, TrialError> {
        let component = Component::load(&self.engine, &Binary::of(guest::component(body)), None, |_| {}).unwrap();
        let setup = Setup { gateway: "edge-1".to_owned(), binding: binding.to_owned(), config: "{}".to_owned() };
        let role = Role { setup, limits: Limits::default(), batch_inputs: 2, batch_bytes: Size::mib(1).in_memory() };
        self.recordings.trial(&self.engine, &component, role)
    }
}

fn passed(recording: &str, inputs: usize, cut: Option<Cut>) -> Trial {
    Trial::Passed { recording: recording.to_owned(), inputs, cut }
}

fn says(payload: &[u8]) -> Input {
    Input { payload: Blob(payload.to_vec()), ..input("t") }
}

#[test]
fn a_version_that_answers_about_every_input_of_the_newest_recording_passes() {
    let ground = Ground::new(RecordingsConfig::default());
    assert_eq!(ground.trial(ALONE).unwrap(), Trial::Nothing);
    ground.write("alarm-9", vec![says(b"!")]);
    ground.write("alarm-10", five());
    ground.write("alarm-b-11", vec![says(b"!")]);
    assert_eq!(ground.trial(BEARS_NO_BANG).unwrap(), passed("alarm-10", 5, None));
    assert_eq!(ground.trial(ALONE).unwrap(), passed("alarm-10", 5, None));
    assert_eq!(ground.trial_as(ALONE, "b").unwrap(), Trial::Nothing);
}

#[test]
fn a_version_that_traps_is_refused_with_the_number_of_the_input() {
    let ground = Ground::new(RecordingsConfig::default());
    ground.write("alarm-1", five());
    let refused = ground.trial(REMEMBERS).unwrap_err().to_string();
    assert!(refused.starts_with("it traps at input 4 of recording `alarm-1`, topic \"4\": trap: "), "{refused}");
    let inputs = vec![says(b"a"), says(b"b"), says(b"!"), says(b"c")];
    ground.write("alarm-2", inputs);
    let refused = ground.trial(BEARS_NO_BANG).unwrap_err().to_string();
    assert!(refused.starts_with("it traps at input 2 of recording `alarm-2`"), "{refused}");
}

#[test]
fn an_input_that_trapped_when_it_was_recorded_is_not_held_against_a_version() {
    let ground = Ground::new(RecordingsConfig::default());
    let trapped = Outcome::Trap { limit: "memory".to_owned(), reason: "so".to_owned() };
    ground.write("alarm-1", vec![says(b"a"), says(b"b"), Input { outcome: trapped, ..says(b"!") }]);
    assert_eq!(ground.trial(BEARS_NO_BANG).unwrap(), passed("alarm-1", 3, None));
}

#[test]
fn a_recording_that_is_not_whole_gives_way_to_the_one_before_it() {
    let ground = Ground::new(RecordingsConfig::default());
    ground.write("alarm-1", five());
    ground.write("alarm-2", five());
    let bytes = fs::read(ground.file("alarm-2")).unwrap();
    fs::write(ground.file("alarm-2"), &bytes[..bytes.len() - 20]).unwrap();
    assert_eq!(ground.trial(ALONE).unwrap(), passed("alarm-1", 5, None));
    fs::write(ground.file("alarm-1"), "nothing").unwrap();
    assert_eq!(ground.trial(ALONE).unwrap(), Trial::Nothing);
}

#[test]
fn the_recording_that_is_being_written_is_left_alone() {
    let ground = Ground::new(RecordingsConfig::default());
    ground.write("alarm-1", five());
    let _tap = ground.recordings.tap(header());
    ground.recordings.start("alarm", None, None).unwrap();
    assert_eq!(ground.trial(ALONE).unwrap(), passed("alarm-1", 5, None));
    ground.recordings.close();
}

#[test]
fn a_trial_is_bounded_in_inputs_and_time() {
    let ground = Ground::new(RecordingsConfig { trial_inputs: 3, ..RecordingsConfig::default() });
    ground.write("alarm-1", five());
    assert_eq!(ground.trial(ALONE).unwrap(), passed("alarm-1", 3, Some(Cut::Inputs)));
    let ground = Ground::new(RecordingsConfig { trial_time: Duration::ZERO, ..RecordingsConfig::default() });
    ground.write("alarm-1", five());
    assert_eq!(ground.trial(ALONE).unwrap(), passed("alarm-1", 0, Some(Cut::Time)));
}

#[test]
fn a_version_runs_with_the_bindings_present_configuration() {
    let ground = Ground::new(RecordingsConfig::default());
    ground.write("alarm-1", five());
    let refusing = guest::module(ALONE).replace("(i32.const 1024) ;; configured", "(call $refuse)");
    let component = Component::load(&ground.engine, &Binary::of(guest::encode(&refusing)), None, |_| {}).unwrap();
    let setup = Setup { gateway: "edge-1".to_owned(), binding: "alarm".to_owned(), config: "{}".to_owned() };
    let role = Role { setup, limits: Limits::default(), batch_inputs: 2, batch_bytes: 1 };
    let refused = ground.recordings.trial(&ground.engine, &component, role).unwrap_err();
    assert!(matches!(refused, TrialError::Start(_)), "{refused}");
}
