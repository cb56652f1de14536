//! `causeway firmware`: for those who publish firmware, and for those who look after what a gateway has of it.

mod list;
mod pull;
mod push;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::plugin::place::{Keep, Place, Stage, Trusting};
use super::{Exit, Failure, Output};
use crate::artifacts::{FetchError, Lock, Reference};
use crate::config::{FirmwareConfig, SignedAsConfig};
use crate::firmware::{KIND, Unready};

#[derive(Debug, Args)]
pub(super) struct Firmware {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Publish an image: in a registry, in a layout, or without either on this gateway.
    Push(Box<push::Push>),
    /// Verify and fetch an image: into what the gateway keeps, or into a file.
    Pull(pull::Pull),
    /// Have a running gateway fetch a release, and show how far that is.
    Ask(list::Ask),
    /// List the releases that a running gateway knows.
    List(list::List),
    /// Go through the steps of trust, and fail at the first that fails.
    Verify(verify::Verify),
    /// Say what a tag stands for on a running gateway, or approve what waits for that.
    Pin(list::Pin),
}

impl Firmware {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Push(push) => push.run(output),
            Verb::Pull(pull) => pull.run(output),
            Verb::Ask(ask) => ask.run(output),
            Verb::List(list) => list.run(output),
            Verb::Verify(verify) => verify.run(output),
            Verb::Pin(pin) => pin.run(output),
        }
    }
}

/// Who is trusted, and for what.
#[derive(Debug, Args)]
struct Signed {
    /// A public key that has to have signed it (PEM), in place of what the configuration trusts; may be repeated.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// The repository that the signature has to name, `host[:port]/repository`, when the reference is another one.
    #[arg(long, value_name = "REPOSITORY")]
    signed_as: Option<String>,
}

impl Signed {
    /// What a command that fetches works with.
    fn open(&self, place: &Place) -> Result<Stage, Failure> {
        place.open(Keep::Here, &Trusting::new(self.keys.clone(), self.signed_as.clone()))
    }

    /// What the configuration says of firmware, with what an argument says of the signature.
    fn settings(&self, stage: &Stage, reference: &str) -> FirmwareConfig {
        let mut config = stage.config.as_ref().map_or_else(FirmwareConfig::default, |config| config.firmware.clone());
        if let Some(repository) = self.signed_as.clone() {
            config.signed_as.insert(0, SignedAsConfig { below: reference.to_owned(), repository });
        }
        config
    }
}

/// What an operator reads, and the exit code by what can be done about it.
fn failure(why: &Unready) -> Failure {
    let exit = match why {
        Unready::Unavailable(_) | Unready::Fetching => Exit::Unavailable,
        Unready::Refused(_) | Unready::Unknown => Exit::No,
    };
    Failure::new(exit, why.to_string())
}

/// An image in a registry or a layout, exactly the one that it stands for; none if neither is meant.
fn resolve(stage: &Stage, reference: &str) -> Result<Option<Reference>, FetchError> {
    match reference.parse::<Reference>() {
        Ok(image @ (Reference::Registry(_) | Reference::Layout { .. })) => {
            let digest = stage.artifacts.resolve(&image, Lock::Use)?;
            Ok(Some(image.at(digest)))
        }
        _ => Ok(None),
    }
}

/// A reference as an argument; `name:version` is what the gateway knows, and a path begins where the command runs.
fn written(reference: &str) -> Result<String, Failure> {
    if crate::firmware::is_named(reference) {
        return Ok(reference.to_owned());
    }
    let parsed = reference.parse::<Reference>().map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let here = std::env::current_dir().map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
    match parsed {
        Reference::Builtin(_) => Err(Failure::new(Exit::Usage, format!("{reference}: no {KIND} is built in"))),
        other => Ok(other.resolved(&here).to_string()),
    }
}
