//! The compile cache: native code on disk, so that a start costs microseconds instead of a compilation.
//!
//! Native code is trusted code, so only what this gateway compiled itself is ever run: the folder is the gateway's alone,
//! an entry's SHA-256 is recorded beside it, and the very bytes that were hashed are the ones that are mapped. Anything
//! else (another engine version, other settings, a torn or flipped entry) is compiled again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use causeway_core::digest::Digest;
use ring::digest::{Context, SHA256};
use thiserror::Error;
use wasmtime::component::Component;

use crate::compile::CompileError;
use crate::engine::Engine;

/// The cache did not help this time. The component was compiled, so only time is lost.
#[derive(Debug, Error)]
pub enum CacheError {
    /// An entry is not what was recorded for it.
    #[error("{path}: a damaged compiled plugin is compiled again")]
    Damaged {
        /// The entry.
        path: PathBuf,
    },
    /// The disk refuses.
    #[error("{path}: the compiled plugin cannot be kept")]
    Disk {
        /// The entry or the folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A folder of compiled components.
#[derive(Clone, Debug)]
pub struct CompileCache {
    folder: PathBuf,
}

impl CompileCache {
    /// Opens the folder, and makes it readable by nobody else when it is new.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| CacheError::Disk { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The compiled component for `bytes`; compiles and keeps it when there is none.
    pub(crate) fn load(
        &self,
        engine: &Engine,
        digest: &Digest,
        bytes: &[u8],
        warn: impl Fn(&CacheError),
    ) -> Result<Component, CompileError> {
        let path = self.path(engine, digest);
        match self.read(engine, &path) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => {}
            Err(error) => warn(&error),
        }
        let code = engine.config().compiler.compile(engine, bytes)?;
        if let Err(source) = self.keep(&path, &code) {
            warn(&CacheError::Disk { path, source });
        }
        map(engine, &code)
    }

    /// Compiles without keeping anything.
    pub(crate) fn pass_by(engine: &Engine, bytes: &[u8]) -> Result<Component, CompileError> {
        map(engine, &engine.config().compiler.compile(engine, bytes)?)
    }

    /// The name of an entry says everything that its content depends on.
    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        let mut key = Sha256(Context::new(&SHA256));
        key.write(&digest.bytes());
        engine.inner.precompile_compatibility_hash().hash(&mut key);
        key.write(env!("CARGO_PKG_VERSION").as_bytes());
        let name: String = key.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension("cwasm")
    }

    /// The entry, if there is one and it is what was recorded.
    fn read(&self, engine: &Engine, path: &Path) -> Result<Option<Component>, CacheError> {
        let disk = |source| CacheError::Disk { path: path.to_owned(), source };
        let damaged = || CacheError::Damaged { path: path.to_owned() };
        let code = match fs::read(path) {
            Ok(code) => code,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk(error)),
        };
        let recorded = fs::read_to_string(path.with_extension("sha256")).unwrap_or_default();
        if recorded != Digest::of(&code).to_string() {
            return Err(damaged());
        }
        map(engine, &code).map(Some).map_err(|_| damaged())
    }

    /// Writes the record first: an entry without its record is damaged, a record without its entry is nothing.
    fn keep(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        replace(&path.with_extension("sha256"), Digest::of(code).to_string().as_bytes())?;
        replace(path, code)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Maps native code into the process.
#[expect(unsafe_code, reason = "native code is only as safe as where it comes from; see below")]
fn map(engine: &Engine, code: &[u8]) -> Result<Component, CompileError> {
    // SAFETY: `code` was compiled just now by this process or by a child of it that has its program, or it was read from
    // the gateway's own folder (mode 0700) and found equal to what an earlier compilation recorded there. The bytes that
    // were hashed are the bytes that are mapped.
    let mapped = unsafe { Component::deserialize(&engine.inner, code) };
    mapped.map_err(|error| CompileError::Component(format!("{error:#}")))
}

/// Replaces a file in one step, and only after its bytes are on the disk.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!("{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Feeds whatever hashes itself into SHA-256: the key of an entry must be the same in the next process.
struct Sha256(Context);

impl Hasher for Sha256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
