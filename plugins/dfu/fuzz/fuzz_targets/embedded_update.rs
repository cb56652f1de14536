//! The crate `embedded-update`, packed, with names and in JSON: any bytes, and what follows a beginning in each form.
//!
//! The first byte of the input chooses the beginning.

#![no_main]

mod bounds;

use libfuzzer_sys::fuzz_target;

const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"\xa4\x00\x450.1.0\x01\x19\x02\x00\x02\x01\x03\xa2\x00\x450.1.1",
    b"\xa4gversion\x450.1.0cmtu\x19\x02\x00\x6ecorrelation_id\xf6fupdate",
    b"{\"version\":\"0.1.0\",\"update\":{\"version\":\"0.1.1\",",
];

fuzz_target!(|input: &[u8]| bounds::check(&["embedded-update", "packed"], &BEGINNINGS, input));
