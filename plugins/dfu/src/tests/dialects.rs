//! Each language as it is spoken, and how it is told apart from the others.

use ciborium::cbor;

use super::*;

fn json(update: &Update, status: &str) -> String {
    String::from_utf8(ask(update, status).unwrap().command).unwrap()
}

fn cbor(value: &ciborium::Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn check(update: &Update, status: &str, expected: &str) {
    assert_eq!(json(update, status), expected, "{status}");
}

const FIRST: &str = r#"{"version":"0.1.0","mtu":512}"#;
const HELLO: &str = r#"{"version":"0.1.0","mtu":512,"status":{"version":"0.1.1","offset":5}}"#;

fn hello() -> Update {
    Update::to("0.1.1", b"hello")
}

#[test]
fn the_fleet_managers_document_is_spoken_in_json() {
    check(&Update::stay(), FIRST, r#"{"op":"SYNC","version":"0.1.0","poll":300}"#);
    check(&Update::hold("paused"), FIRST, r#"{"op":"WAIT","poll":300}"#);
    check(&hello(), FIRST, r#"{"op":"WRITE","version":"0.1.1","offset":0,"size":5,"data":"aGVsbG8="}"#);
    let checksum = "09".repeat(32);
    check(&hello(), HELLO, &format!(r#"{{"op":"SWAP","version":"0.1.1","checksum":"{checksum}"}}"#));
}

#[test]
fn the_later_document_is_spoken_by_devices_that_the_registry_names() {
    let stay = Update::stay().attribute("dfu-dialect", "tagged");
    let hold = Update::hold("paused").attribute("dfu-dialect", "tagged");
    let hello = hello().attribute("dfu-dialect", "tagged");
    check(
        &stay,
        r#"{"version":"0.1.0","correlation_id":1}"#,
        r#"{"sync":{"version":"0.1.0","correlation_id":1,"poll":300}}"#,
    );
    check(&hold, FIRST, r#"{"wait":{"poll":300}}"#);
    check(&hello, FIRST, r#"{"write":{"version":"0.1.1","offset":0,"data":"aGVsbG8="}}"#);
    let checksum = "09".repeat(32);
    check(&hello, HELLO, &format!(r#"{{"swap":{{"version":"0.1.1","checksum":"{checksum}"}}}}"#));
}

#[test]
fn the_documents_are_spoken_in_cbor_with_data_as_bytes() {
    let status = cbor(&cbor!({ "version" => "0.1.0", "mtu" => 512 }).unwrap());
    let command = |update: &Update| ask(update, status.clone()).unwrap().command;
    let data = ciborium::Value::Bytes(b"hello".to_vec());
    let op = cbor!({ "op" => "WRITE", "version" => "0.1.1", "offset" => 0, "size" => 5, "data" => data }).unwrap();
    assert_eq!(command(&hello()), cbor(&op));
    let tagged = cbor!({ "write" => { "version" => "0.1.1", "offset" => 0, "data" => data } }).unwrap();
    assert_eq!(command(&hello().attribute("dfu-dialect", "tagged")), cbor(&tagged));
}

#[test]
fn a_status_in_json_with_an_update_is_one_of_the_crate() {
    let expected = r#"{"Write":{"version":"0.1.1","correlation_id":null,"offset":0,"data":"aGVsbG8="}}"#;
    check(&hello(), r#"{"version":"0.1.0","mtu":512,"correlation_id":null,"update":null}"#, expected);
    // What the crate's own serialiser makes of bytes.
    check(&hello(), r#"{"version":[48,46,49,46,48],"mtu":512}"#, expected);
    check(&hello().attribute("dfu-dialect", "embedded-update"), FIRST, expected);
    let done = r#"{"version":"0.1.0","update":{"version":"0.1.1","offset":5}}"#;
    assert!(json(&hello(), done).starts_with(r#"{"Swap":{"version":"0.1.1","correlation_id":null,"checksum":"0909"#));
}

#[test]
fn a_device_can_be_answered_in_packed_cbor_whatever_form_of_the_crate_it_writes() {
    let update = hello().attribute("dfu-dialect", "packed");
    let named = ciborium::Value::Bytes(b"0.1.0".to_vec());
    let named = cbor(&cbor!({ "version" => named, "mtu" => 512 }).unwrap());
    for status in [bytes("a20045302e312e3001190200"), named, FIRST.into()] {
        let command = ask(&update, status).unwrap().command;
        assert_eq!(version::hex(&command), "a102a40045302e312e3101f602000345 68656c6c6f".replace(' ', ""));
    }
}

#[test]
fn what_a_message_tells_goes_before_what_the_registry_says() {
    let op = hello().attribute("dfu-dialect", "op");
    assert!(json(&op, r#"{"version":"0.1.0","update":null}"#).starts_with(r#"{"Write""#));
    assert!(told(&op, "a20045302e312e3001190200").starts_with("a102"));
    let embedded = hello().attribute("dfu-dialect", "embedded-update");
    assert!(json(&embedded, HELLO).starts_with(r#"{"op":"SWAP""#));
}

#[test]
fn the_configuration_says_what_those_speak_who_do_not_tell() {
    let plugin: Dfu = Update::configure(r#"{"dialect":"tagged"}"#).unwrap();
    let command = |update: Update| String::from_utf8(update.ask(&plugin, FIRST).unwrap().command).unwrap();
    assert!(command(hello()).starts_with(r#"{"write""#));
    assert!(command(hello().attribute("dfu-dialect", "op")).starts_with(r#"{"op""#));
    // A name that nobody knows is none.
    assert!(command(hello().attribute("dfu-dialect", "morse")).starts_with(r#"{"write""#));
}

#[test]
fn structs_may_be_arrays_of_their_fields_in_order() {
    // ["0.1.0", 512, null, ["0.1.1", 512]], with byte strings for versions.
    let expected = format!("a103a30045302e312e3101f6025820{}", "09".repeat(32));
    assert_eq!(told(&Update::to("0.1.1", &[0; 512]), "8445302e312e30190200f68245302e312e31190200"), expected);
    // As many fields as there are.
    assert!(told(&hello(), "8145302e312e30").starts_with("a102"));
}

#[test]
fn unknown_fields_are_ignored_wherever_they_are() {
    let status = r#"{"uptime":9,"version":"0.1.0","status":{"version":"0.1.1","offset":5,"crc":[1,{}]},"op":"STATUS"}"#;
    assert!(json(&hello(), status).starts_with(r#"{"op":"SWAP""#));
    // {0: '0.1.0', 17: {"a": [1.5]}}
    assert!(told(&hello(), "a20045302e312e3011a1616181f93e00").starts_with("a102"));
}

#[test]
fn progress_is_understood_under_both_names_in_all_languages() {
    let version = |version: &str| ciborium::Value::Bytes(version.as_bytes().to_vec());
    let progress = cbor!({ "version" => version("0.1.1"), "offset" => 5 }).unwrap();
    let status = cbor!({ "version" => version("0.1.0"), "status" => progress }).unwrap();
    assert!(version::hex(&ask(&hello(), cbor(&status)).unwrap().command).starts_with("a16453776170"));
}

#[test]
fn maps_of_indefinite_length_and_tags_are_read() {
    // 55799({_ 0: '0.1.0', 1: 512})
    assert!(told(&hello(), "d9d9f7bf0045302e312e3001190200ff").starts_with("a102"));
}

#[test]
fn a_command_says_its_content_type_if_the_status_did() {
    let answer = ask(&hello(), FIRST).unwrap();
    assert_eq!(answer.content_type, None);
    let typed = hello().content_type("text/plain");
    assert_eq!(ask(&typed, FIRST).unwrap().content_type.as_deref(), Some("application/json"));
    let packed = ask(&typed, bytes("a10045302e312e30")).unwrap();
    assert_eq!(packed.content_type.as_deref(), Some("application/cbor"));
}

#[test]
fn a_version_that_is_no_text_is_shown_in_hexadecimal_digits_and_written_as_it_is() {
    // {0: h'fe01'}
    let first = "a10042fe01";
    let answer = ask(&Update::stay(), bytes(first)).unwrap();
    assert_eq!(answer.status.version, "0xfe01");
    assert!(version::hex(&answer.command).starts_with("a101a30042fe01"));
    assert!(told(&Update::to("0xfe02", b"hello"), first).starts_with("a102a40042fe02"));
    // A device whose versions are texts gets the text, even if it looks like such bytes.
    assert!(told(&Update::to("0xfe02", b"hello"), "a10045302e312e30").starts_with("a102a40046307866653032"));
}
