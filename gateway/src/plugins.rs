//! From a reference in the configuration to a compiled component: find the bytes, compile them or take them from the
//! cache.
//!
//! What a plugin may do and when it is called is not decided here; a reference to a registry is not understood yet.

pub mod component_artifact;
mod kept;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_host::{
    CacheError, ChildCompiler, CompileCache, Compiler, Component, Engine, EngineConfig, EngineError, LoadLimit,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use thiserror::Error;

use crate::config::PluginsConfig;

/// The command of this program that compiles a component for a gateway.
pub const COMPILE: &str = "compile-plugin";
use kept::Kept;

const BUILTIN: &str = "builtin:";
const FILE: &str = "file://";

/// Where the components that ran lie in the data directory.
const COMPONENTS: &str = "plugins/components";

/// Where compiled plugins lie in the data directory.
const COMPILED: &str = "plugins/compiled";

/// Whether a reference is to a plugin that is part of the program.
#[must_use]
pub fn is_builtin(reference: &str) -> bool {
    reference.starts_with(BUILTIN)
}

/// Why plugins cannot be run at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder of the compile cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The folder of the components.
    #[error("{path}: components cannot be kept: {source}", path = .path.display())]
    Kept {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
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
    /// The file cannot be read.
    #[error("{path}: the plugin cannot be read: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
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
    kept: Option<Kept>,
}

impl Plugins {
    /// Starts the engine and opens the compile cache in the data directory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(data_dir: &Path, engine: EngineConfig, metrics: PluginsMetrics) -> Result<Self, OpenError> {
        let cache = CompileCache::open(&data_dir.join(COMPILED))?;
        let path = data_dir.join(COMPONENTS);
        let kept = Kept::open(&path).map_err(|source| OpenError::Kept { path, source })?;
        Ok(Self { cache: Some(cache), kept: Some(kept), metrics, ..Self::without_cache(engine)? })
    }

    /// Starts the engine; everything is compiled anew and nothing is kept.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn without_cache(engine: EngineConfig) -> Result<Self, EngineError> {
        Ok(Self {
            engine: Arc::new(Engine::start(engine)?),
            cache: None,
            kept: None,
            metrics: PluginsMetrics::default(),
        })
    }

    /// The engine that runs what was loaded.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Loads `builtin:<name>`, `file://<path>` or a path. Blocks; a plugin that was never compiled takes about 0.1 s for
    /// each 100 KB.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&self, reference: &str) -> Result<Component, LoadError> {
        Ok(self.compile(&self.bytes(reference)?)?)
    }

    /// The bytes that a reference leads to.
    ///
    /// # Errors
    /// [`LoadError::Builtin`] and [`LoadError::File`].
    pub fn bytes(&self, reference: &str) -> Result<Cow<'static, [u8]>, LoadError> {
        if let Some(name) = reference.strip_prefix(BUILTIN) {
            let bytes = causeway_plugins::builtin(name);
            return bytes.map(Cow::Borrowed).ok_or_else(|| LoadError::Builtin { name: name.to_owned() });
        }
        let path = PathBuf::from(reference.strip_prefix(FILE).unwrap_or(reference));
        std::fs::read(&path).map(Cow::Owned).map_err(|source| LoadError::File { path, source })
    }

    /// Keeps a component that a binding may have to go back to.
    pub fn keep(&self, digest: &str, bytes: &[u8]) {
        if let Some(Err(error)) = self.kept.as_ref().map(|kept| kept.keep(digest, bytes)) {
            tracing::warn!(digest, %error, "a component is not kept: its binding cannot go back to it");
        }
    }

    /// A component that was kept.
    #[must_use]
    pub fn kept(&self, digest: &str) -> Option<Vec<u8>> {
        let warn = |error: &io::Error| tracing::warn!(digest, %error, "a component that was kept is not readable");
        self.kept.as_ref()?.get(digest).inspect_err(warn).ok()?
    }

    /// Keeps no components but these.
    pub fn retain(&self, digests: &[String]) {
        if let Some(Err(error)) = self.kept.as_ref().map(|kept| kept.retain(digests)) {
            tracing::warn!(%error, "components that nobody needs are not removed");
        }
    }

    /// Compiles the bytes of a component, or takes the result from the cache.
    ///
    /// # Errors
    /// They are no component that can be used.
    pub fn compile(&self, bytes: &[u8]) -> Result<Component, causeway_host::LoadError> {
        let warn = |error: &CacheError| tracing::warn!(%error, "the compile cache did not help");
        Component::load(&self.engine, bytes, self.cache.as_ref(), warn).inspect_err(|error| {
            if let Some(limit) = error.limit() {
                self.metrics.refused.get_or_create(&Because { limit: limit.as_str() }).inc();
            }
        })
    }
}
