//! Messages of the crate `embedded-update`, as its own encoder wrote them.

use causeway_plugin::dfu::{Progress, Status, Step};

use super::*;

const FIRST_NAMED: &str =
    "a46776657273696f6e45302e312e30636d74751902006e636f7272656c6174696f6e5f6964f666757064617465f6";
const FIRST_PACKED: &str = "a40045302e312e300119020002f603f6";
const AT_512_PACKED: &str = "a40045302e312e3001190200020103a20045302e312e3101190200";

fn said(status: &str) -> Status {
    ask(&Update::stay(), bytes(status)).unwrap().status
}

fn first() -> Status {
    Status { version: "0.1.0".to_owned(), mtu: Some(512), progress: None, formats: Vec::new() }
}

#[test]
fn the_first_status_is_read_with_names_and_packed() {
    assert_eq!(said(FIRST_NAMED), first());
    assert_eq!(said(FIRST_PACKED), first());
}

#[test]
fn a_status_in_the_middle_is_read_packed() {
    let progress = Some(Progress { version: "0.1.1".to_owned(), offset: 512, patch: None });
    assert_eq!(said(AT_512_PACKED), Status { progress, ..first() });
}

#[test]
fn wait_is_written_packed() {
    assert_eq!(told(&Update::hold("paused"), AT_512_PACKED), "a100a200010119012c");
}

#[test]
fn sync_is_written_packed() {
    assert_eq!(told(&Update::stay(), AT_512_PACKED), "a101a30045302e312e3001010219012c");
}

#[test]
fn sync_without_options_is_written_packed() {
    assert_eq!(told(&Update::stay().poll(0), FIRST_PACKED), "a101a30045302e312e3001f602f6");
}

#[test]
fn write_is_written_packed() {
    let mut image = vec![0; 512];
    image.extend_from_slice(b"hello");
    let update = Update::to("0.1.1", &image);
    assert_eq!(told(&update, AT_512_PACKED), "a102a40045302e312e31010102190200034568656c6c6f");
    let Step::Write(block) = ask(&update, bytes(AT_512_PACKED)).unwrap().step else { panic!("no block") };
    assert_eq!((block.offset, block.length, block.patch), (512, 5, None));
}

#[test]
fn swap_is_written_packed() {
    let update = Update::to("0.1.1", &[0; 512]);
    let expected = format!("a103a30045302e312e310101025820{}", "09".repeat(32));
    assert_eq!(told(&update, AT_512_PACKED), expected);
}

#[test]
fn a_device_that_writes_names_is_told_with_names() {
    let expected = format!(
        "a1655772697465a4{}45302e312e31{}f6{}00{}4568656c6c6f",
        text("version"),
        text("correlation_id"),
        text("offset"),
        text("data")
    );
    assert_eq!(told(&Update::to("0.1.1", b"hello"), FIRST_NAMED), expected);
}

/// A short CBOR text.
fn text(text: &str) -> String {
    format!("{:02x}{}", 0x60 + text.len(), version::hex(text.as_bytes()))
}
