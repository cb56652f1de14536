//! The corpus of guests that misbehave while they run: each is stopped by the limit that is meant for it, at the cost of
//! its instance, and the plugin beside it goes on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set the scene fails")]

#[path = "support/guest.rs"]
mod guest;

#[path = "support/host.rs"]
mod host;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use causeway_host::{Limit, Limits, LostLines, StartError, TelemetryPlugin, Trap};

use host::{Lines, engine, imports, limits, load, load_in, route, setup};

/// Where a guest misbehaves.
#[derive(Clone, Copy)]
enum In {
    Route,
    Configure,
    /// The function by which the host asks for room for what it passes.
    Realloc,
    /// The core module's own start function.
    Start,
    /// The function that is called when the host has read an answer.
    PostReturn,
}

use In::{Configure, PostReturn, Realloc, Route, Start};

const LOOP: &str = "(loop $forever (br $forever)) (unreachable)";
const TAKES_ALL: &str = "(call $ok (local.get 3))";
const ASK: &str = "(call $state (i32.const 0) (i32.const 1100) (i32.const 2) (i32.const 3072))";
const LOOK_UP: &str = "(call $record (i32.const 0) (i32.const 1100) (i32.const 2) (i32.const 3200) (i32.const 0)
    (i32.const 3072))";

/// A guest that behaves, but for what it does in one place.
fn crooked(place: In, body: &str) -> String {
    const REALLOC: &str = "(param $align i32) (param $size i32) (result i32)\n";
    let whole = guest::module(if matches!(place, Route) { body } else { TAKES_ALL });
    let crooked = match place {
        Route => return whole,
        Configure => whole.replace("(i32.const 1024) ;; configured", body),
        Realloc => whole.replace(REALLOC, &format!("{REALLOC} (local $at i32) {body}")).replacen(
            "    (local $at i32)\n",
            "",
            1,
        ),
        Start => whole.replace("(func $ok ", &format!("(func $start {body}) (start $start) (func $ok ")),
        PostReturn => {
            let name = "cabi_post_causeway:plugin/telemetry-router@0.1.0-draft#route-batch";
            whole.replace("(func $ok ", &format!("(func (export \"{name}\") (param i32) {body}) (func $ok "))
        }
    };
    assert_ne!(whole, crooked, "the text of the guest has changed");
    crooked
}

/// How a guest is stopped, wherever it comes to that. Another plugin of the same engine works before and after.
fn stopped(component: &[u8], limits: &Limits) -> Trap {
    static ENGINE: LazyLock<(std::sync::Arc<causeway_host::Engine>, TelemetryPlugin)> = LazyLock::new(|| {
        let engine = engine();
        let neighbour = load_in(&engine, &guest::component(TAKES_ALL)).unwrap();
        (engine, neighbour)
    });
    let (engine, neighbour) = &*ENGINE;
    let instance = || neighbour.start(&setup(), &Limits::default(), imports(&Lines::default())).unwrap();
    let beside = route(instance(), &[b"a"]).unwrap().0;
    let trap = match load_in(engine, component).unwrap().start(&setup(), limits, imports(&Lines::default())) {
        Ok(instance) => route(instance, &[b"x"]).unwrap_err(),
        Err(StartError::Trap(trap)) => trap,
        Err(refused) => panic!("{refused}"),
    };
    route(beside, &[b"b"]).unwrap();
    route(instance(), &[b"c"]).unwrap();
    trap
}

fn check(place: In, body: &str, expected: Limit) {
    check_within(place, body, &limits(), expected);
}

fn check_within(place: In, body: &str, limits: &Limits, expected: Limit) {
    let trap = stopped(&guest::encode(&crooked(place, body)), limits);
    assert_eq!(trap.limit, expected, "{trap}: {body}");
}

#[test]
fn an_endless_loop_in_any_export_ends_at_the_deadline() {
    let started = Instant::now();
    check(Route, LOOP, Limit::Deadline);
    check(Configure, LOOP, Limit::Deadline);
    check(Realloc, LOOP, Limit::Deadline);
    check(Start, "(loop $forever (br $forever))", Limit::Deadline);
    check(PostReturn, "(loop $forever (br $forever))", Limit::Deadline);
    assert!(started.elapsed() < Duration::from_secs(60), "each deadline is 50 ms");
}

#[test]
fn work_without_end_in_few_instructions_ends_at_the_deadline_too() {
    let fill = "(loop $more (memory.fill (i32.const 65536) (i32.const 0) (i32.const 131072)) (br $more)) (unreachable)";
    check(Route, fill, Limit::Deadline);
}

#[test]
fn a_memory_bomb_ends_at_the_memory_it_may_have() {
    check(Route, "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)", Limit::Memory);
    check(Configure, "(drop (memory.grow (i32.const 65000))) (unreachable)", Limit::Memory);
    let born_big =
        guest::module(TAKES_ALL).replace("(memory (export \"memory\") 3)", "(memory (export \"memory\") 1000)");
    assert_eq!(stopped(&guest::encode(&born_big), &limits()).limit, Limit::Memory);
}

#[test]
fn a_table_bomb_ends_at_the_elements_it_may_have() {
    let grow = "(loop $more (drop (table.grow (ref.null func) (i32.const 4096))) (br $more)) (unreachable)";
    check(Route, grow, Limit::Table);
    let born_big = guest::module(TAKES_ALL).replace("(table 1 funcref)", "(table 1000000 funcref)");
    assert_eq!(stopped(&guest::encode(&born_big), &limits()).limit, Limit::Table);
}

#[test]
fn a_component_of_too_many_parts_does_not_start() {
    let component = guest::component(TAKES_ALL);
    for limits in
        [Limits { instances: 0, ..limits() }, Limits { memories: 0, ..limits() }, Limits { tables: 0, ..limits() }]
    {
        assert_eq!(stopped(&component, &limits).limit, Limit::Parts);
    }
}

#[test]
fn a_handle_bomb_ends_at_the_handles_it_may_have() {
    let world = "package test:bomb;
        interface things { resource thing { constructor(); } }
        world bomb { include causeway:plugin/telemetry@0.1.0-draft; export things; }";
    let body = "(loop $more (drop (call $new (i32.const 1))) (br $more)) (unreachable)";
    let wat = guest::module(body).replacen(
        "(module",
        r#"(module (import "[export]test:bomb/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#,
        1,
    );
    let made = r#"(func (export "test:bomb/things#[constructor]thing") (result i32) (call $new (i32.const 1)))"#;
    let wat = wat.replace("(func $ok ", &format!("{made} (func $ok "));
    let component = guest::encode_as(&wat, "bomb", Some(world));
    assert_eq!(stopped(&component, &Limits { deadline: Duration::from_secs(20), ..limits() }).limit, Limit::Handles);
}

#[test]
fn a_stack_that_grows_without_end_ends_at_its_depth() {
    check(Route, "(call $deeper) (unreachable)", Limit::Stack);
    check(Configure, "(call $deeper) (unreachable)", Limit::Stack);
}

#[test]
fn answers_and_questions_that_are_too_large_end_the_call() {
    // A failure whose reason is 8 MiB, one effect more than a message may have, a log line of 8 MiB.
    let room = "(drop (memory.grow (i32.const 128)))";
    let reason = format!("{room} (call $outcome (i32.const 1) (i32.const 0) (i32.const 8388608))");
    check(Route, &reason, Limit::Output);
    check(Route, "(call $outcome (i32.const 0) (i32.const 69632) (i32.const 65))", Limit::Effects);
    let line = format!("{room} (call $log (i32.const 0) (i32.const 65536) (i32.const 8388608)) {TAKES_ALL}");
    check(Route, &line, Limit::Output);
    let refusal = format!(
        "{room} (i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 65536))
         (i32.store (i32.const 1032) (i32.const 8388608)) (i32.const 1024)"
    );
    check(Configure, &refusal, Limit::Output);
}

#[test]
fn questions_without_end_end_at_their_number() {
    let limits = Limits { deadline: Duration::from_secs(60), host_calls: 1000, ..Limits::default() };
    let line = "(call $log (i32.const 0) (i32.const 65536) (i32.const 1))";
    for question in [ASK, LOOK_UP, line] {
        check_within(Route, &format!("(loop $more {question} (br $more)) (unreachable)"), &limits, Limit::HostCalls);
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
    let instance = route(host::start(&guest::component(body), &log).unwrap(), &[b"x"]).unwrap().0;
    let after_one = log.0.lock().unwrap().clone();
    let lost = LostLines { dropped: 84, cut: 16 };
    assert_eq!((after_one.0.len(), after_one.1), (16, lost), "16 lines of 1 KiB fit into 16 KiB");
    route(instance, &[b"x"]).unwrap();
    assert_eq!(log.0.lock().unwrap().0.len(), 32, "the next call has a budget of its own");
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
fn panics_and_accesses_out_of_bounds_end_the_call() {
    check(Route, "(unreachable)", Limit::None);
    check(Configure, "(unreachable)", Limit::None);
    check(Realloc, "(unreachable)", Limit::None);
    check(Start, "(unreachable)", Limit::None);
    check(PostReturn, "(unreachable)", Limit::None);
    check(Route, "(i32.load (i32.const -8))", Limit::None);
    check(Route, "(i32.div_u (i32.const 1) (i32.const 0))", Limit::None);
    check(Route, "(call_indirect (result i32) (i32.const 0))", Limit::None);
    check(Route, "(call_indirect (result i32) (i32.const 9))", Limit::None);
}

#[test]
fn room_that_is_not_there_or_not_aligned_ends_the_call() {
    check(Realloc, "(return (i32.const -16))", Limit::None);
    check(Realloc, "(return (i32.add (local.get $align) (i32.const 1)))", Limit::None);
}

#[test]
fn asking_the_host_while_it_asks_for_room_ends_the_call() {
    let wat = crooked(Realloc, "(call $log (i32.const 0) (i32.const 65536) (i32.const 1))");
    let import = r#"(import "causeway:plugin/log@0.1.0-draft" "write" (func $log (param i32 i32 i32)))"#;
    let wat = wat.replacen("(module", &format!("(module {import}"), 1);
    assert_eq!(stopped(&guest::encode(&wat), &limits()).limit, Limit::None);
}

#[test]
fn answers_that_are_no_answers_end_the_call() {
    // Too many outcomes; none; more than there is memory for; nowhere; not aligned.
    check(Route, "(call $ok (i32.const 2))", Limit::None);
    check(Route, "(call $ok (i32.const 0))", Limit::None);
    check(Route, "(call $ok (i32.const 100000000))", Limit::None);
    check(Route, "(call $ok (i32.const -1))", Limit::None);
    check(Route, "(i32.const -4)", Limit::None);
    check(Route, "(drop (call $ok (i32.const 1))) (i32.const 2049)", Limit::None);
    let askew = "(drop (call $ok (i32.const 1))) (i32.store (i32.const 2048) (i32.const 65537)) (i32.const 2048)";
    check(Route, askew, Limit::None);
    // An outcome, a failure and an effect of a kind that does not exist; effects nowhere.
    check(Route, "(call $outcome (i32.const 7) (i32.const 0) (i32.const 0))", Limit::None);
    check(Route, "(call $outcome (i32.const 1) (i32.const 9) (i32.const 0))", Limit::None);
    let effect = "(i32.store8 (i32.const 69632) (i32.const 9))
        (call $outcome (i32.const 0) (i32.const 69632) (i32.const 1))";
    check(Route, effect, Limit::None);
    check(Route, "(call $outcome (i32.const 0) (i32.const -8) (i32.const 1))", Limit::None);
}

#[test]
fn texts_that_are_not_utf8_end_the_call() {
    let reason = "(i32.store (i32.const 0) (i32.const -1)) (call $outcome (i32.const 1) (i32.const 0) (i32.const 4))";
    check(Route, reason, Limit::None);
    let line = "(i32.store (i32.const 0) (i32.const -1)) (call $log (i32.const 0) (i32.const 0) (i32.const 4))";
    check(Route, &format!("{line} {TAKES_ALL}"), Limit::None);
    let level = "(call $log (i32.const 99) (i32.const 65536) (i32.const 1))";
    check(Route, &format!("{level} {TAKES_ALL}"), Limit::None);
}

#[test]
fn a_question_for_a_message_that_is_not_in_the_batch_ends_the_call() {
    for question in [ASK, LOOK_UP] {
        let wrong = question.replacen("(i32.const 0)", "(i32.const 1)", 1);
        let trap = stopped(&guest::component(&format!("{wrong} {TAKES_ALL}")), &limits());
        assert_eq!((trap.limit, trap.reason.as_str()), (Limit::None, "message 1 of a batch of 1"));
    }
}

#[test]
fn a_guest_that_asks_before_there_is_a_message_is_stopped() {
    let import = r#"(import "causeway:plugin/state@0.1.0-draft" "get" (func $state (param i32 i32 i32 i32)))"#;
    let wat =
        crooked(Configure, &format!("{ASK} (i32.const 1024)")).replacen("(module", &format!("(module {import}"), 1);
    let trap = stopped(&guest::encode(&wat), &limits());
    assert_eq!((trap.limit, trap.reason.as_str()), (Limit::None, "message 0 of a batch of 0"));
}
