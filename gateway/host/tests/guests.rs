//! Guests that behave: what they are asked, what they may ask, and what comes of their answers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set the scene fails")]

#[path = "support/guest.rs"]
mod guest;

#[path = "support/host.rs"]
mod host;

use std::sync::Mutex;

use causeway_host::{Binary, CompileCache, Component, Effect, Failure, StartError, StateChange};

use host::{Lines, engine, imports, limits, load, route, setup};

/// A `route-batch` that answers each message with no effects.
const TAKES_ALL: &str = "(call $ok (local.get 3))";

#[test]
fn a_good_guest_answers_each_message() {
    let instance = host::start(&guest::component(TAKES_ALL), &Lines::default()).unwrap();
    let (instance, outcomes) = route(instance, &[b"a", b"b", b"c"]).unwrap();
    assert_eq!(outcomes, vec![Ok(Vec::new()); 3]);
    assert_eq!(route(instance, &[]).unwrap().1, Vec::new());
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
    let (_, outcomes) = route(host::start(&guest::component(body), &Lines::default()).unwrap(), &[b"x"]).unwrap();
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
fn a_guest_sets_state() {
    let body = "(i32.store8 (i32.const 69632) (i32.const 2)) (i32.store (i32.const 69636) (i32.const 1100))
        (i32.store (i32.const 69640) (i32.const 2)) (i32.store (i32.const 69644) (i32.const 1))
        (i32.store (i32.const 69648) (i32.const 1100)) (i32.store (i32.const 69652) (i32.const 1))
        (call $outcome (i32.const 0) (i32.const 69632) (i32.const 1))";
    let (_, outcomes) = route(host::start(&guest::component(body), &Lines::default()).unwrap(), &[b"x"]).unwrap();
    let change = StateChange { name: "no".to_owned(), value: Some(b"n".to_vec()) };
    assert_eq!(outcomes, [Ok(vec![Effect::SetState(change)])]);
}

#[test]
fn a_guest_that_asks_nothing_imports_nothing() {
    let engine = engine();
    let load =
        |body: &str| Component::load(&engine, &Binary::of(guest::component(body)), None, |e| panic!("{e}")).unwrap();
    assert!(!load(TAKES_ALL).imports().iter().any(|name| name.contains("state") || name.contains("records")));
    let asking = load(&show("(call $state (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3072))", 3076, 3080));
    assert!(asking.imports().contains(&"causeway:plugin/state@0.1.0-draft".to_owned()), "{:?}", asking.imports());
}

#[test]
fn a_refused_configuration_says_why() {
    let wat = guest::module(TAKES_ALL).replace("(i32.const 1024) ;; configured", "(call $refuse)");
    let error = load(&guest::encode(&wat)).unwrap().start(&setup(), &limits(), imports(&Lines::default())).unwrap_err();
    assert!(matches!(&error, StartError::Refused(reason) if reason == "no"), "{error}");
}

#[test]
fn an_instance_says_how_its_state_is_to_be_read() {
    let start = |version: &str| {
        let wat = guest::module(TAKES_ALL).replace("(i32.const 0) ;; state version", version);
        load(&guest::encode(&wat)).unwrap().start(&setup(), &limits(), imports(&Lines::default()))
    };
    assert_eq!(start("(i32.const 0)").unwrap().state_version(), 0);
    assert_eq!(start("(i32.const 7)").unwrap().state_version(), 7);
    assert!(matches!(start("(unreachable)").unwrap_err(), StartError::Trap(_)));
}

#[test]
fn a_cached_compilation_is_used_and_a_damaged_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(&folder.path().join("compiled")).unwrap();
    let (engine, bytes) = (engine(), guest::component(TAKES_ALL));
    let warned = Mutex::new(Vec::new());
    let load = || {
        Component::load(&engine, &Binary::of(&bytes), Some(&cache), |w| warned.lock().unwrap().push(w.to_string()))
            .unwrap()
    };
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
