//! The fleet manager's document, in CBOR and JSON: any bytes, and what follows a beginning in each form.
//!
//! The first byte of the input chooses the beginning.

#![no_main]

mod bounds;

use libfuzzer_sys::fuzz_target;

const BEGINNINGS: [&[u8]; 3] = [
    b"",
    b"\xa3gversione0.1.0cmtu\x19\x02\x00fstatus\xa2gversione0.1.1",
    b"{\"version\":\"0.1.0\",\"mtu\":512,\"status\":{\"version\":\"0.1.1\",",
];

fuzz_target!(|input: &[u8]| bounds::check(&["op"], &BEGINNINGS, input));
