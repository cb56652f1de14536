//! `causeway plugin`: for those who write plugins. Nothing here asks a running gateway.

mod build;

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
}

impl Plugin {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Build { package, to } => build::build(&package, to, output),
            Verb::Componentize { module, to } => build::componentize(&module, &to, output),
        }
    }
}
