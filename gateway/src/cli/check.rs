//! `causeway check`: everything an operator can get wrong, found without starting anything.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::output::problem_json;
use super::{ConfigFile, Failure, Output};
use crate::admin::load_https;
use crate::artifacts::trust::Trust;
use crate::artifacts::{Access, Artifacts, Settings};
use crate::clock::Clock;
use crate::config::{Config, Problem};
use crate::dispatch;
use crate::mqtt::tls::Tls;
use crate::plugins::{self, Plugins};
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

/// Where plugins are tried: with what is in the gateway's cache, and without writing there.
struct Bench {
    plugins: Plugins,
    folder: PathBuf,
    /// The network is waited for here.
    _runtime: Runtime,
}

impl Bench {
    fn open(config: &Config) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("causeway-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut settings = Settings::of(config);
        let lockfile = folder.join("plugins.lock");
        // Without a lockfile there is nothing to copy.
        let _ = std::fs::copy(&settings.artifacts.lockfile, &lockfile);
        settings.artifacts.lockfile = lockfile;
        if !settings.artifacts.dir.is_dir() {
            settings.artifacts.dir = folder.join("artifacts");
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let artifacts = Artifacts::open(&settings, runtime.handle().clone(), Access::Shared);
        let artifacts = artifacts.map_err(|error| error.to_string())?;
        let plugins = Plugins::without_cache(plugins::engine(&config.plugins), Some(artifacts));
        Ok(Self { plugins: plugins.map_err(|error| error.to_string())?, folder, _runtime: runtime })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is left is in the folder for what is temporary.
        let _ = std::fs::remove_dir_all(&self.folder);
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
        let bench = match Bench::open(config) {
            Ok(bench) => bench,
            Err(message) => {
                let (key, remedy) = ("plugins".to_owned(), "see what it says; no plugin was tried".to_owned());
                let (file, value) = (file.to_owned(), String::new());
                return self.problems.push(Problem { file, line: None, key, value, message, remedy });
            }
        };
        for (binding, problem) in dispatch::check(&config.bindings, &bench.plugins, gateway, policies) {
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
        for (canary, binding, problem) in dispatch::check_canaries(&config.bindings, &bench.plugins, gateway, policies)
        {
            let (message, remedy) = problem.told();
            self.warnings.push(Problem {
                file: file.to_owned(),
                line: None,
                key: format!("bindings: {}: canary", binding.name),
                value: canary.plugin.clone(),
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
