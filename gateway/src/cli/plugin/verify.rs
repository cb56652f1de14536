//! The steps of trust, one after the other, as a gateway goes through them.

use std::path::Path;

use causeway_host::Outline;
use clap::Args;
use serde_json::{Value as Json, json};

use super::place::{Keep, Place, Stage, Trusting, failure};
use crate::artifacts::{Because, Digest, FetchError, Lock, Reference, Wanted};
use crate::cli::output::printable;
use crate::cli::{Exit, Failure, Output};
use crate::config::Size;
use crate::plugins::component_artifact;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The plugin: `oci://...`, `oci-layout://...`, or a file.
    reference: Reference,
    #[command(flatten)]
    trusting: Trusting,
    #[command(flatten)]
    place: Place,
}

/// Prints the steps as they are taken.
pub(in crate::cli) struct Steps<'o> {
    output: &'o mut Output,
    taken: Vec<Json>,
}

impl Verify {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let stage = self.place.open(Keep::Here, &self.trusting)?;
        let mut steps = Steps::new(output);
        let done = self.steps(&stage, &mut steps);
        let (output, taken) = steps.taken();
        if output.is_json() {
            output.json(&json!({ "reference": self.reference.to_string(), "ok": done.is_ok(), "steps": taken }));
        }
        done
    }
}

impl<'o> Steps<'o> {
    pub(in crate::cli) const fn new(output: &'o mut Output) -> Self {
        Self { output, taken: Vec::new() }
    }

    /// What was printed to, and the steps that were taken.
    pub(in crate::cli) fn taken(self) -> (&'o mut Output, Vec<Json>) {
        (self.output, self.taken)
    }
    pub(in crate::cli) fn passed(&mut self, step: &str, text: &str) {
        self.tell(step, true, text);
    }

    pub(in crate::cli) fn signed(&mut self, by: Option<&str>) {
        match by {
            Some(key) => self.passed("signature", &format!("of the key `{key}`")),
            None => self.passed("signature", "none, and none is asked for (`trust.unsigned`)"),
        }
    }

    /// The last line, and how the command ends.
    pub(in crate::cli) fn failed(&mut self, step: &str, failure: Failure) -> Failure {
        self.tell(step, false, failure.message());
        failure
    }

    fn tell(&mut self, step: &str, ok: bool, text: &str) {
        if !self.output.is_json() {
            let failed = if ok { "" } else { "failed: " };
            self.output.line(format_args!("{step:10} {failed}{text}"));
        }
        self.taken.push(json!({ "step": step, "ok": ok, "text": text }));
    }
}

impl Verify {
    fn steps(&self, stage: &Stage, steps: &mut Steps<'_>) -> Result<(), Failure> {
        let wanted = stage.wanted(self.reference.clone(), &self.trusting);
        let bytes = match &self.reference {
            Reference::Builtin(name) => self.builtin(name, steps)?,
            Reference::File(file) => file_steps(stage, file, &wanted, steps)?,
            Reference::Registry(_) | Reference::Layout { .. } => self.artifact(stage, &wanted, steps)?,
        };
        let outline = Outline::read(&bytes).map_err(|error| steps.failed("plugin", self.no(&error)))?;
        let Some(kind) = outline.kind() else {
            return Err(steps.failed("plugin", self.no(&"it is of no kind that this gateway knows")));
        };
        if let Some(import) = outline.refused().next() {
            let reason = format!("it imports {import}, which a plugin of kind {kind} is not offered");
            return Err(steps.failed("plugin", self.no(&reason)));
        }
        let imports: Vec<_> = outline.capabilities().collect();
        let imports = if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") };
        steps.passed("plugin", &format!("{kind}; imports {imports}"));
        Ok(())
    }

    fn artifact(&self, stage: &Stage, wanted: &Wanted, steps: &mut Steps<'_>) -> Result<Vec<u8>, Failure> {
        let digest = stage.artifacts.resolve(&self.reference, Lock::Use);
        let digest = digest.map_err(|error| steps.failed("resolved", failure(&error)))?;
        steps.passed("resolved", &digest.to_string());
        let trusted = stage.artifacts.manifest(wanted);
        let trusted = trusted.map_err(|error| steps.failed(judged(&error), failure(&error)))?;
        steps.signed(trusted.signed_by.as_deref());
        let version = trusted.manifest.version().map(|version| format!("{}, ", printable(version))).unwrap_or_default();
        steps.passed("manifest", &format!("{version}{}", Size(trusted.manifest.to_bytes().len() as u64)));
        let layer = component_artifact::component(&trusted.manifest);
        let layer = layer.map_err(|error| steps.failed("component", self.no(&error)))?;
        let blob = stage.artifacts.blob(&trusted, layer, stage.most());
        let blob = blob.map_err(|error| steps.failed("component", failure(&error)))?;
        let read = |error| Failure::new(Exit::Io, format!("{}: {error}", stage.artifacts.folder().display()));
        let bytes = blob.bytes().map_err(|error| steps.failed("component", read(error)))?;
        steps.passed("component", &format!("{}, {}", Size(layer.size), layer.digest));
        Ok(bytes)
    }

    fn builtin(&self, name: &str, steps: &mut Steps<'_>) -> Result<Vec<u8>, Failure> {
        let names = || format!("there is {}", causeway_plugins::NAMES.join(", "));
        let bytes = causeway_plugins::builtin(name).ok_or_else(|| steps.failed("resolved", self.no(&names())))?;
        steps.passed("resolved", &format!("{}, part of the program", Digest::of(bytes)));
        Ok(bytes.to_vec())
    }

    fn no(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::new(Exit::No, format!("{} is refused: {why}", self.reference))
    }
}

/// A file is its own component, with a signature beside it.
fn file_steps(stage: &Stage, file: &Path, wanted: &Wanted, steps: &mut Steps<'_>) -> Result<Vec<u8>, Failure> {
    let read = stage.artifacts.file(file, wanted, stage.most());
    let read = read.map_err(|error| {
        let step = if judged(&error) == "signature" { "signature" } else { "resolved" };
        steps.failed(step, failure(&error))
    })?;
    steps.passed("resolved", &format!("{}, {}", read.digest, Size(read.bytes.len() as u64)));
    steps.signed(read.signed_by.as_deref());
    Ok(read.bytes)
}

/// The step that a manifest was refused at.
pub(in crate::cli) fn judged(error: &FetchError) -> &'static str {
    match error {
        FetchError::Refused { because: Because::Unsigned | Because::Signature | Because::Revoked, .. } => "signature",
        _ => "manifest",
    }
}
