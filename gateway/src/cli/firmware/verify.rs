//! The steps of trust, one after the other, as a gateway goes through them.

use clap::Args;
use serde_json::json;

use super::{Signed, failure, resolve, written};
use crate::cli::output::printable;
use crate::cli::plugin::place::{self, Place, Stage};
use crate::cli::plugin::verify::{Steps, judged};
use crate::cli::{Failure, Output};
use crate::config::Size;
use crate::firmware::{self, KIND};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The release: `oci://…`, `oci-layout://…`, a file, or `name:version` of what the gateway knows.
    reference: String,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let stage = self.signed.open(&self.place)?;
        let reference = written(&self.reference)?;
        let mut steps = Steps::new(output);
        let done = self.steps(&stage, &reference, &mut steps);
        let (output, taken) = steps.taken();
        if output.is_json() {
            output.json(&json!({ "reference": reference, "ok": done.is_ok(), "steps": taken }));
        }
        done
    }

    fn steps(&self, stage: &Stage, reference: &str, steps: &mut Steps<'_>) -> Result<(), Failure> {
        let config = self.signed.settings(stage, reference);
        // A tag is looked at as what it stands for now, so that looking approves of nothing.
        let mut exact = reference.to_owned();
        let resolved = resolve(stage, reference);
        if let Some(image) = resolved.map_err(|error| steps.failed("resolved", place::failure(&error)))? {
            steps.passed("resolved", &image.digest().map(|digest| digest.to_string()).unwrap_or_default());
            exact = image.to_string();
            let wanted = firmware::wanted(&config, image);
            let trusted = stage.artifacts.manifest(&wanted);
            trusted.map_err(|error| steps.failed(judged(&error), place::failure(&error)))?;
        }
        let fetched = firmware::fetch(&config, &stage.artifacts, &exact);
        let (known, _) = fetched.map_err(|why| steps.failed(KIND, failure(&why)))?;
        steps.signed(known.signed_by.as_deref());
        let release = &known.release;
        let (name, version) = (printable(&release.name), printable(&release.version));
        steps.passed(KIND, &format!("{name} {version}, {}", known.said.source.word()));
        if !release.from.is_empty() {
            steps.passed("from", &release.from.iter().map(|from| printable(from)).collect::<Vec<_>>().join(", "));
        }
        steps.passed("image", &format!("{}, {}", Size(release.size), release.image));
        Ok(())
    }
}
