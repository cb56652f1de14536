//! `causeway plugin set`: a running binding gets another plugin, or another canary, without a restart and without a change
//! of the configuration.

use std::path::Path;

use clap::Args;
use serde_json::{Value as Json, json};

use super::super::binding::show_swap;
use super::super::client::Client;
use super::super::{Exit, Failure, Output};
use crate::artifacts::{Reference, reference::ReferenceError};
use crate::cli::show;

#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    client: Client,
    /// The binding.
    binding: String,
    /// Where the plugin comes from: `builtin:telemetry`, `oci://host/repository:tag`, `oci-layout://folder:tag`, or the path of a component file. That of the configuration takes an earlier choice back.
    #[arg(required_unless_present = "no_shadow")]
    reference: Option<String>,
    /// The repository that the plugin's signature must name, when it is found elsewhere.
    #[arg(long, value_name = "HOST/REPOSITORY")]
    signed_as: Option<String>,
    /// The plugin may be older than what ran before.
    #[arg(long)]
    allow_downgrade: bool,
    /// Have the plugin watched beside the one that runs, without any effect: as the binding's canary.
    #[arg(long, conflicts_with = "allow_downgrade")]
    shadow: bool,
    /// Take the binding's canary away.
    #[arg(long, conflicts_with_all = ["reference", "signed_as", "allow_downgrade", "shadow"])]
    no_shadow: bool,
}

impl Set {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let reference = self.reference.as_deref().map(absolute).transpose()?;
        let mut asked = json!({ "reference": reference, "signed_as": self.signed_as });
        let (method, of) = match (self.shadow, self.no_shadow) {
            (true, _) => ("POST", "canary"),
            (_, true) => ("DELETE", "canary"),
            (false, false) => ("POST", "plugin"),
        };
        if of == "plugin" {
            asked["allow_downgrade"] = self.allow_downgrade.into();
        }
        let body = reference.is_some().then_some(&asked);
        let binding = self.client.change(method, &["v1", "bindings", &self.binding, of], body)?;
        if output.is_json() {
            output.json(&binding);
        } else if of == "plugin" {
            show_swap(&self.binding, &binding, output);
        } else {
            show_canary(&self.binding, &binding, output);
        }
        Ok(())
    }
}

/// What came of an order to have a canary, or none.
fn show_canary(name: &str, binding: &Json, output: &mut Output) {
    let outcome = show::text(binding, "outcome");
    match (outcome.as_str(), binding.get("canary").filter(|canary| canary.is_object())) {
        ("preparing", _) => {
            output.line(format_args!("{name}: being prepared; `causeway plugin diff {name}` shows what comes of it"));
        }
        ("watched", Some(canary)) => {
            let [plugin, state] = ["plugin", "state"].map(|key| show::text(canary, key));
            output.line(format_args!("{name}: canary {state}, {plugin}"));
        }
        _ => output.line(format_args!("{name}: no canary")),
    }
}

/// The gateway does not know where this command was typed.
fn absolute(reference: &str) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("{reference}: {error}"));
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| wrong(&error));
    let parsed = reference.parse().map_err(|error: ReferenceError| Failure::new(Exit::Usage, error.to_string()))?;
    Ok(match parsed {
        Reference::File(path) => absolute(&path)?.to_string_lossy().into_owned(),
        Reference::Layout { path, tag, digest } => {
            Reference::Layout { path: absolute(&path)?, tag, digest }.to_string()
        }
        there => there.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_where_the_command_was_typed() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (typed, expected) in [
            ("builtin:telemetry", "builtin:telemetry".to_owned()),
            ("oci://host/repository:1.2", "oci://host/repository:1.2".to_owned()),
            ("file:///a/b.wasm", "/a/b.wasm".to_owned()),
            ("b.wasm", format!("{here}/b.wasm")),
            ("oci-layout://stick:1.2", format!("oci-layout://{here}/stick:1.2")),
        ] {
            assert_eq!(absolute(typed).unwrap(), expected);
        }
    }
}
