//! The built-in DFU plugin: reads what devices say about their firmware and writes what they are told.
//!
//! Three families of devices are understood, told apart by each message ([`Language`]), and answered as they speak. One
//! status gives one command; nothing is kept between them. Which device gets which release is not decided here, and no
//! image is held: blocks are read from whoever calls.

mod command;
mod decision;
mod item;
mod language;
mod settings;
mod status;
mod tree;
mod version;

use causeway_plugin::Failure;
use causeway_plugin::dfu::{Answer, Firmware, Handler, Refusal, Request, Setup};

use command::Command;
use decision::Decision;
pub use language::{Language, Preference};
pub use settings::Settings;
use status::Said;

/// The plugin.
#[derive(Debug)]
pub struct Dfu(Settings);

impl Handler for Dfu {
    fn configure(setup: &Setup) -> Result<Self, String> {
        Settings::from_json(&setup.config).map(Self)
    }

    fn handle<F: Firmware + ?Sized>(&self, request: &Request, firmware: &F) -> Result<Answer, Refusal> {
        handle(&self.0, request, firmware)
    }
}

/// Answers one status.
///
/// # Errors
/// It is not a status, asks for what cannot be, or depends on what cannot be had. Where the device's language is known,
/// it is told to wait.
pub fn handle<F: Firmware + ?Sized>(settings: &Settings, request: &Request, firmware: &F) -> Result<Answer, Refusal> {
    let said = match status::read(&request.payload, settings, Preference::of(&request.device)) {
        Ok(said) => said,
        Err(error) => {
            return Err(refusal(request, error.language, error.correlation, Failure::Malformed(error.reason)));
        }
    };
    let refused = |reason| refusal(request, Some(said.language), said.correlation, reason);
    let decision = decision::decide(settings, &request.orders, &said, firmware).map_err(refused)?;
    let command = told(&decision, request, &said).encode(said.language, said.correlation);
    let content_type = content_type(request, said.language);
    Ok(Answer { step: decision.step(), command, content_type, status: said.status })
}

/// The words for what was decided.
fn told<'a>(decision: &'a Decision<'a>, request: &'a Request, said: &'a Said) -> Command<'a> {
    let target = |version: &'a str| version::bytes_of(version, said.binary);
    match decision {
        Decision::Wait => Command::Wait { poll: request.poll },
        Decision::Sync => Command::Sync { version: &said.version, poll: request.poll },
        Decision::Write { version, offset, data, patch } => {
            Command::Write { version: target(version), offset: *offset, data, patch: patch.as_deref() }
        }
        Decision::Swap { version, checksum } => Command::Swap { version: target(version), checksum },
    }
}

/// A refusal with which the device is told to wait, if its language is known.
fn refusal(request: &Request, language: Option<Language>, correlation: Option<u32>, reason: Failure) -> Refusal {
    let refusal = Refusal::new(reason);
    let Some(language) = language else { return refusal };
    let wait = Command::Wait { poll: request.poll }.encode(language, correlation);
    refusal.command(wait, content_type(request, language))
}

/// A command says what it is if the status did.
fn content_type(request: &Request, language: Language) -> Option<String> {
    request.content_type.as_ref().map(|_| language.content_type().to_owned())
}

causeway_plugin::export_dfu!(Dfu);

#[cfg(test)]
mod tests;
