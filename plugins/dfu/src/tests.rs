//! The plugin as devices see it: bytes in, bytes out.

mod decisions;
mod device;
mod dialects;
mod malformed;
mod properties;
mod vectors;

use causeway_plugin::dfu::{Answer, Refusal};
use causeway_plugin::testing::Update;

use super::*;

/// An update to 0.1.1, whose image is 612 bytes that count.
fn update() -> Update {
    Update::to("0.1.1", &image())
}

fn image() -> Vec<u8> {
    (0..612_u32).map(|at| (at % 251) as u8).collect()
}

fn plugin() -> Dfu {
    Update::configure("{}").unwrap()
}

fn ask(update: &Update, payload: impl Into<Vec<u8>>) -> Result<Answer, Refusal> {
    update.ask(&plugin(), payload)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|digit| char::from(digit).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What a device is told when it says this, in hexadecimal digits.
fn told(update: &Update, status: &str) -> String {
    version::hex(&ask(update, bytes(status)).unwrap().command)
}
