//! Small DFU guests in WebAssembly text, made components in the test that uses them.
//!
//! Also included by the gateway's own tests. `guest.rs` has to be beside it.

use super::guest::{REALLOC, encode_as};

/// The imports by the names that a body gives them.
const IMPORTS: [(&str, &str); 3] = [
    ("$log", r#"(import "causeway:plugin/log@0.1.0-draft" "write" (func $log (param i32 i32 i32)))"#),
    // Image (pointer, length), offset, length, where the answer goes: tag, then pointer and length of the block, or the
    // tag, pointer and length of the error.
    ("$block", r#"(import "causeway:plugin/firmware@0.1.0-draft" "block" (func $block (param i32 i32 i64 i32 i32)))"#),
    // Version (pointer, length), formats (pointer, length), where the answer goes: tag, at 8 the tag of the option or of
    // the error, at 16 the patch: format, image, size.
    (
        "$patch",
        r#"(import "causeway:plugin/firmware@0.1.0-draft" "patch-from" (func $patch (param i32 i32 i32 i32 i32)))"#,
    ),
];

/// A component whose `handle` has this body: its parameter points to the request, its result to the answer.
pub(crate) fn component(body: &str) -> Vec<u8> {
    encode_as(&module(body), "dfu", None)
}

/// The core module of [`component`]. The answer is at 65536, 128 bytes of zeros: `wait`, with an empty command. An import
/// that the body does not name is not there.
pub(crate) fn module(body: &str) -> String {
    let imports: String = IMPORTS.iter().filter(|(name, _)| body.contains(name)).map(|(_, import)| *import).collect();
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 131072))
  (data (i32.const 1100) "no")
  {REALLOC}
  (func (export "causeway:plugin/config@0.1.0-draft#configure") (param i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 1024) ;; configured
  )
  (func (export "causeway:plugin/config@0.1.0-draft#state-version") (result i32) (i32.const 0))
  (func (export "causeway:plugin/dfu-handler@0.1.0-draft#handle") (param $r i32) (result i32)
    (local $status i32) (local $offset i32) (local $size i32)
    (memory.fill (i32.const 65536) (i32.const 0) (i32.const 128))
    {body}
    (global.set $next (i32.const 131072))
    (i32.const 65536)))"#
    )
}

/// Speaks a language of single letters. A status is what the device runs (one byte), the version that it is getting (one
/// byte, `-` for none) and its next offset (one byte). A command is `w`ait, `s`ync, `x` for swap, or `b` and a block of four
/// bytes at most. An empty status is malformed, and one that ends with `!` traps unless there are orders to hold.
#[allow(dead_code, reason = "not every test that includes this file talks")]
pub(crate) const TALKS: &str = r#"
    (local.set $status (i32.load offset=108 (local.get $r)))
    (if (i32.eqz (i32.load offset=112 (local.get $r)))
      (then
        (i32.store8 (i32.const 65536) (i32.const 1))
        (i32.store (i32.const 65548) (i32.const 1100)) (i32.store (i32.const 65552) (i32.const 2))
        (i32.store8 (i32.const 65556) (i32.const 1))
        (i32.store8 (i32.const 1200) (i32.const 119))
        (i32.store (i32.const 65560) (i32.const 1200)) (i32.store (i32.const 65564) (i32.const 1))
        (return (i32.const 65536))))
    (if (i32.ne (i32.load8_u offset=32 (local.get $r)) (i32.const 1))
      (then
        (if (i32.eq (i32.load8_u (i32.add (local.get $status)
                (i32.sub (i32.load offset=112 (local.get $r)) (i32.const 1)))) (i32.const 33))
          (then (unreachable)))))
    ;; what it says: version, no mtu, progress
    (i32.store (i32.const 65544) (local.get $status)) (i32.store (i32.const 65548) (i32.const 1))
    (if (i32.ne (i32.load8_u offset=1 (local.get $status)) (i32.const 45))
      (then
        (i32.store8 (i32.const 65560) (i32.const 1))
        (i32.store (i32.const 65568) (i32.add (local.get $status) (i32.const 1))) (i32.store (i32.const 65572) (i32.const 1))
        (i64.store (i32.const 65576) (i64.extend_i32_u (i32.load8_u offset=2 (local.get $status))))))
    ;; the command: one letter at 1200
    (i32.store (i32.const 65640) (i32.const 1200)) (i32.store (i32.const 65644) (i32.const 1))
    (i32.store8 (i32.const 1200) (i32.const 119))
    (if (i32.eqz (i32.load8_u offset=32 (local.get $r)))
      (then (i32.store8 (i32.const 65608) (i32.const 1)) (i32.store8 (i32.const 1200) (i32.const 115))))
    (if (i32.eq (i32.load8_u offset=32 (local.get $r)) (i32.const 2))
      (then
        (local.set $size (i32.wrap_i64 (i64.load offset=64 (local.get $r))))
        (if (i32.eq (i32.load8_u offset=1 (local.get $status)) (i32.load8_u (i32.load offset=48 (local.get $r))))
          (then (local.set $offset (i32.load8_u offset=2 (local.get $status)))))
        (if (i32.eq (i32.load8_u (local.get $status)) (i32.load8_u (i32.load offset=48 (local.get $r))))
          (then (i32.store8 (i32.const 65608) (i32.const 1)) (i32.store8 (i32.const 1200) (i32.const 115)))
          (else
            (if (i32.ge_u (local.get $offset) (local.get $size))
              (then
                (if (i32.load8_u offset=80 (local.get $r))
                  (then (i32.store8 (i32.const 65608) (i32.const 3)) (i32.store8 (i32.const 1200) (i32.const 120)))))
              (else
                (call $block (i32.load offset=56 (local.get $r)) (i32.load offset=60 (local.get $r))
                  (i64.extend_i32_u (local.get $offset)) (i32.const 4) (i32.const 1300))
                (if (i32.eqz (i32.load8_u (i32.const 1300)))
                  (then
                    (i32.store8 (i32.const 65608) (i32.const 2))
                    (i64.store (i32.const 65616) (i64.extend_i32_u (local.get $offset)))
                    (i32.store (i32.const 65624) (i32.load (i32.const 1308)))
                    (i32.store8 (i32.const 1200) (i32.const 98))
                    (memory.copy (i32.const 1201) (i32.load (i32.const 1304)) (i32.load (i32.const 1308)))
                    (i32.store (i32.const 65644) (i32.add (i32.const 1) (i32.load (i32.const 1308))))))))))))"#;
