//! What a device is told, whatever its language.

use causeway_plugin::dfu::{Block, ReadError, Reason, Step};

use super::*;

/// What a device says that has `offset` bytes of `version`.
fn at(version: &str, offset: u32) -> String {
    format!(r#"{{"version":"0.1.0","mtu":512,"status":{{"version":"{version}","offset":{offset}}}}}"#)
}

fn step(update: &Update, status: impl Into<Vec<u8>>) -> Step {
    ask(update, status).unwrap().step
}

fn block(offset: u64, length: u32) -> Step {
    Step::Write(Block { offset, length, patch: None })
}

fn patch_block(offset: u64, length: u32) -> Step {
    Step::Write(Block { offset, length, patch: Some("zdiff".to_owned()) })
}

const FIRST: &str = r#"{"version":"0.1.0","mtu":512}"#;

#[test]
fn an_image_is_written_block_by_block_and_then_started() {
    assert_eq!(step(&update(), FIRST), block(0, 512));
    assert_eq!(step(&update(), at("0.1.1", 512)), block(512, 100));
    assert_eq!(step(&update(), at("0.1.1", 612)), Step::Swap);
    assert_eq!(step(&update(), r#"{"version":"0.1.1"}"#), Step::Sync);
}

#[test]
fn an_image_without_a_byte_is_started_at_once() {
    assert_eq!(step(&Update::to("0.1.1", b""), FIRST), Step::Swap);
}

#[test]
fn an_image_is_not_started_before_it_is_allowed() {
    let update = update().assignment(|assignment| assignment.swap = false);
    assert_eq!(step(&update, at("0.1.1", 512)), block(512, 100));
    assert_eq!(step(&update, at("0.1.1", 612)), Step::Wait);
}

#[test]
fn orders_to_hold_are_to_wait_and_orders_to_stay_are_sync() {
    assert_eq!(step(&Update::hold("paused"), at("0.1.1", 512)), Step::Wait);
    assert_eq!(step(&Update::stay(), at("0.1.1", 512)), Step::Sync);
}

#[test]
fn a_block_has_the_size_that_the_device_says_within_that_of_the_configuration() {
    let plugin: Dfu = Update::configure(r#"{"mtu":64,"max_mtu":128}"#).unwrap();
    let length = |status: &str| match update().ask(&plugin, status).unwrap().step {
        Step::Write(block) => block.length,
        other => panic!("{other:?}"),
    };
    assert_eq!(length(r#"{"version":"0.1.0"}"#), 64);
    assert_eq!(length(r#"{"version":"0.1.0","mtu":1}"#), 1);
    assert_eq!(length(FIRST), 128);
    assert_eq!(length(r#"{"version":"0.1.0","mtu":4294967295}"#), 128);
}

#[test]
fn another_version_that_is_in_the_device_is_begun_anew() {
    assert_eq!(step(&update(), at("0.1.2", 512)), block(0, 512));
}

#[test]
fn an_offset_that_is_no_edge_of_a_block_is_where_the_next_one_begins() {
    assert_eq!(step(&update(), at("0.1.1", 1)), block(1, 512));
    assert_eq!(step(&update(), at("0.1.1", 611)), block(611, 1));
}

#[test]
fn a_device_that_has_more_than_there_is_starts_over() {
    assert_eq!(step(&update(), at("0.1.1", 613)), block(0, 512));
    assert_eq!(step(&update(), at("0.1.1", u32::MAX)), block(0, 512));
}

#[test]
fn a_device_whose_bytes_are_worth_nothing_starts_over() {
    let update = update().assignment(|assignment| assignment.restart = true);
    assert_eq!(step(&update, at("0.1.1", 512)), block(0, 512));
    assert_eq!(step(&update, at("0.1.1", 612)), block(0, 512));
}

#[test]
fn an_image_that_cannot_be_read_now_is_waited_for() {
    let update = update().failing(ReadError::Unavailable("registry down".to_owned()));
    assert_eq!(step(&update, FIRST), Step::Wait);
}

#[test]
fn an_image_that_may_not_be_read_is_a_refusal_with_which_the_device_waits() {
    let update = update().failing(ReadError::Denied("not yours".to_owned()));
    let refusal = ask(&update, FIRST).unwrap_err();
    assert_eq!(refusal.reason, Reason::Rejected("not yours".to_owned()));
    assert_eq!(refusal.command.unwrap(), br#"{"op":"WAIT","poll":300}"#);
}

#[test]
fn an_image_that_is_shorter_than_it_is_said_to_be_is_a_refusal() {
    let update = update().assignment(|assignment| assignment.size = 1000);
    assert_eq!(step(&update, at("0.1.1", 512)), block(512, 100));
    let refusal = ask(&update, at("0.1.1", 612)).unwrap_err();
    assert!(matches!(&refusal.reason, Reason::Unavailable(text) if text.contains("no block")), "{refusal:?}");
}

#[test]
fn a_device_that_takes_no_data_is_refused_only_when_there_is_some() {
    let status = r#"{"version":"0.1.0","mtu":0,"correlation_id":7}"#;
    assert_eq!(step(&Update::stay(), status), Step::Sync);
    let refusal = ask(&update(), status).unwrap_err();
    assert!(matches!(&refusal.reason, Reason::Malformed(text) if text.starts_with("`mtu` is 0")), "{refusal:?}");
    assert_eq!(refusal.command.unwrap(), br#"{"op":"WAIT","correlation_id":7,"poll":300}"#);
}

/// An update for which there is a patch of 600 bytes.
fn patched() -> Update {
    update().patch("0.1.0", "zdiff", &[7; 600])
}

fn patching(offset: u32) -> String {
    format!(
        r#"{{"version":"0.1.0","mtu":512,"patches":["bdiff","zdiff"],
            "status":{{"version":"0.1.1","offset":{offset},"patch":"zdiff"}}}}"#
    )
}

#[test]
fn a_device_that_says_so_gets_a_patch() {
    assert_eq!(step(&patched(), FIRST), block(0, 512));
    let first = r#"{"version":"0.1.0","mtu":512,"patches":["bdiff","zdiff"]}"#;
    assert_eq!(step(&patched(), first), patch_block(0, 512));
    assert!(String::from_utf8(ask(&patched(), first).unwrap().command).unwrap().ends_with(r#","patch":"zdiff"}"#));
    assert_eq!(step(&patched(), patching(512)), patch_block(512, 88));
    assert_eq!(step(&patched(), patching(600)), Step::Swap);
}

#[test]
fn a_device_gets_the_image_when_there_is_no_patch_for_it() {
    assert_eq!(step(&patched(), r#"{"version":"0.0.9","mtu":512,"patches":["zdiff"]}"#), block(0, 512));
    assert_eq!(step(&patched(), r#"{"version":"0.1.0","mtu":512,"patches":["bdiff"]}"#), block(0, 512));
}

#[test]
fn a_patch_that_is_gone_leaves_the_image_from_its_beginning() {
    assert_eq!(step(&update(), patching(512)), block(0, 512));
}

#[test]
fn what_began_as_an_image_stays_one() {
    let status = r#"{"version":"0.1.0","mtu":512,"patches":["zdiff"],"status":{"version":"0.1.1","offset":16}}"#;
    assert_eq!(step(&patched(), status), block(16, 512));
}

#[test]
fn a_patch_that_is_being_made_is_waited_for() {
    let update = patched().failing(ReadError::Unavailable("being made".to_owned()));
    assert_eq!(step(&update, patching(512)), Step::Wait);
}
