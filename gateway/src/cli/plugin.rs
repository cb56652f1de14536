//! `causeway plugin`: for those who write plugins. Nothing here asks a running gateway.

mod build;
mod replay;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compile a Rust package and make a plugin of it.
    Build {
        /// The folder of the package.
        #[arg(default_value = ".")]
        package: PathBuf,
        /// The plugin; without it `<package>.wasm` here.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Make a plugin of a core module that was compiled with the bindings of `wit/`.
    Componentize {
        /// The core module.
        module: PathBuf,
        /// The plugin.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Run a plugin with a recording and print what comes of each input.
    Replay(replay::Replay),
    /// Run two plugins with a recording and print the inputs of which different things come.
    Diff(replay::Diff),
}

impl Plugin {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Build { package, to } => build::build(&package, to, output),
            Verb::Componentize { module, to } => build::componentize(&module, &to, output),
            Verb::Replay(replay) => replay.run(output),
            Verb::Diff(diff) => diff.run(output),
        }
    }
}
