//! Fetches a plugin, if it is trusted: into what the gateway keeps, or into a file.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::place::{Keep, Place, Trusting, failure};
use crate::artifacts::Reference;
use crate::cli::{Exit, Failure, Output};
use crate::plugins::component_artifact;

#[derive(Debug, Args)]
pub(super) struct Pull {
    /// The plugin: `oci://...` or `oci-layout://...`.
    reference: Reference,
    /// Write the component into this file; without it the gateway keeps it.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    trusting: Trusting,
    #[command(flatten)]
    place: Place,
}

impl Pull {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        if matches!(self.reference, Reference::File(_) | Reference::Builtin(_)) {
            return Err(Failure::new(Exit::Usage, format!("{}: it is here already", self.reference)));
        }
        let stage = self.place.open(Keep::Here, &self.trusting)?;
        if stage.config.is_none() && self.to.is_none() {
            let text =
                "there is no configuration, so no gateway would keep it; name it with `-c`, or a file with `--to`";
            return Err(Failure::new(Exit::Usage, text));
        }
        let wanted = stage.wanted(self.reference.clone(), &self.trusting);
        let trusted = stage.artifacts.manifest(&wanted).map_err(|error| failure(&error))?;
        let layer = component_artifact::component(&trusted.manifest)
            .map_err(|error| Failure::new(Exit::No, format!("{} is refused: {error}", self.reference)))?;
        let blob = stage.artifacts.blob(&trusted, layer, stage.most()).map_err(|error| failure(&error))?;
        if let Some(file) = &self.to {
            let bytes = blob.bytes().map_err(|error| io(file, &error))?;
            place(file, &bytes).map_err(|error| io(file, &error))?;
        }
        let pinned = self.reference.clone().at(trusted.digest);
        if output.is_json() {
            output.json(&json!({
                "reference": pinned.to_string(),
                "digest": trusted.digest.to_string(),
                "component": layer.digest.to_string(),
                "bytes": layer.size,
                "signed_by": trusted.signed_by,
                "file": self.to,
            }));
        } else {
            output.line(pinned);
        }
        Ok(())
    }
}

/// The file appears under its name only when it is whole.
fn place(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".part");
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, file).inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

fn io(file: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Io, format!("{}: {error}", file.display()))
}
