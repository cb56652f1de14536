//! The corpus of components that are wrong before they run: each is refused when it is loaded, with its reason.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set the scene fails")]

#[path = "support/guest.rs"]
mod guest;

#[path = "support/host.rs"]
mod host;

use causeway_host::{Binary, Component, Engine, EngineConfig, LoadError, LoadLimit};

use host::{imports, load, start};

const TAKES_ALL: &str = "(call $ok (local.get 3))";

/// The reason why a component is not loaded.
fn refused(component: &[u8]) -> LoadError {
    load(component).err().unwrap_or_else(|| panic!("it was loaded"))
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

fn check_not_compiled(component: &[u8]) {
    let error = refused(component);
    assert!(matches!(error, LoadError::Compile(_)), "{error}");
}

#[test]
fn what_is_no_component_is_refused() {
    check_not_compiled(b"");
    check_not_compiled(b"\0asm");
    check_not_compiled(b"\0asm\x01\0\0\0");
    check_not_compiled(&[0xff; 1000]);
    check_not_compiled(&text("(module)"));
}

#[test]
fn a_component_that_is_cut_off_anywhere_is_refused() {
    let whole = guest::component(TAKES_ALL);
    for length in (0..whole.len()).step_by(97) {
        let cut = whole.get(..length).unwrap();
        assert!(load(cut).is_err(), "the first {length} of {} bytes", whole.len());
    }
}

#[test]
fn a_component_with_a_flipped_bit_is_refused_or_runs_within_its_limits() {
    let whole = guest::component(TAKES_ALL);
    for at in (0..whole.len()).step_by(211) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        if load(&flipped).is_ok()
            && let Ok(instance) = start(&flipped, &host::Lines::default())
        {
            drop(host::route(instance, &[b"x"]));
        }
    }
}

#[test]
fn a_component_of_another_world_is_refused() {
    assert!(matches!(refused(&text("(component)")), LoadError::World { .. }));
    let renamed = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "route-batch") (canon lift (core func $i "f"))))"#;
    assert!(matches!(refused(&text(renamed)), LoadError::World { .. }));
    let of_another_shape = r#"(component
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $router (export "route-batch" (func $f)))
        (export "causeway:plugin/telemetry-router@0.1.0-draft" (instance $router)))"#;
    let error = refused(&text(of_another_shape));
    assert!(matches!(error, LoadError::World { .. }), "{error}");
}

#[test]
fn an_import_that_is_not_offered_is_refused_by_its_name() {
    let curious = text(r#"(component (import "wasi:clocks/wall-clock@0.2.6" (instance)))"#);
    let error = refused(&curious).to_string();
    assert!(error.contains("wasi:clocks/wall-clock@0.2.6"), "{error}");
    let ours = text(r#"(component (import "causeway:plugin/firmware@0.1.0-draft" (instance)))"#);
    assert!(refused(&ours).to_string().contains("causeway:plugin/firmware"));
}

#[test]
fn an_import_of_another_version_or_shape_is_refused() {
    let newer = text(r#"(component (import "causeway:plugin/log@0.2.0" (instance)))"#);
    assert!(refused(&newer).to_string().contains("causeway:plugin/log@0.2.0"));
    let other = r#"(component (import "causeway:plugin/log@0.1.0-draft" (instance (export "erase" (func)))))"#;
    let error = refused(&text(other));
    assert!(matches!(error, LoadError::World { .. }), "{error}");
}

#[test]
fn a_giant_component_is_not_even_looked_at() {
    let most = 1 << 20;
    let engine = Engine::start(EngineConfig { max_component_bytes: most, ..EngineConfig::default() }).unwrap();
    let error = Component::load(&engine, &Binary::of(vec![0; most + 1]), None, |_| {}).unwrap_err();
    assert_eq!(error.limit(), Some(LoadLimit::Size), "{error}");
    assert!(error.to_string().contains("1048576"), "{error}");
}

#[test]
fn components_nested_too_deep_are_refused() {
    let mut nested = text("(component)");
    for _ in 0..2_000 {
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        outer.extend(leb(nested.len()));
        outer.extend(&nested);
        nested = outer;
    }
    refused(&nested);
}

#[test]
fn types_nested_too_deep_are_refused() {
    let mut types = String::from("(type $t0 u8)");
    for depth in 1..2_000 {
        types += &format!("(type $t{depth} (list $t{}))", depth - 1);
    }
    check_not_compiled(&text(&format!("(component {types} (import \"f\" (func (param \"a\" $t1999))))")));
}

#[test]
fn a_type_that_grows_with_each_use_of_itself_is_refused() {
    // Thirty lines for a tuple of 2^30 members.
    let mut types = String::from("(type $t0 (tuple u8 u8))");
    for depth in 1..30 {
        types += &format!("(type $t{depth} (tuple $t{0} $t{0}))", depth - 1);
    }
    check_not_compiled(&text(&format!("(component {types} (import \"f\" (func (param \"a\" $t29))))")));
}

#[test]
fn blocks_nested_deep_are_refused_or_compiled() {
    let depth = 5_000;
    let body = format!("{} {} {TAKES_ALL}", "(block ".repeat(depth), ")".repeat(depth));
    let wat = std::thread::Builder::new().stack_size(1 << 30).spawn(move || guest::component(&body));
    let component = wat.unwrap().join().unwrap();
    if load(&component).is_ok() {
        host::route(start(&component, &host::Lines::default()).unwrap(), &[b"x"]).unwrap();
    }
}

#[test]
fn memory_that_is_shared_between_threads_is_refused() {
    let wat = "(component (core module (memory 1 1 shared)))";
    check_not_compiled(&text(wat));
}

#[test]
fn a_component_that_needs_nothing_is_offered_everything() {
    let plugin = load(&guest::component(TAKES_ALL)).unwrap();
    plugin.start(&host::setup(), &host::limits(), imports(&host::Lines::default())).unwrap();
}

/// LEB128.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
