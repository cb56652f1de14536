//! A component: bytes that are checked, compiled (or taken from the cache) and known by their digest.

use std::borrow::Cow;
use std::fmt;

use causeway_core::digest::Digest;
use thiserror::Error;

use crate::cache::CompileCache;
use crate::compile::{CompileError, LoadLimit};
use crate::engine::Engine;

/// A component cannot be used as a plugin. The binding does not start; nothing else is touched.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It is larger than the engine's `max_component_bytes`.
    #[error("the component has {bytes} bytes, more than the {most} that are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// There is no native code of it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It imports what plugins of its kind are not offered.
    #[error("the component imports {import}, which a plugin of kind {kind} is not offered")]
    Import {
        /// The import, with its version.
        import: String,
        /// The kind of plugin.
        kind: &'static str,
    },
    /// It lacks an export of its world, or has one of another shape.
    #[error("the component is no plugin of kind {kind}: {reason}")]
    World {
        /// The kind of plugin.
        kind: &'static str,
        /// What is missing or differs.
        reason: String,
    },
}

impl LoadError {
    /// The bound that it broke, if it is that.
    #[must_use]
    pub const fn limit(&self) -> Option<LoadLimit> {
        match self {
            Self::TooLarge { .. } => Some(LoadLimit::Size),
            Self::Compile(CompileError::Limit { limit, .. }) => Some(*limit),
            _ => None,
        }
    }
}

/// The bytes of a component with their SHA-256, the plugin's identity everywhere: they are hashed where they are verified,
/// and nowhere else.
#[derive(Clone)]
pub struct Binary<'b> {
    bytes: Cow<'b, [u8]>,
    digest: Digest,
}

impl<'b> Binary<'b> {
    /// Bytes that nobody has hashed yet.
    pub fn of(bytes: impl Into<Cow<'b, [u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), bytes }
    }

    /// Bytes that were found to have this digest.
    pub fn verified(bytes: impl Into<Cow<'b, [u8]>>, digest: Digest) -> Self {
        Self { bytes: bytes.into(), digest }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What they are known by.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Binary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binary({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// A compiled component, of no kind yet.
#[derive(Clone)]
pub struct Component {
    pub(crate) inner: wasmtime::component::Component,
    digest: Digest,
    imports: Vec<String>,
}

impl Component {
    /// Compiles a component, or takes the result of an earlier compilation from the cache.
    ///
    /// Compiling takes about 0.1 s for each 100 KB of component. A cache that cannot be read or written costs time, not
    /// the plugin: `warn` learns of it.
    ///
    /// # Errors
    /// [`LoadError::TooLarge`] and [`LoadError::Compile`].
    pub fn load(
        engine: &Engine,
        binary: &Binary<'_>,
        cache: Option<&CompileCache>,
        warn: impl Fn(&crate::CacheError),
    ) -> Result<Self, LoadError> {
        let (bytes, digest) = (binary.bytes(), binary.digest());
        let most = engine.config().max_component_bytes;
        if bytes.len() > most {
            return Err(LoadError::TooLarge { bytes: bytes.len(), most });
        }
        let inner = match cache {
            Some(cache) => cache.load(engine, &digest, bytes, warn),
            None => CompileCache::pass_by(engine, bytes),
        }?;
        let imports = inner.component_type().imports(&engine.inner).map(|(name, _)| name.to_owned()).collect();
        Ok(Self { inner, digest, imports })
    }

    /// Its identity.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What it imports, which is all that it can reach: the list that grants are checked against.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Fails for the first import that is not among `offered`.
    pub(crate) fn check_imports(&self, kind: &'static str, offered: &[&str]) -> Result<(), LoadError> {
        match self.imports.iter().find(|import| !offered.contains(&import.as_str())) {
            Some(import) => Err(LoadError::Import { import: import.clone(), kind }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("digest", &self.digest).field("imports", &self.imports).finish()
    }
}
