//! From a reference in the configuration to a compiled component: find the bytes, compile them or take them from the
//! cache.
//!
//! What a plugin may do and when it is called is not decided here; a reference to a registry is not understood yet.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_host::{CacheError, CompileCache, Component, Engine, EngineConfig, EngineError};
use thiserror::Error;

const BUILTIN: &str = "builtin:";
const FILE: &str = "file://";

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
    /// The bytes are no plugin.
    #[error(transparent)]
    Component(#[from] causeway_host::LoadError),
}

/// Loads plugins; clones share the engine.
#[derive(Clone, Debug)]
pub struct Plugins {
    engine: Arc<Engine>,
    cache: Option<CompileCache>,
}

impl Plugins {
    /// Starts the engine and opens the compile cache in the data directory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let cache = CompileCache::open(&data_dir.join(COMPILED))?;
        Ok(Self { cache: Some(cache), ..Self::without_cache()? })
    }

    /// Starts the engine; everything is compiled anew and nothing is kept.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn without_cache() -> Result<Self, EngineError> {
        Ok(Self { engine: Arc::new(Engine::start(EngineConfig::default())?), cache: None })
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
        let component = match reference.strip_prefix(BUILTIN) {
            Some(name) => {
                let bytes = causeway_plugins::builtin(name);
                self.compile(bytes.ok_or_else(|| LoadError::Builtin { name: name.to_owned() })?)
            }
            None => {
                let path = PathBuf::from(reference.strip_prefix(FILE).unwrap_or(reference));
                self.compile(&std::fs::read(&path).map_err(|source| LoadError::File { path, source })?)
            }
        }?;
        tracing::debug!(plugin = reference, digest = %component.digest(), "plugin compiled");
        Ok(component)
    }

    fn compile(&self, bytes: &[u8]) -> Result<Component, causeway_host::LoadError> {
        let warn = |error: &CacheError| tracing::warn!(%error, "the compile cache did not help");
        Component::load(&self.engine, bytes, self.cache.as_ref(), warn)
    }
}
