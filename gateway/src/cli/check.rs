//! `causeway check`: everything an operator can get wrong, found without starting anything.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::output::problem_json;
use super::{ConfigFile, Failure, Output};
use crate::admin::load_https;
use crate::artifacts::trust::Trust;
use crate::clock::Clock;
use crate::config::{Config, Problem};
use crate::dispatch;
use crate::mqtt::tls::Tls;
use crate::plugins;
use crate::policy::Policies;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let config = self.config.load()?;
        let found = Found::read(&config, &self.config.path());
        if !found.problems.is_empty() {
            return Err(Failure::problems(found.problems));
        }
        let warnings = found.warnings;
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

/// What the files that the configuration names are like.
#[derive(Default)]
struct Found {
    /// What keeps the gateway from starting.
    problems: Vec<Problem>,
    /// What the operator should know although it does not, or not yet.
    warnings: Vec<Problem>,
}

impl Found {
    fn read(config: &Config, file: &Path) -> Self {
        let mut found = Self::default();
        found.listeners(config, file);
        if let Some(https) = &config.admin.https {
            found.problems.extend(load_https(https).err().into_iter().flatten());
        }
        found.problems.extend(Trust::load(&config.trust).err().into_iter().flatten());
        let policies = Policies::load(config.policies.dir.as_deref());
        found.bindings(config, file, policies.as_ref().ok());
        found.problems.extend(policies.err().into_iter().flatten());
        found
    }

    /// Each plugin is compiled, must have been granted what it imports, and is asked about its configuration.
    fn bindings(&mut self, config: &Config, file: &Path, policies: Option<&Policies>) {
        let gateway = config.gateway.id.as_deref().unwrap_or_default();
        let engine = plugins::engine(&config.plugins);
        for (binding, problem) in dispatch::check(&config.bindings, engine, gateway, policies) {
            let (message, remedy) = problem.told();
            self.problems.push(Problem {
                file: file.to_owned(),
                line: None,
                key: format!("bindings: {}", binding.name),
                value: binding.plugin.clone(),
                message,
                remedy,
            });
        }
    }

    fn listeners(&mut self, config: &Config, file: &Path) {
        let clock = Clock::new(0);
        for listener in &config.listeners {
            if listener.plain.is_some() {
                self.warnings.push(Problem {
                    file: file.to_owned(),
                    line: None,
                    key: format!("listeners: {}", listener.name),
                    value: String::new(),
                    message: "is a plain listener: nobody's identity is proven there, and payloads can be read"
                        .to_owned(),
                    remedy: "policies decide what its clients may do; the shipped ones deny everything".to_owned(),
                });
            }
            let Some(tls) = listener.tls.clone() else { continue };
            match Tls::load(tls, clock.clone()) {
                Ok(tls) => self.warnings.extend(tls.warnings()),
                Err(found) => self.problems.extend(found),
            }
        }
    }
}
