//! What a running gateway knows of firmware, and what it is told about tags.

use clap::Args;
use serde_json::{Value as Json, json};

use super::written;
use crate::cli::client::Client;
use crate::cli::show::{bytes, plain, rows, text};
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, Args)]
pub(super) struct Ask {
    /// Where the release is found, or its `name:version`.
    reference: String,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, Args)]
pub(super) struct Pin {
    /// The tag, as `list` shows it: `oci://host/repository:tag` or `oci-layout://folder:tag`.
    reference: String,
    /// What it is to stand for; without it what waits for approval, or else what it stands for where it is found now.
    digest: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl List {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let listed = self.client.get(&["v1", "firmware"], &[])?;
        if output.is_json() {
            output.json(&listed);
            return Ok(());
        }
        let cells = |item: &Json| {
            let [name, version, state, signed_by] =
                ["name", "version", "state", "signed_by"].map(|key| text(item, key));
            let size = if item["bytes"].is_null() { "-".to_owned() } else { bytes(item, "bytes") };
            let cached = if item["cached"] == true { "yes" } else { "no" };
            vec![name, version, size, state, cached.to_owned(), signed_by, text(item, "reference")]
        };
        let items = listed.as_array().map_or(&[][..], Vec::as_slice);
        output.table(&["name", "version", "size", "state", "cached", "signed by", "reference"], &rows(items, cells));
        for item in items {
            let reference = text(item, "reference");
            if !item["waiting"].is_null() {
                let (version, digest) = (text(&item["waiting"], "version"), text(&item["waiting"], "digest"));
                output.line(format_args!(
                    "\n{reference} stands for {version} now, which waits for approval:\n  causeway firmware pin {reference} {digest}"
                ));
            }
            if !item["problem"].is_null() {
                output.line(format_args!("\n{}", told(&reference, &plain(&item["problem"]))));
            }
        }
        Ok(())
    }
}

impl Ask {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let reference = written(&self.reference)?;
        let body = json!({ "reference": reference });
        let asked = self.client.change("POST", &["v1", "firmware", "pull"], Some(&body))?;
        let state = text(&asked, "state");
        if output.is_json() {
            output.json(&asked);
        }
        let exit = match state.as_str() {
            "refused" | "unknown" => Exit::No,
            "unavailable" => Exit::Unavailable,
            _ => {
                if !output.is_json() {
                    output.line(format_args!("{reference}: {state}"));
                }
                return Ok(());
            }
        };
        Err(Failure::new(exit, told(&reference, &plain(&asked["problem"]))))
    }
}

impl Pin {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let reference = written(&self.reference)?;
        let body = json!({ "reference": reference, "digest": self.digest });
        let pinned = self.client.change("POST", &["v1", "firmware", "pin"], Some(&body))?;
        if output.is_json() {
            output.json(&pinned);
        } else {
            let [name, version, digest] = ["name", "version", "digest"].map(|key| text(&pinned, key));
            output.line(format_args!("{reference} is {name}:{version} from now on: {digest}"));
        }
        Ok(())
    }
}

/// A problem names what it is about, as most do.
fn told(reference: &str, problem: &str) -> String {
    if problem.starts_with(reference) { problem.to_owned() } else { format!("{reference}: {problem}") }
}
