//! What a device is told, whatever its language.

use causeway_plugin::dfu::{Block, Step};

use super::*;

/// What a device of the crate says that is at `offset` with `version`.
fn at(version: &str, offset: u32) -> String {
    format!(r#"{{"version":"0.1.0","mtu":512,"status":{{"version":"{version}","offset":{offset}}}}}"#)
}

fn step(update: &Update, status: &str) -> Step {
    ask(update, status).unwrap().step
}

fn block(offset: u64, length: u32) -> Step {
    Step::Write(Block { offset, length, patch: None })
}

#[test]
fn an_image_is_written_block_by_block_and_then_started() {
    assert_eq!(step(&update(), r#"{"version":"0.1.0","mtu":512}"#), block(0, 512));
    assert_eq!(step(&update(), &at("0.1.1", 512)), block(512, 100));
    assert_eq!(step(&update(), &at("0.1.1", 612)), Step::Swap);
    assert_eq!(step(&update(), r#"{"version":"0.1.1"}"#), Step::Sync);
}
