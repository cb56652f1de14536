//! `causeway plugin`: for those who write plugins, release them, and have them run.

mod build;
mod carry;
mod diff;
mod grants;
mod inspect;
mod keygen;
mod list;
mod lock;
mod named;
pub(super) mod place;
mod pull;
pub(super) mod push;
mod replay;
mod set;
pub(super) mod sign;
pub(super) mod verify;

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
    /// Print of which messages a binding's canary makes something else, or two plugins that are run with a recording.
    Diff(diff::Diff),
    /// Make a key pair that plugins are signed with.
    Keygen(keygen::Keygen),
    /// Put a plugin into a registry or a layout, as an OCI artifact, and print its reference with the digest.
    Push(Box<push::Push>),
    /// Sign an artifact, or a file.
    Sign(sign::Sign),
    /// Show what a plugin is and would ask for, without running it.
    Inspect(inspect::Inspect),
    /// Go through the steps of trust, and fail at the first that fails.
    Verify(verify::Verify),
    /// Verify and fetch a plugin: into what the gateway keeps, or into a file.
    Pull(pull::Pull),
    /// List what is kept, what the lockfile says, and which bindings use it.
    List(list::List),
    /// Write down what the tags of the configuration stand for.
    Lock(lock::Locked),
    /// Carry plugins, their signatures and the lockfile out, as an OCI image layout.
    Export(carry::Export),
    /// Carry plugins in that `export` carried out.
    Import(carry::Import),
    /// Have a binding of a running gateway run another plugin, or watch one as its canary.
    Set(set::Set),
}

impl Plugin {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Build { package, to } => build::build(&package, to, output),
            Verb::Componentize { module, to } => build::componentize(&module, &to, output),
            Verb::Replay(replay) => replay.run(output),
            Verb::Diff(diff) => diff.run(output),
            Verb::Keygen(keygen) => keygen.run(output),
            Verb::Push(push) => push.run(output),
            Verb::Sign(sign) => sign.run(output),
            Verb::Inspect(inspect) => inspect.run(output),
            Verb::Verify(verify) => verify.run(output),
            Verb::Pull(pull) => pull.run(output),
            Verb::List(list) => list.run(output),
            Verb::Lock(lock) => lock.run(output),
            Verb::Export(export) => export.run(output),
            Verb::Import(import) => import.run(output),
            Verb::Set(set) => set.run(output),
        }
    }
}
