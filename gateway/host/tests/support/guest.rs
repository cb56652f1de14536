//! Small guests in WebAssembly text, made components in the test that uses them.
//!
//! Also included by the gateway's own tests.

#![allow(clippy::expect_used, reason = "a guest that does not assemble fails its test")]

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The imports by the names that a body gives them.
const IMPORTS: [(&str, &str); 3] = [
    ("$log", r#"(import "causeway:plugin/log@0.1.0-draft" "write" (func $log (param i32 i32 i32)))"#),
    // Message, name (pointer, length), where the answer goes: tag, pointer, length.
    ("$state", r#"(import "causeway:plugin/state@0.1.0-draft" "get" (func $state (param i32 i32 i32 i32)))"#),
    // Message, collection (pointer, length), key (pointer, length), where the answer goes: tag, option or error, pointer,
    // length.
    (
        "$record",
        r#"(import "causeway:plugin/records@0.1.0-draft" "get" (func $record (param i32 i32 i32 i32 i32 i32)))"#,
    ),
];

/// Room for what the host hands over, from the global `$next` on; nothing is given back.
pub(crate) const REALLOC: &str = r#"(func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (loop $room
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.const 1))) (br $room))))
    (local.get $at))"#;

/// A component whose `route-batch` has this body: its parameters are senders (pointer, length) and messages (pointer,
/// length), its result a pointer to a list of outcomes.
pub(crate) fn component(body: &str) -> Vec<u8> {
    encode(&module(body))
}

/// The core module of [`component`]. Zeros lie from 65536 on; an outcome has 16 bytes, all zeros are no effects. An import
/// that the body does not name is not there.
pub(crate) fn module(body: &str) -> String {
    let imports: String = IMPORTS.iter().filter(|(name, _)| body.contains(name)).map(|(_, import)| *import).collect();
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 3)
  (table 1 funcref)
  (global $next (mut i32) (i32.const 131072))
  (global $seen (mut i32) (i32.const 0))
  (data (i32.const 1100) "no")
  {REALLOC}
  (func $ok (param $count i32) (result i32)
    (i32.store (i32.const 2048) (i32.const 65536))
    (i32.store (i32.const 2052) (local.get $count))
    (global.set $next (i32.const 131072))
    (i32.const 2048))
  (func $outcome (param $failed i32) (param $tag-or-list i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 65536) (local.get $failed))
    (i32.store (i32.const 65540) (local.get $tag-or-list))
    (i32.store (i32.const 65544) (select (i32.const 0) (local.get $length) (local.get $failed)))
    (i32.store (i32.const 65548) (local.get $length))
    (call $ok (i32.const 1)))
  (func $deeper (call $deeper) (call $deeper))
  (func $refuse (result i32)
    (i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store (i32.const 1028) (i32.const 1100))
    (i32.store (i32.const 1032) (i32.const 2))
    (i32.const 1024))
  (func (export "causeway:plugin/config@0.1.0-draft#configure") (param i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 1024) ;; configured
  )
  (func (export "causeway:plugin/config@0.1.0-draft#state-version") (result i32)
    (i32.const 0) ;; state version
  )
  (func (export "causeway:plugin/telemetry-router@0.1.0-draft#route-batch") (param i32 i32 i32 i32) (result i32)
    {body}))"#
    )
}

/// Makes a component of the world `telemetry` from a core module.
pub(crate) fn encode(wat: &str) -> Vec<u8> {
    encode_as(wat, "telemetry", None)
}

/// Makes a component of a world of ours, or of one in another package, which may include ours.
pub(crate) fn encode_as(wat: &str, world: &str, other: Option<&str>) -> Vec<u8> {
    let mut module = wat::parse_str(wat).expect("the text is a module");
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("wit"));
    let wit = wit.into_iter().find(|folder| folder.is_dir()).expect("wit/ lies above the package");
    let mut resolve = Resolve::default();
    let (ours, _) = resolve.push_dir(wit).expect("wit/ is valid");
    let package = other.map_or(ours, |text| resolve.push_str("other.wit", text).expect("valid WIT"));
    let world = resolve.select_world(&[package], Some(world)).expect("the world exists");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the world fits");
    ComponentEncoder::default().module(&module).expect("a module").encode().expect("a component")
}

/// One publication for each call: topic `out/x`, payload `hi`, QoS 1.
#[allow(dead_code, reason = "not every test that includes this file publishes")]
pub(crate) const PUBLISHES: &str = "
    (i64.store (i32.const 70000) (i64.const 0x782f74756f)) (i32.store (i32.const 70016) (i32.const 0x6968))
    (i32.store (i32.const 69632) (i32.const 1))
    (i32.store (i32.const 69636) (i32.const 70000)) (i32.store (i32.const 69640) (i32.const 5))
    (i32.store (i32.const 69644) (i32.const 70016)) (i32.store (i32.const 69648) (i32.const 2))
    (i32.store8 (i32.const 69652) (i32.const 1))
    (call $outcome (i32.const 0) (i32.const 69632) (i32.const 1))";

/// Counts the messages of each key in its state, and publishes the count, one byte, to the message's own topic. A message
/// that begins with `!` traps, after its state was read.
#[allow(dead_code, reason = "not every test that includes this file counts")]
pub(crate) const COUNTS: &str =
    "(local $n i32) (local $count i32) (local $effect i32) (local $value i32) (local $message i32)
    (i32.store8 (i32.const 60000) (i32.const 110))
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get 3))
        (then
          (local.set $message (i32.add (local.get 2) (i32.mul (local.get $n) (i32.const 64))))
          (local.set $value (i32.add (i32.const 61000) (i32.mul (local.get $n) (i32.const 8))))
          (local.set $effect (i32.add (i32.const 62000) (i32.mul (local.get $n) (i32.const 48))))
          (local.set $count (i32.const 1))
          (call $state (local.get $n) (i32.const 60000) (i32.const 1) (i32.const 60016))
          (if (i32.load8_u (i32.const 60016))
            (then (local.set $count (i32.add (i32.const 1) (i32.load8_u (i32.load (i32.const 60020)))))))
          (if (i32.eq (i32.load8_u (i32.load offset=20 (local.get $message))) (i32.const 33)) (then (unreachable)))
          (i32.store8 (local.get $value) (local.get $count))
          (i32.store8 (local.get $effect) (i32.const 2))
          (i32.store offset=4 (local.get $effect) (i32.const 60000))
          (i32.store offset=8 (local.get $effect) (i32.const 1))
          (i32.store8 offset=12 (local.get $effect) (i32.const 1))
          (i32.store offset=16 (local.get $effect) (local.get $value))
          (i32.store offset=20 (local.get $effect) (i32.const 1))
          (i32.store8 offset=24 (local.get $effect) (i32.const 1))
          (i32.store offset=28 (local.get $effect) (i32.load (local.get $message)))
          (i32.store offset=32 (local.get $effect) (i32.load offset=4 (local.get $message)))
          (i32.store offset=36 (local.get $effect) (local.get $value))
          (i32.store offset=40 (local.get $effect) (i32.const 1))
          (i32.store8 offset=44 (local.get $effect) (i32.const 1))
          (i32.store offset=65540 (i32.mul (local.get $n) (i32.const 16)) (local.get $effect))
          (i32.store offset=65544 (i32.mul (local.get $n) (i32.const 16)) (i32.const 2))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br $next))))
    (call $ok (local.get 3))";
