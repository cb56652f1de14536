//! What the commands about artifacts work with: a gateway's configuration if there is one, or else their arguments alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use super::named::plugins;
use crate::artifacts::shelf::Shelf;
use crate::artifacts::{Access, Artifacts, AtMost, FetchError, OpenError, Reference, Settings, Wanted};
use crate::cli::{ConfigFile, Exit, Failure};
use crate::config::{Config, KeyConfig, PluginKind, PluginsConfig};

/// Which gateway's registries, keys and folder are meant.
#[derive(Debug, Args)]
pub(in crate::cli) struct Place {
    #[command(flatten)]
    file: ConfigFile,
}

/// Who is trusted, and for what.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Trusting {
    /// A public key that has to have signed it (PEM), in place of what the configuration trusts; may be repeated.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// The repository that the signature has to name, `host[:port]/repository`, when the reference is another one.
    #[arg(long, value_name = "REPOSITORY")]
    signed_as: Option<String>,
    /// The kind of plugin that the key has to be for; without it, that of the binding that uses the reference, or telemetry.
    #[arg(long, value_name = "KIND")]
    kind: Option<PluginKind>,
}

/// Where what is fetched is kept while the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Keep {
    /// In the folder of the configuration, or nowhere without one.
    Here,
    /// Nowhere.
    Nothing,
}

/// Everything ready: registries are asked when a reference is.
pub(in crate::cli) struct Stage {
    /// The configuration, if there is one.
    pub(in crate::cli) config: Option<Config>,
    /// From references to bytes.
    pub(in crate::cli) artifacts: Artifacts,
    /// Runs while the artifacts do.
    _runtime: Runtime,
    /// Removed at the end.
    _scratch: Option<Scratch>,
}

impl Trusting {
    /// What other nouns' arguments say.
    pub(in crate::cli) fn new(keys: Vec<PathBuf>, signed_as: Option<String>) -> Self {
        Self { keys, signed_as, kind: None }
    }
}

impl Place {
    /// The configuration; an operator who names none, and has none where it belongs, works without.
    pub(super) fn config(&self) -> Result<Option<Config>, Failure> {
        let there = self.file.is_named() || self.file.path().exists();
        if there { self.file.load().map(Some) } else { Ok(None) }
    }

    /// Opens what the command works with.
    pub(in crate::cli) fn open(&self, keep: Keep, trusting: &Trusting) -> Result<Stage, Failure> {
        Stage::open(self.config()?, keep, trusting)
    }

    /// The same for a command that has nothing to do without a configuration.
    pub(super) fn open_configured(&self) -> Result<(Stage, Config), Failure> {
        let config = self.file.load()?;
        Ok((Stage::open(Some(config.clone()), Keep::Here, &Trusting::default())?, config))
    }
}

impl Stage {
    fn open(config: Option<Config>, keep: Keep, trusting: &Trusting) -> Result<Self, Failure> {
        let internal = |error: io::Error| Failure::new(Exit::Internal, error.to_string());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(internal)?;
        let mut settings = config.as_ref().map(Settings::of).unwrap_or_default();
        let scratch = match (&config, keep) {
            (Some(_), Keep::Here) => None,
            _ => Some(Scratch::create().map_err(|error| Failure::new(Exit::Io, error.to_string()))?),
        };
        if let Some(Scratch(folder)) = &scratch {
            settings.artifacts.dir = folder.join("artifacts");
            settings.artifacts.lockfile = folder.join("plugins.lock");
        }
        if !trusting.keys.is_empty() {
            settings.trust.keys = trusting.keys.iter().map(|file| key(file)).collect();
            // Whoever names a key wants to see its signature.
            settings.trust.unsigned.clear();
        }
        let artifacts =
            Artifacts::open(&settings, runtime.handle().clone(), Access::Shared).map_err(|error| match error {
                OpenError::Trust(problems) => Failure::problems(problems),
                OpenError::Cache(error) => Failure::new(Exit::Io, error.to_string()),
            })?;
        Ok(Self { config, artifacts, _runtime: runtime, _scratch: scratch })
    }

    /// Where a reference points, to look and to put.
    pub(in crate::cli) fn shelf<'s>(&'s self, reference: &'s Reference, make: bool) -> Result<Shelf<'s>, Failure> {
        self.artifacts.shelf(reference, make).map_err(|error| failure(&error))
    }

    /// The largest component that a gateway with this configuration loads.
    pub(super) fn most(&self) -> AtMost {
        let configured = self.config.as_ref().map(|config| config.plugins.max_component);
        crate::plugins::at_most(configured.unwrap_or_else(|| PluginsConfig::default().max_component))
    }

    /// A reference as a plugin of a binding.
    pub(super) fn wanted(&self, reference: Reference, trusting: &Trusting) -> Wanted {
        let named = || self.config.iter().flat_map(plugins).filter(|named| named.reference == reference);
        let configured = || named().find_map(|named| named.signed_as.map(str::to_owned));
        let signed_as = trusting.signed_as.clone().or_else(configured);
        let kind = trusting.kind.or_else(|| named().next().map(|named| named.kind));
        let kind = kind.unwrap_or(PluginKind::Telemetry).word();
        Wanted { reference, signed_as, kind }
    }
}

/// A key that an argument names; its file's name is its id.
fn key(file: &Path) -> KeyConfig {
    let id = file.file_stem().map_or_else(|| "key".to_owned(), |stem| stem.to_string_lossy().into_owned());
    KeyConfig { id, file: Some(file.to_owned()), ..KeyConfig::default() }
}

/// What an operator reads, and the exit code by what can be done about it.
pub(in crate::cli) fn failure(error: &FetchError) -> Failure {
    let exit = match error {
        FetchError::Unreachable { .. } => Exit::Unavailable,
        FetchError::Refused { .. } | FetchError::NotFound { .. } => Exit::No,
        FetchError::Lockfile(_) => Exit::Usage,
        FetchError::Disk { .. } => Exit::Io,
    };
    Failure::new(exit, error.to_string())
}

/// A folder of this command alone.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> io::Result<Self> {
        let mut random = [0; 8];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
        filled.map_err(|_| io::Error::other("the system has no random numbers"))?;
        let name = format!("causeway-{:016x}", u64::from_ne_bytes(random));
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is in a folder that systems clear by themselves.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_is_for_its_command_alone_and_goes_with_it() {
        use std::os::unix::fs::PermissionsExt;

        let scratch = Scratch::create().unwrap();
        let folder = scratch.0.clone();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(scratch);
        assert!(!folder.exists());
    }

    #[test]
    fn a_key_of_an_argument_has_the_name_of_its_file() {
        assert_eq!(key(Path::new("keys/release.pub")).id, "release");
    }
}
