//! Plugins on a stick, for gateways without a registry.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use super::named::plugins;
use super::place::{Place, Trusting, failure};
use crate::artifacts::{Carried, Reference, Wanted};
use crate::cli::show::{bytes, rows, text};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The folder; it becomes an OCI image layout, or gets more into one.
    folder: PathBuf,
    /// What to carry out; without any reference, all that the bindings of the configuration use.
    references: Vec<Reference>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The folder that `export` has filled.
    folder: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Export {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let (stage, config) = self.place.open_configured()?;
        let references = if self.references.is_empty() { used(&config) } else { self.references };
        if references.is_empty() {
            return Err(Failure::new(Exit::Usage, "no binding uses an artifact; name what to carry out"));
        }
        let wanted: Vec<Wanted> =
            references.into_iter().map(|reference| stage.wanted(reference, &Trusting::default())).collect();
        let carried = stage.artifacts.export(&wanted, &self.folder).map_err(|error| failure(&error))?;
        tell(&carried, output);
        Ok(())
    }
}

impl Import {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let (stage, _) = self.place.open_configured()?;
        let wanted = |reference| stage.wanted(reference, &Trusting::default());
        let carried = stage.artifacts.import(&self.folder, wanted).map_err(|error| failure(&error))?;
        tell(&carried, output);
        Ok(())
    }
}

/// The artifacts of all bindings and of their canaries, each once.
fn used(config: &Config) -> Vec<Reference> {
    let references = plugins(config).map(|named| named.reference);
    let mut images: Vec<Reference> =
        references.filter(|reference| matches!(reference, Reference::Registry(_) | Reference::Layout { .. })).collect();
    images.sort();
    images.dedup();
    images
}

fn tell(carried: &[Carried], output: &mut Output) {
    let shown = carried.iter().map(|Carried { reference, digest, bytes, signed_by }| {
        json!({ "reference": reference.to_string(), "digest": digest.to_string(), "bytes": bytes, "signed_by": signed_by })
    });
    let shown: Vec<Json> = shown.collect();
    if output.is_json() {
        return output.json(&json!({ "plugins": shown }));
    }
    let cells = |item: &Json| {
        vec![text(item, "reference"), bytes(item, "bytes"), text(item, "signed_by"), text(item, "digest")]
    };
    output.table(&["reference", "size", "signed by", "digest"], &rows(&shown, cells));
}
