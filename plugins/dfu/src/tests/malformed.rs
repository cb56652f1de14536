//! What is no status: a clear reason, a device that waits where its language is known, and nothing else.

use causeway_plugin::dfu::Reason;

use super::*;

const WAIT: &str = "a100a200f60119012c";

/// Asks, and returns the reason and what the device is told.
fn refused(status: impl Into<Vec<u8>>) -> (String, Option<Vec<u8>>) {
    let refusal = ask(&update(), status).unwrap_err();
    let Reason::Malformed(reason) = refusal.reason else { panic!("{:?}", refusal.reason) };
    (reason, refusal.command)
}

/// A packed status, in hexadecimal digits.
fn packed(status: &str, expected: &str) {
    let (reason, command) = refused(bytes(status));
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(version::hex(&command.unwrap()), WAIT, "{status}");
}

fn json(status: &str, expected: &str) {
    let (reason, command) = refused(status);
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(String::from_utf8(command.unwrap()).unwrap(), r#"{"op":"WAIT","poll":300}"#, "{status}");
}

#[test]
fn what_begins_no_status_leaves_the_device_without_an_answer() {
    for nonsense in [&b""[..], b"hello", b"\x00", b"\x5f\x41\x30\xff", b"\xff\xff", b"\xf6"] {
        assert_eq!(refused(nonsense), ("neither CBOR nor JSON: a status is a map".to_owned(), None));
    }
}

#[test]
fn cbor_that_ends_or_lies_is_refused() {
    packed("a20045302e312e30011902", "ends within a value");
    packed("a400", "4 pairs are said to follow");
    packed("a10045302e31", "5 bytes are said to follow, 3 do");
    // 2^63 bytes, values and pairs.
    packed("a1005b8000000000000000", "9223372036854775808 bytes are said to follow");
    packed("9b8000000000000000", "9223372036854775808 values are said to follow");
    packed("a100bb8000000000000000", "9223372036854775808 pairs are said to follow");
    packed("a1009b8000000000000000", "9223372036854775808 values are said to follow");
    packed("a10045302e312e3000", "the value ends 1 bytes before the message");
    packed("a1001c", "begins no value");
    packed("a100ff", "begins no value");
}

#[test]
fn strings_of_indefinite_length_are_refused() {
    packed("a1005f45302e312e30ff", "a string of indefinite length");
}

#[test]
fn what_is_nested_deeply_is_refused() {
    packed(&format!("a200{}", "81".repeat(4000)), "nested more than 8 deep");
    packed(&format!("a20045302e312e3011{}00", "81".repeat(8)), "nested more than 8 deep");
    packed(&format!("a20045302e312e3011{}00", "c1".repeat(4000)), "nested more than 8 deep");
    packed(&format!("a20045302e312e3011{}", "9f".repeat(3000)), "nested more than 8 deep");
    packed(&format!("a20045302e312e301199012c{}", "00".repeat(300)), "more than 256");
    json(&format!(r#"{{"version":"0.1.0","a":{}1{}}}"#, "[".repeat(9), "]".repeat(9)), "nested more than 8 deep");
    json(&format!(r#"{{"version":"0.1.0","a":{}"#, "[".repeat(4000)), "no JSON");
}

#[test]
fn a_status_that_is_too_long_is_refused_before_it_is_read() {
    packed(&format!("a10059{:04x}{}", 5000, "30".repeat(5000)), "a status of 5005 bytes; `max_status` is 4096");
}

#[test]
fn numbers_that_no_device_can_mean_are_refused() {
    // mtu of 4 GiB, below zero, a text and a fraction.
    packed("a20045302e312e30011b0000000100000000", "`mtu`: a whole number from 0 to 4294967295");
    packed("a20045302e312e300120", "`mtu`: a whole number");
    packed("a20045302e312e30016135", "`mtu`: a whole number");
    packed("a20045302e312e3001f93e00", "`mtu`: a whole number");
    packed("a20045302e312e3003a20045302e312e31011b0000000100000000", "`offset`: a whole number");
    json(r#"{"version":"0.1.0","mtu":4294967296}"#, "`mtu`: a whole number");
    json(r#"{"version":"0.1.0","mtu":-1}"#, "`mtu`: a whole number");
    json(r#"{"version":"0.1.0","correlation_id":"seven"}"#, "`correlation_id`: a whole number");
}

#[test]
fn fields_that_are_missing_doubled_or_of_another_kind_are_refused() {
    packed("a101190200", "`version` is missing");
    packed("a10065302e312e30", "`version`: a byte string, not a text");
    packed("a1008130", "`version`");
    packed("a20045302e312e300045302e312e30", "`version` is said twice");
    packed("a20045302e312e3003a10045302e312e31", "`offset` is missing");
    packed("a20045302e312e300300", "`update`: a map, or null");
    json("{}", "`version` is missing");
    json(r#"{"version":7}"#, "`version`: a byte string or a text");
    json(r#"{"version":"0.1.0","version":"0.1.1"}"#, "`version` is said twice");
    json(r#"{"version":"0.1.0","status":{"offset":1}}"#, "`version` is missing");
    json(r#"{"version":"0.1.0","patches":"zdiff"}"#, "`patches`: a list of at most 8 formats");
    json(r#"{"version":"0.1.0","patches":["a b"]}"#, "the format of a patch");
    json(r#"{"version":"0.1.0"} {}"#, "no JSON");
}

#[test]
fn versions_of_more_than_64_bytes_are_refused() {
    let status = |bytes: usize| format!(r#"{{"version":"{}"}}"#, "1".repeat(bytes));
    assert!(ask(&update(), status(64)).is_ok());
    json(&status(65), "a version of 65 bytes; at most 64");
    packed(&format!("a1005820{}", "ff".repeat(32)), "a version of 66 bytes; at most 64");
}

#[test]
fn a_correlation_id_that_could_be_read_is_in_the_refusal() {
    let (_, command) = refused(bytes("a2020901190200"));
    assert_eq!(version::hex(&command.unwrap()), "a100a200090119012c");
}
