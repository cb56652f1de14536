//! From a reference in the configuration to a compiled component: find the bytes, compile them or take them from the
//! cache.
//!
//! What a plugin may do and when it is called is not decided here, and whose bytes are trusted neither: that is said by
//! the road that they came on (`artifacts`).

pub mod component_artifact;
mod guest;
mod origin;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_host::{
    Binary, CacheError, ChildCompiler, CompileCache, Compiler, Component, Engine, EngineConfig, EngineError, LoadLimit,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use thiserror::Error;

use crate::artifacts::reference::{Reference, ReferenceError};
use crate::artifacts::trust::Distrust;
use crate::artifacts::{self, Artifacts, AtMost, Digest, FetchError, Trusted};
use crate::config::{PluginsConfig, Size};
use crate::store::versions::Came;
use component_artifact::NotAComponent;

pub use guest::{GuestError, Log};
pub use origin::{Found, Origin, Source, Wanted};

/// The command of this program that compiles a component for a gateway.
pub const COMPILE: &str = "compile-plugin";

/// Where compiled plugins lie in the data directory.
const COMPILED: &str = "plugins/compiled";

/// Why plugins cannot be run at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder of the compile cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Why a reference leads to no plugin; the operator mends the reference or the plugin.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is no such built-in plugin.
    #[error("there is no built-in plugin `{name}`; there is {}", causeway_plugins::NAMES.join(", "))]
    Builtin {
        /// What was asked for.
        name: String,
    },
    /// It is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The file cannot be read, or is not trusted.
    #[error(transparent)]
    File(FetchError),
    /// The artifact cannot be fetched, or is not trusted.
    #[error(transparent)]
    Artifact(#[from] FetchError),
    /// The artifact is something else.
    #[error("{reference}: {reason}")]
    NotAComponent {
        /// Where it was found.
        reference: String,
        /// What it is.
        reason: NotAComponent,
    },
    /// It was revoked.
    #[error("{digest}: {reason}")]
    Revoked {
        /// Its digest.
        digest: String,
        /// Who says so.
        reason: String,
    },
    /// Nobody is here to fetch it.
    #[error("{reference}: only a gateway fetches artifacts; `causeway plugin pull` makes a file of it")]
    NoRoad {
        /// The reference.
        reference: String,
    },
    /// A component that ran was not kept, or is not what it was.
    #[error("{digest} was not kept: it is not to be had any more")]
    Gone {
        /// Its digest.
        digest: String,
    },
    /// It is larger than it may be, or takes more to compile than it may have.
    #[error("{error}; `plugins.{key}` says how much")]
    Limit {
        /// Which, and how much it may have.
        error: causeway_host::LoadError,
        /// The key of the configuration.
        key: &'static str,
    },
    /// The bytes are no plugin.
    #[error(transparent)]
    Component(causeway_host::LoadError),
}

impl LoadError {
    /// Whether it may be to be had later: its registry may answer, or somebody may sign it.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Artifact(_))
    }

    /// Whether nobody who is trusted answers for it.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::File(FetchError::Refused { .. }) | Self::Revoked { .. } | Self::NotAComponent { .. })
    }
}

impl From<causeway_host::LoadError> for LoadError {
    fn from(error: causeway_host::LoadError) -> Self {
        let key = match error.limit() {
            Some(LoadLimit::Size) => "max_component",
            Some(LoadLimit::Memory) => "compile_memory",
            Some(LoadLimit::Cpu | LoadLimit::Time) => "compile_time",
            None => return Self::Component(error),
        };
        Self::Limit { error, key }
    }
}

/// The engine that the configuration asks for, with a compiler in a child of this program.
#[must_use]
pub fn engine(config: &PluginsConfig) -> EngineConfig {
    let child = ChildCompiler {
        program: program(),
        command: COMPILE,
        memory_bytes: config.compile_memory.0,
        time: config.compile_time,
    };
    EngineConfig {
        tick: config.tick,
        max_component_bytes: config.max_component.in_memory(),
        max_stack_bytes: config.max_stack.in_memory(),
        // The program of the unit tests is not this one and cannot be its own compiler.
        compiler: if cfg!(test) { Compiler::InProcess } else { Compiler::Child(child) },
    }
}

/// How large a component may be.
#[must_use]
pub const fn at_most(max_component: Size) -> AtMost {
    AtMost::of(max_component.0, "plugins.max_component")
}

/// This program as it was started: an update may have replaced its file since.
fn program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}

/// What could not be loaded, by the bound that it broke; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct PluginsMetrics {
    refused: Family<Because, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Because {
    limit: &'static str,
}

impl PluginsMetrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self::default();
        let help = "Plugins that were not loaded, by the limit that they broke";
        registry.register("causeway_plugins_refused", help, new.refused.clone());
        new
    }
}

/// Loads plugins; clones share the engine.
#[derive(Clone, Debug)]
pub struct Plugins {
    engine: Arc<Engine>,
    cache: Option<CompileCache>,
    metrics: PluginsMetrics,
    artifacts: Option<Artifacts>,
    /// Bytes of the largest component that is loaded.
    max_component: usize,
}

impl Plugins {
    /// Starts the engine and opens the compile cache in the data directory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        data_dir: &Path,
        engine: EngineConfig,
        artifacts: Artifacts,
        metrics: PluginsMetrics,
    ) -> Result<Self, OpenError> {
        let cache = CompileCache::open(&data_dir.join(COMPILED))?;
        Ok(Self { cache: Some(cache), metrics, ..Self::without_cache(engine, Some(artifacts))? })
    }

    /// Starts the engine; everything is compiled anew. Without artifacts there are only built-in plugins, and files that
    /// need nobody's signature.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn without_cache(engine: EngineConfig, artifacts: Option<Artifacts>) -> Result<Self, EngineError> {
        let (metrics, max_component) = (PluginsMetrics::default(), engine.max_component_bytes);
        Ok(Self { engine: Arc::new(Engine::start(engine)?), cache: None, metrics, artifacts, max_component })
    }

    /// The engine that runs what was loaded.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Finds and compiles a plugin. Blocks; a plugin that was never compiled takes about 0.1 s for each 100 KB.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&self, wanted: &Wanted) -> Result<(Component, Origin), LoadError> {
        let Found { binary, origin } = self.find(wanted)?;
        Ok((self.compile(&binary)?, origin))
    }

    /// The component that a reference leads to, and where it came from. Blocks.
    ///
    /// # Errors
    /// [`LoadError`], but nothing that is about compiling.
    pub fn find(&self, wanted: &Wanted) -> Result<Found, LoadError> {
        let reference: Reference = wanted.reference.parse()?;
        let written = reference.to_string();
        let Wanted { signed_as, kind, .. } = wanted.clone();
        match &reference {
            Reference::Builtin(name) => {
                let bytes = causeway_plugins::builtin(name);
                let bytes = bytes.ok_or_else(|| LoadError::Builtin { name: name.clone() })?;
                let binary = Binary::of(bytes);
                self.not_revoked(&binary.digest())?;
                Ok(Found { binary, origin: Origin::new(Source::Builtin, &written) })
            }
            Reference::File(path) => {
                self.check_size(path)?;
                let file = artifacts::Wanted { reference: reference.clone(), signed_as, kind };
                let (binary, signer) = self.read(path, &file)?;
                let origin = Origin { signer, ..Origin::new(Source::File, &written) };
                Ok(Found { binary, origin })
            }
            Reference::Registry(_) | Reference::Layout { .. } => {
                let road = self.road(&written)?;
                let image = artifacts::Wanted { reference, signed_as, kind };
                let trusted = if wanted.newest { road.newest(&image) } else { road.manifest(&image) }?;
                self.component(road, &trusted, &image)
            }
        }
    }

    /// A component that ran before and was kept, if it may still be run with today's trust. Nobody is asked. Blocks.
    ///
    /// # Errors
    /// It is not there, or is not to be run any more.
    pub fn again(&self, digest: &str, came: &Came, kind: &'static str) -> Result<Found, LoadError> {
        let gone = || LoadError::Gone { digest: digest.to_owned() };
        let parsed: Digest = digest.parse().map_err(|_| gone())?;
        self.not_revoked(&parsed)?;
        let origin = Origin::from(came);
        let manifest = came.manifest.as_ref().and_then(|manifest| manifest.parse::<Digest>().ok());
        if let (Some(manifest), Ok(reference)) = (manifest, came.reference.parse()) {
            let road = self.road(&came.reference)?;
            let image = artifacts::Wanted { reference, signed_as: came.signed_as.clone(), kind };
            let trusted = road.again(&manifest, &image)?;
            return self.component(road, &trusted, &image);
        }
        if let Some(Reference::Builtin(name)) = came.reference.parse().ok().as_ref()
            && let Some(binary) = causeway_plugins::builtin(name).map(Binary::of)
            && binary.digest() == parsed
        {
            return Ok(Found { binary, origin });
        }
        let road = self.artifacts.as_ref().ok_or_else(gone)?;
        if let Ok(reference @ Reference::File(_)) = came.reference.parse() {
            let answered = road.judge_kept_file(&reference, kind, &parsed, came.signer.as_deref());
            let refused = |distrust: Distrust| FetchError::refused(&reference, distrust.because(), distrust);
            answered.map_err(|distrust| LoadError::File(refused(distrust)))?;
        }
        let kept = road.kept(&parsed);
        let warn = |error: &artifacts::cache::CacheError| {
            tracing::warn!(digest, %error, "a component that was kept is not readable");
        };
        let bytes = kept.inspect_err(warn).ok().flatten().ok_or_else(gone)?;
        Ok(Found { binary: Binary::verified(bytes, parsed), origin })
    }

    /// The component of an image that may be believed.
    fn component(&self, road: &Artifacts, trusted: &Trusted, image: &artifacts::Wanted) -> Result<Found, LoadError> {
        let reference = image.reference.to_string();
        let layer = component_artifact::component(&trusted.manifest)
            .map_err(|reason| LoadError::NotAComponent { reference: reference.clone(), reason })?;
        self.not_revoked(&layer.digest)?;
        let blob = road.blob(trusted, layer, self.max_component())?;
        let unreadable = |source| FetchError::Disk { path: road.folder().to_owned(), source };
        let bytes = blob.bytes().map_err(unreadable)?;
        let origin = Origin {
            source: Source::Oci,
            reference,
            signed_as: image.signed_as.clone(),
            manifest: Some(trusted.digest.to_string()),
            repository: image.signed_as.clone().or_else(|| image.reference.repository_name()),
            signer: trusted.signed_by.clone(),
            version: trusted.manifest.version().and_then(|version| version.parse().ok()),
        };
        Ok(Found { binary: Binary::verified(bytes, layer.digest), origin })
    }

    /// The bytes of a file and who signed them; without a road, as it lies there.
    fn read(&self, path: &Path, file: &artifacts::Wanted) -> Result<(Binary<'static>, Option<String>), LoadError> {
        let unreadable = |source| LoadError::File(FetchError::Disk { path: path.to_owned(), source });
        match &self.artifacts {
            Some(road) => {
                let file = road.file(path, file, self.max_component()).map_err(LoadError::File)?;
                Ok((Binary::verified(file.bytes, file.digest), file.signed_by))
            }
            None => Ok((Binary::of(std::fs::read(path).map_err(unreadable)?), None)),
        }
    }

    /// Says of a file that is too large which key is in its way, before it is read.
    fn check_size(&self, path: &Path) -> Result<(), LoadError> {
        let most = self.max_component;
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= most => Ok(()),
            bytes => {
                let error = causeway_host::LoadError::TooLarge { bytes: bytes.unwrap_or(usize::MAX), most };
                self.count(&error);
                Err(error.into())
            }
        }
    }

    fn max_component(&self) -> AtMost {
        at_most(Size(u64::try_from(self.max_component).unwrap_or(u64::MAX)))
    }

    fn road(&self, reference: &str) -> Result<&Artifacts, LoadError> {
        self.artifacts.as_ref().ok_or_else(|| LoadError::NoRoad { reference: reference.to_owned() })
    }

    fn not_revoked(&self, digest: &Digest) -> Result<(), LoadError> {
        let revoked = self.artifacts.as_ref().and_then(|road| road.not_revoked(digest).err());
        match revoked {
            Some(reason) => Err(LoadError::Revoked { digest: digest.to_string(), reason: reason.to_string() }),
            None => Ok(()),
        }
    }

    /// Keeps a component that a binding may have to go back to. Blocks.
    pub fn keep(&self, binary: &Binary<'_>) {
        let kept = self.artifacts.as_ref().map(|road| road.keep_as(&binary.digest(), binary.bytes()));
        if let Some(Err(error)) = kept {
            tracing::warn!(digest = %binary.digest(), %error, "a component is not kept: its binding cannot go back to it");
        }
    }

    /// What bindings run or may go back to, components and manifests: anything else goes when there is no room.
    pub fn retain(&self, digests: &[String]) {
        if let Some(road) = &self.artifacts {
            road.retain(digests.iter().filter_map(|digest| digest.parse().ok()));
        }
    }

    /// Compiles a component, or takes the result from the cache.
    ///
    /// # Errors
    /// They are no component that can be used.
    pub fn compile(&self, binary: &Binary<'_>) -> Result<Component, causeway_host::LoadError> {
        let warn = |error: &CacheError| tracing::warn!(%error, "the compile cache did not help");
        Component::load(&self.engine, binary, self.cache.as_ref(), warn).inspect_err(|error| self.count(error))
    }

    fn count(&self, error: &causeway_host::LoadError) {
        if let Some(limit) = error.limit() {
            self.metrics.refused.get_or_create(&Because { limit: limit.as_str() }).inc();
        }
    }
}

#[cfg(test)]
mod tests;
