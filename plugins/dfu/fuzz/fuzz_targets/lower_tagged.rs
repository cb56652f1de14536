//! The later document, in CBOR and JSON: any bytes, and what follows a beginning in each form.
//!
//! The first byte of the input chooses the beginning.

#![no_main]

mod bounds;

use libfuzzer_sys::fuzz_target;

const BEGINNINGS: [&[u8]; 3] = [
    b"",
    b"\xa4gversione0.1.0\x6ecorrelation_id\x01gpatches\x81ezdiff",
    b"{\"version\":\"0.1.0\",\"correlation_id\":1,\"patches\":[\"zdiff\"],",
];

fuzz_target!(|input: &[u8]| bounds::check(&["tagged"], &BEGINNINGS, input));
