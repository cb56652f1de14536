//! `causeway check`: everything an operator can get wrong, found without starting anything.

use clap::Args;
use serde_json::json;

use super::output::problem_json;
use super::{ConfigFile, Failure, Output};
use crate::clock::Clock;
use crate::config::{Config, Problem};
use crate::mqtt::tls::Tls;
use crate::policy::Policies;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let config = self.config.load()?;
        let warnings = files(&config).map_err(Failure::problems)?;
        if output.is_json() {
            let warnings: Vec<_> = warnings.iter().map(problem_json).collect();
            output.json(&json!({ "ok": true, "warnings": warnings }));
        } else {
            for warning in &warnings {
                output.line(format_args!("warning: {warning}"));
            }
            let (listeners, bindings) = (config.listeners.len(), config.bindings.len());
            output.line(format_args!(
                "{}: ok ({listeners} listeners, {bindings} bindings)",
                self.config.path().display()
            ));
        }
        Ok(())
    }
}

/// Reads the files that the configuration names, as a start would; what is wrong only from some date on is a warning.
fn files(config: &Config) -> Result<Vec<Problem>, Vec<Problem>> {
    let (mut warnings, mut problems) = (Vec::new(), Vec::new());
    let clock = Clock::new(0);
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.clone()) {
        match Tls::load(tls, clock.clone()) {
            Ok(tls) => warnings.extend(tls.warnings()),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(Policies::load(config.policies.dir.as_deref()).err().into_iter().flatten());
    if problems.is_empty() { Ok(warnings) } else { Err(problems) }
}
