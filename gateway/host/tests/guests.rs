//! Guests that misbehave, and one that does not: what an instance costs the gateway at most.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set the scene fails")]

#[path = "support/guest.rs"]
mod guest;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use causeway_host::{
    Batch, CompileCache, Component, Effect, Engine, EngineConfig, Failure, Imports, Input, Level, Limit, Limits,
    LoadError, Log, LostLines, Outcome, Qos, ReadError, Records, Sender, Setup, StartError, State, StateChange,
    TelemetryInstance, TelemetryPlugin, Trap,
};

/// A `route-batch` that answers each message with no effects.
const TAKES_ALL: &str = "(call $ok (local.get 3))";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<(Vec<String>, LostLines)>>);

impl Log for Lines {
    fn write(&mut self, _: Level, text: &str) {
        self.0.lock().unwrap().0.push(text.to_owned());
    }

    fn lost(&mut self, lost: LostLines) {
        self.0.lock().unwrap().1 = lost;
    }
}

/// Remembers one value, and has one collection.
struct Memory;

impl State for Memory {
    fn get(&mut self, message: u32, name: &str) -> Option<Vec<u8>> {
        (name == "no").then(|| format!("state of {message}").into_bytes())
    }
}

impl Records for Memory {
    fn get(&mut self, message: u32, collection: &str, key: &[&str]) -> Result<Option<String>, ReadError> {
        match (collection, key) {
            ("no", ["no"]) => Ok(Some(format!("record of {message}"))),
            ("no", _) => Ok(None),
            _ => Err(ReadError::Denied(format!("no collection {collection:?}"))),
        }
    }
}

fn imports(log: &Lines) -> Imports {
    Imports { log: Box::new(log.clone()), state: Box::new(Memory), records: Box::new(Memory) }
}

fn engine() -> Arc<Engine> {
    let config = EngineConfig { tick: Duration::from_millis(1), ..EngineConfig::default() };
    Arc::new(Engine::start(config).unwrap())
}

fn setup() -> Setup {
    Setup { gateway: "g".to_owned(), binding: "b".to_owned(), config: "{}".to_owned() }
}

fn limits() -> Limits {
    Limits { deadline: Duration::from_millis(50), ..Limits::default() }
}

fn load(component: &[u8]) -> Result<TelemetryPlugin, LoadError> {
    let engine = engine();
    let component = Component::load(&engine, component, None, |error| panic!("{error}"))?;
    TelemetryPlugin::new(&engine, &component)
}

fn start(body: &str, log: &Lines) -> Result<TelemetryInstance, StartError> {
    load(&guest::component(body)).unwrap().start(&setup(), &limits(), imports(log))
}

fn route(instance: TelemetryInstance, payloads: &[&[u8]]) -> Result<(TelemetryInstance, Vec<Outcome>), Trap> {
    let one = |payload| Input {
        topic: "dt/cvra/d1/cardata",
        variables: &[("device", "d1")],
        sender: 0,
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        received_ms: 1_600_000_000_000,
        content_type: None,
        user_properties: &[],
    };
    let inputs: Vec<_> = payloads.iter().copied().map(one).collect();
    let senders = [Sender { id: "d1", attributes: &[("vin", "VIN1")] }];
    instance.route_batch(Batch { senders: &senders, inputs: &inputs })
}

/// The limit that ends a call of a guest whose `route-batch` has this body.
fn check(body: &str, expected: Limit) {
    let trap = route(start(body, &Lines::default()).unwrap(), &[b"x"]).unwrap_err();
    assert_eq!(trap.limit, expected, "{trap}");
}

#[test]
fn a_good_guest_answers_each_message() {
    let instance = start(TAKES_ALL, &Lines::default()).unwrap();
    let (instance, outcomes) = route(instance, &[b"a", b"b", b"c"]).unwrap();
    assert_eq!(outcomes, vec![Ok(Vec::new()); 3]);
    assert_eq!(route(instance, &[]).unwrap().1, Vec::new());
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let started = Instant::now();
    check("(loop $forever (br $forever)) (unreachable)", Limit::Deadline);
    assert!(started.elapsed() < Duration::from_secs(20), "the deadline is 50 ms");
}

#[test]
fn memory_table_stack_and_panics_end_the_call_that_exceeds_them() {
    check("(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)", Limit::Memory);
    check("(loop $more (drop (table.grow (ref.null func) (i32.const 4096))) (br $more)) (unreachable)", Limit::Table);
    check("(call $deeper) (unreachable)", Limit::Stack);
    check("(unreachable)", Limit::None);
    check("(i32.load (i32.const -8))", Limit::None);
}

#[test]
fn answers_that_are_too_large_too_short_or_no_answers_are_traps() {
    // One outcome with 1,000 effects; a failure whose reason is 8 MiB; outcomes for nobody; a pointer to nowhere.
    check("(call $outcome (i32.const 0) (i32.const 69632) (i32.const 1000))", Limit::Effects);
    check(
        "(drop (memory.grow (i32.const 128))) (call $outcome (i32.const 1) (i32.const 0) (i32.const 8388608))",
        Limit::Output,
    );
    check("(call $ok (i32.const 2))", Limit::None);
    check("(i32.const -4)", Limit::None);
}

#[test]
fn a_trap_on_the_nth_message_costs_the_instance_only() {
    let body = "(global.set $seen (i32.add (global.get $seen) (local.get 3)))
        (if (i32.gt_u (global.get $seen) (i32.const 2)) (then (unreachable)))
        (call $ok (local.get 3))";
    let plugin = load(&guest::component(body)).unwrap();
    for _ in 0..3 {
        let mut instance = plugin.start(&setup(), &limits(), imports(&Lines::default())).unwrap();
        for _ in 0..2 {
            instance = route(instance, &[b"x"]).unwrap().0;
        }
        assert_eq!(route(instance, &[b"x"]).unwrap_err().limit, Limit::None);
    }
}

#[test]
fn a_flood_of_log_lines_is_cut_at_the_budget_of_its_call() {
    let body = "(local $n i32)
        (loop $more
          (call $log (i32.const 2) (i32.const 65536) (i32.const 3000))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $n) (i32.const 100))))
        (call $ok (local.get 3))";
    let log = Lines::default();
    let instance = route(start(body, &log).unwrap(), &[b"x"]).unwrap().0;
    let after_one = log.0.lock().unwrap().clone();
    assert_eq!(
        (after_one.0.len(), after_one.1),
        (16, LostLines { dropped: 84, cut: 16 }),
        "16 lines of 1 KiB fit into 16 KiB"
    );
    route(instance, &[b"x"]).unwrap();
    assert_eq!(log.0.lock().unwrap().0.len(), 32, "the next call has a budget of its own");
}

/// Makes the text whose pointer is at `$a` and whose length is at `$b` the reason of a failure, for bodies that show what they were told.
const SHOW: &str = "(i32.store8 (i32.const 65536) (i32.const 1)) (i32.store (i32.const 65540) (i32.const 0))
    (i32.store (i32.const 65544) (i32.load (i32.const $a))) (i32.store (i32.const 65548) (i32.load (i32.const $b)))
    (call $ok (i32.const 1))";

fn show(asking: &str, pointer: u32, length: u32) -> String {
    format!("{asking} {SHOW}").replace("$a", &pointer.to_string()).replace("$b", &length.to_string())
}

/// What a guest says that shows what it was told.
fn shown(body: &str) -> String {
    let (_, outcomes) = route(start(body, &Lines::default()).unwrap(), &[b"x"]).unwrap();
    let [Err(Failure::Malformed(text))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    text.clone()
}

#[test]
fn a_guest_reads_the_state_of_the_key_of_a_message() {
    let asking = "(call $state (i32.const 0) (i32.const 1100) (i32.const 2) (i32.const 3072))";
    assert_eq!(shown(&show(asking, 3076, 3080)), "state of 0");
}

#[test]
fn a_guest_reads_records_and_learns_why_it_may_not() {
    let key = "(i32.store (i32.const 3200) (i32.const 1100)) (i32.store (i32.const 3204) (i32.const 2))";
    let ask = |length: u32| {
        format!(
            "{key} (call $record (i32.const 0) (i32.const 1100) (i32.const {length}) (i32.const 3200) (i32.const 1) (i32.const 3072))"
        )
    };
    assert_eq!(shown(&show(&ask(2), 3080, 3084)), "record of 0");
    assert_eq!(shown(&show(&ask(1), 3080, 3084)), "no collection \"n\"");
}

#[test]
fn a_read_for_a_message_that_is_not_in_the_batch_ends_the_call() {
    let asking = "(call $state (i32.const 1) (i32.const 1100) (i32.const 2) (i32.const 3072))";
    let trap = route(start(&show(asking, 3076, 3080), &Lines::default()).unwrap(), &[b"x"]).unwrap_err();
    assert_eq!((trap.limit, trap.reason.as_str()), (Limit::None, "message 1 of a batch of 1"));
}

#[test]
fn a_guest_that_asks_without_end_is_stopped_by_the_number_of_its_questions() {
    let body = "(loop $more (call $state (i32.const 0) (i32.const 1100) (i32.const 2) (i32.const 3072)) (br $more))
        (unreachable)";
    let limits = Limits { deadline: Duration::from_secs(60), host_calls: 100, ..Limits::default() };
    let instance = load(&guest::component(body)).unwrap().start(&setup(), &limits, imports(&Lines::default()));
    assert_eq!(route(instance.unwrap(), &[b"x"]).unwrap_err().limit, Limit::HostCalls);
}

#[test]
fn a_guest_sets_state() {
    let body = "(i32.store8 (i32.const 69632) (i32.const 2)) (i32.store (i32.const 69636) (i32.const 1100))
        (i32.store (i32.const 69640) (i32.const 2)) (i32.store (i32.const 69644) (i32.const 1))
        (i32.store (i32.const 69648) (i32.const 1100)) (i32.store (i32.const 69652) (i32.const 1))
        (call $outcome (i32.const 0) (i32.const 69632) (i32.const 1))";
    let (_, outcomes) = route(start(body, &Lines::default()).unwrap(), &[b"x"]).unwrap();
    let change = StateChange { name: "no".to_owned(), value: Some(b"n".to_vec()) };
    assert_eq!(outcomes, [Ok(vec![Effect::SetState(change)])]);
}

#[test]
fn a_guest_that_asks_nothing_imports_nothing() {
    let engine = engine();
    let load = |body: &str| Component::load(&engine, &guest::component(body), None, |e| panic!("{e}")).unwrap();
    assert!(!load(TAKES_ALL).imports().iter().any(|name| name.contains("state") || name.contains("records")));
    let asking = load(&show("(call $state (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3072))", 3076, 3080));
    assert!(asking.imports().contains(&"causeway:plugin/state@0.1.0-draft".to_owned()), "{:?}", asking.imports());
}

#[test]
fn what_is_no_telemetry_plugin_is_refused_when_it_is_loaded() {
    assert!(matches!(load(b"\0asm\x01\0\0\0").unwrap_err(), LoadError::Compile(_)));
    assert!(matches!(load(b"").unwrap_err(), LoadError::Compile(_)));
    let empty = wat::parse_str("(component)").unwrap();
    assert!(matches!(load(&empty).unwrap_err(), LoadError::World { .. }));
    let curious = wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.6" (instance)))"#).unwrap();
    let error = load(&curious).unwrap_err().to_string();
    assert!(error.contains("wasi:clocks/wall-clock@0.2.6"), "{error}");
}

#[test]
fn a_component_beyond_the_size_limit_is_not_compiled() {
    let engine = Engine::start(EngineConfig { max_component_bytes: 100, ..EngineConfig::default() }).unwrap();
    let error = Component::load(&engine, &guest::component(TAKES_ALL), None, |_| {}).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { most: 100, .. }), "{error}");
}

#[test]
fn a_refused_configuration_says_why() {
    let wat = guest::module(TAKES_ALL).replace("(i32.const 1024) ;; configured", "(call $refuse)");
    let error = load(&guest::encode(&wat)).unwrap().start(&setup(), &limits(), imports(&Lines::default())).unwrap_err();
    assert!(matches!(&error, StartError::Refused(reason) if reason == "no"), "{error}");
}

#[test]
fn a_cached_compilation_is_used_and_a_damaged_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(&folder.path().join("compiled")).unwrap();
    let (engine, bytes) = (engine(), guest::component(TAKES_ALL));
    let warned = Mutex::new(Vec::new());
    let load =
        || Component::load(&engine, &bytes, Some(&cache), |w| warned.lock().unwrap().push(w.to_string())).unwrap();
    let first = load();
    let entry = std::fs::read_dir(folder.path().join("compiled")).unwrap().map(|e| e.unwrap().path());
    let entry = entry.into_iter().find(|path| path.extension().is_some_and(|x| x == "cwasm")).unwrap();
    let written = entry.metadata().unwrap().modified().unwrap();
    assert_eq!(load().digest(), first.digest());
    assert_eq!(entry.metadata().unwrap().modified().unwrap(), written, "the second load compiles nothing");
    assert!(warned.lock().unwrap().is_empty());

    let mut code = std::fs::read(&entry).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(&entry, &code).unwrap();
    load();
    assert!(warned.lock().unwrap().iter().any(|w| w.contains("damaged")), "a flipped bit is noticed");
    code[middle] ^= 1;
    assert_eq!(std::fs::read(&entry).unwrap(), code, "and the entry is whole again");
}
