//! The command line: one noun, one file; each reads its arguments, does one thing and prints.
//!
//! Nouns that look at a running gateway are clients of its admin socket and hold no logic of their own.
//! Every noun takes `-o json`.

mod audit;
mod binding;
mod campaign;
mod certs;
mod check;
mod client;
mod compile;
mod config;
mod deadletters;
mod demo;
mod device;
mod dfu;
mod exit;
mod firmware;
mod output;
mod plugin;
mod policy;
mod record;
mod reload;
mod run;
mod session;
mod show;
mod status;
mod store;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::exit::{Exit, Failure};
pub(crate) use self::output::{Format, Output};

/// An edge gateway: MQTT with mutual TLS in, WebAssembly plugins decide.
#[derive(Debug, Parser)]
#[command(name = "causeway", version)]
struct Cli {
    #[command(subcommand)]
    noun: Noun,
    #[command(flatten)]
    everywhere: Everywhere,
}

/// What every noun takes.
#[derive(Debug, Args)]
struct Everywhere {
    /// How to print: text for people, json for programs.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Start a gateway with a throw-away PKI and three vehicles, and show what arrives.
    Demo(demo::Demo),
    /// Run the gateway until SIGTERM or Ctrl-C.
    Run(run::Run),
    /// Validate configuration, certificates and policies without starting.
    Check(check::Check),
    /// Show the effective configuration or its reference; make an operator's token.
    Config(config::Config),
    /// Make, sign, revoke and show certificates.
    Certs(certs::Certs),
    /// Check and test policies, and explain what they decide.
    Policy(policy::Policy),
    /// Show how a running gateway is.
    Status(status::Status),
    /// List the sessions of a running gateway.
    Session(session::Session),
    /// List, add, change and remove devices.
    Device(device::Device),
    /// Show what devices run and what becomes of their updates; forgive a device.
    Dfu(dfu::Dfu),
    /// Make, show, watch and stop campaigns: releases for sets of devices, wave by wave.
    Campaign(campaign::Campaign),
    /// Record what a plugin is asked and answers.
    Record(record::Record),
    /// Build, sign, push and verify plugins, and run recorded messages through them.
    Plugin(plugin::Plugin),
    /// Publish, pull, verify and pin the firmware that devices are updated to.
    Firmware(firmware::Firmware),
    /// List the bindings, and resume one that is parked.
    Binding(binding::Binding),
    /// Query what the plugins stored.
    Store(store::Store),
    /// List, show, send again and drop messages that no plugin could handle.
    #[command(name = "deadletters")]
    DeadLetters(deadletters::DeadLetters),
    /// List who changed what.
    Audit(audit::Audit),
    /// Have certificates and policies read again, as by SIGHUP.
    Reload(reload::Reload),
    /// Compile a component for the gateway that has started this.
    #[command(name = crate::plugins::COMPILE, hide = true)]
    Compile(compile::Compile),
}

/// Reads the arguments, does what they say and returns how it went.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(usage) => return exit::usage(&usage),
    };
    let mut output = Output::standard(cli.everywhere.output);
    let done = match cli.noun {
        Noun::Demo(demo) => demo.run(&mut output),
        Noun::Run(run) => run.run(),
        Noun::Check(check) => check.run(&mut output),
        Noun::Config(config) => config.run(&mut output),
        Noun::Certs(certs) => certs.run(&mut output),
        Noun::Policy(policy) => policy.run(&mut output),
        Noun::Status(status) => status.run(&mut output),
        Noun::Session(session) => session.run(&mut output),
        Noun::Device(device) => device.run(&mut output),
        Noun::Dfu(dfu) => dfu.run(&mut output),
        Noun::Campaign(campaign) => campaign.run(&mut output),
        Noun::Record(record) => record.run(&mut output),
        Noun::Plugin(plugin) => plugin.run(&mut output),
        Noun::Firmware(firmware) => firmware.run(&mut output),
        Noun::Binding(binding) => binding.run(&mut output),
        Noun::Store(store) => store.run(&mut output),
        Noun::DeadLetters(letters) => letters.run(&mut output),
        Noun::Audit(audit) => audit.run(&mut output),
        Noun::Reload(reload) => reload.run(&mut output),
        Noun::Compile(compile) => return compile.run(),
    };
    exit::report(done.and_then(|()| output.finish()), cli.everywhere.output)
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFile {
    /// The configuration; without it `causeway.yaml` here, or else `/etc/causeway/causeway.yaml`.
    #[arg(short = 'c', long = "config", global = true, value_name = "FILE")]
    file: Option<PathBuf>,
}

const HERE: &str = "causeway.yaml";
const INSTALLED: &str = "/etc/causeway/causeway.yaml";

impl ConfigFile {
    /// The file that is meant.
    pub(crate) fn path(&self) -> PathBuf {
        let found = || if Path::new(HERE).exists() { HERE } else { INSTALLED };
        self.file.clone().unwrap_or_else(|| found().into())
    }

    /// Whether an argument names it.
    pub(crate) const fn is_named(&self) -> bool {
        self.file.is_some()
    }

    /// Reads it; an operator's mistake ends with every problem printed.
    pub(crate) fn load(&self) -> Result<crate::config::Config, Failure> {
        crate::config::load(&self.path()).map_err(Failure::problems)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_of_all_nouns_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_noun_takes_output_json() {
        for noun in Cli::command().get_subcommands() {
            let line = ["causeway", noun.get_name(), "--help"];
            let help = Cli::try_parse_from(line).unwrap_err().to_string();
            assert!(help.contains("--output"), "{help}");
        }
    }
}
