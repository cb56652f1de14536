//! The order of trust, each step only after the one before it: what the reference stands for, whose signature that digest
//! has and for which repository, its manifest by the digest, what that names by its own digest, and then the cache.

use std::path::Path;

use super::cache::{Blob, CacheError};
use super::digest::Digest;
use super::files::{self, FileError};
use super::layout::LayoutError;
use super::lockfile::Lockfile;
use super::manifest::{Descriptor, Manifest};
use super::origin::Origin;
use super::reference::Reference;
use super::signature::{self, Signed};
use super::trust::{Distrust, Evidence, Question};
use super::{Artifacts, AtMost, Because, FetchError, Lock, Trusted, TrustedFile, Wanted};

/// How the name of a file's signature ends.
const SIGNATURE_FILE: &str = "sig";

/// The largest file with a signature.
const MAX_SIGNATURE_FILE: u64 = 4 << 10;

impl Artifacts {
    /// What a reference stands for: its own digest, or what the lockfile says, or what its registry or layout says now.
    /// With [`Lock::Update`] the last, and the lockfile says so too from then on. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn resolve(&self, reference: &Reference, lock: Lock) -> Result<Digest, FetchError> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        if lock == Lock::Use
            && let Some(digest) = self.locked(reference)?
        {
            return Ok(digest);
        }
        let digest = self.now(reference)?;
        if lock == Lock::Update {
            self.pin(reference, digest)?;
        }
        Ok(digest)
    }

    /// The manifest that is wanted, from the cache or from where it is found, if somebody who is trusted answers for it.
    /// The lockfile says from then on what its tag stands for. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn manifest(&self, wanted: &Wanted) -> Result<Trusted, FetchError> {
        self.locking(wanted, |artifacts, reference| artifacts.resolve(reference, Lock::Use))
    }

    /// The same for what a tag stands for now, whatever the lockfile says; it says so too once that is trusted. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn newest(&self, wanted: &Wanted) -> Result<Trusted, FetchError> {
        self.locking(wanted, Self::now)
    }

    /// A manifest that is in the cache, if today's trust still answers for it. Nobody is asked. Blocks.
    ///
    /// # Errors
    /// It is not kept, or not trusted any more.
    pub fn again(&self, manifest: &Digest, wanted: &Wanted) -> Result<Trusted, FetchError> {
        match self.of_cache(manifest, wanted)? {
            Kept::Trusted(trusted) => Ok(*trusted),
            Kept::Distrusted(distrust) => Err(refused(&wanted.reference, &distrust)),
            Kept::Nothing => Err(FetchError::not_found(&wanted.reference, format!("{manifest} is not kept here"))),
        }
    }

    /// One blob of a trusted manifest, of `most` bytes at most, from the cache or from where the manifest was found. Its
    /// declared size is checked before a byte is fetched, its size and its digest after. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn blob(
        &self,
        trusted: &Trusted,
        descriptor: &Descriptor,
        most: impl Into<AtMost>,
    ) -> Result<Blob, FetchError> {
        self.fetch_blob(trusted, descriptor, most.into()).inspect_err(|error| self.metrics.failed(error))
    }

    /// A bare file of `most` bytes at most, if it has a good signature beside it, `<file>.sig` in Base64, or has none and
    /// needs none.
    /// Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn file(&self, path: &Path, wanted: &Wanted, most: impl Into<AtMost>) -> Result<TrustedFile, FetchError> {
        let reference = &wanted.reference;
        let read =
            |path: &Path, most: AtMost| files::open_own(path).and_then(|file| files::read_bounded(file, path, most));
        let bytes = read(path, most.into()).map_err(|error| error.about(reference))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".");
        beside.push(SIGNATURE_FILE);
        let beside = Path::new(&beside);
        let signature = if beside.exists() {
            let text = read(beside, MAX_SIGNATURE_FILE.into()).map_err(|error| error.about(reference))?;
            // What is no Base64 is a signature by nobody.
            Some(std::str::from_utf8(&text).ok().and_then(signature::decode).unwrap_or_default())
        } else {
            None
        };
        let (trust, digest) = (self.trust.load(), Digest::of(&bytes));
        let signed_by = trust
            .judge_file(&reference.to_string(), wanted.kind, &digest, &bytes, signature.as_deref())
            .map_err(|distrust| refused(reference, &distrust))?;
        Ok(TrustedFile { digest, bytes, signed_by })
    }

    /// The manifest of what a reference is resolved to; its tag is locked to that only once it is trusted.
    fn locking(
        &self,
        wanted: &Wanted,
        resolve: impl Fn(&Self, &Reference) -> Result<Digest, FetchError>,
    ) -> Result<Trusted, FetchError> {
        let found = resolve(self, &wanted.reference).and_then(|digest| {
            let trusted = self.trusted(digest, wanted)?;
            if wanted.reference.digest().is_none() {
                self.pin(&wanted.reference, digest)?;
            }
            Ok(trusted)
        });
        found.inspect_err(|error| self.metrics.failed(error))
    }

    /// What a reference stands for where it is found, now, whatever the lockfile says. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn now(&self, reference: &Reference) -> Result<Digest, FetchError> {
        match reference.digest() {
            Some(digest) => Ok(digest),
            None => self.origin(reference)?.resolve(),
        }
    }

    /// What the lockfile says of a tag. Blocks.
    ///
    /// # Errors
    /// The lockfile cannot be read.
    pub fn locked(&self, reference: &Reference) -> Result<Option<Digest>, FetchError> {
        Ok(Lockfile::read(&self.lockfile)?.0.get(reference).copied())
    }

    /// The lockfile says from now on what a tag stands for. Blocks.
    ///
    /// # Errors
    /// The lockfile cannot be written.
    pub fn pin(&self, reference: &Reference, digest: Digest) -> Result<(), FetchError> {
        if self.locked(reference)? == Some(digest) {
            return Ok(());
        }
        let _lock = self.cache.lock().map_err(|error| self.not_kept(error))?;
        let mut lockfile = Lockfile::read(&self.lockfile)?;
        lockfile.0.insert(reference.clone(), digest);
        Ok(lockfile.write(&self.lockfile)?)
    }

    pub(super) fn origin<'o>(&'o self, reference: &'o Reference) -> Result<Origin<'o>, FetchError> {
        Origin::of(reference, &self.registries, &self.runtime, self.max_manifest)
    }

    fn trusted(&self, digest: Digest, wanted: &Wanted) -> Result<Trusted, FetchError> {
        let distrust = match self.of_cache(&digest, wanted)? {
            Kept::Trusted(trusted) => {
                self.metrics.cached();
                return Ok(*trusted);
            }
            Kept::Distrusted(distrust @ Distrust::Revoked(_)) => return Err(refused(&wanted.reference, &distrust)),
            Kept::Distrusted(distrust) => Some(distrust),
            Kept::Nothing => None,
        };
        // Somebody else may have signed it since.
        let fetched = self.origin(&wanted.reference).and_then(|origin| self.of_origin(&origin, digest, wanted));
        match (fetched, distrust) {
            (Ok(trusted), _) => {
                self.metrics.fetched();
                Ok(trusted)
            }
            (Err(FetchError::Unreachable { .. } | FetchError::NotFound { .. }), Some(distrust)) => {
                Err(refused(&wanted.reference, &distrust))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What is kept of an image, judged by today's trust.
    fn of_cache(&self, digest: &Digest, wanted: &Wanted) -> Result<Kept, FetchError> {
        if let Err(distrust) = self.trust.load().not_revoked(digest) {
            return Ok(Kept::Distrusted(distrust));
        }
        let Some(bytes) = self.cache.get(digest, self.max_manifest).map_err(|error| self.not_kept(error))? else {
            return Ok(Kept::Nothing);
        };
        // A blob that is no manifest, whose digest somebody took for one.
        let Ok(manifest) = Manifest::parse(&bytes) else { return Ok(Kept::Nothing) };
        let signatures = self.cache.signatures(digest).map_err(|error| self.not_kept(error))?;
        let evidence = Evidence { signatures, bundle: false };
        Ok(match self.judge(*digest, wanted, &evidence) {
            Ok(signed_by) => Kept::Trusted(Box::new(self.as_trusted(*digest, wanted, manifest, signed_by)?)),
            Err(distrust) => Kept::Distrusted(distrust),
        })
    }

    /// An image from where it is found: the signatures first, and nothing more if they are not good.
    pub(super) fn of_origin(
        &self,
        origin: &Origin<'_>,
        digest: Digest,
        wanted: &Wanted,
    ) -> Result<Trusted, FetchError> {
        let reference = &wanted.reference;
        self.trust.load().not_revoked(&digest).map_err(|distrust| refused(reference, &distrust))?;
        let evidence = origin.evidence(&digest)?;
        let signed_by = self.judge(digest, wanted, &evidence).map_err(|distrust| refused(reference, &distrust))?;
        let bytes = origin.manifest(&digest)?;
        if Digest::of(&bytes) != digest {
            return Err(FetchError::refused(reference, Because::Digest, "its manifest hashes to another digest"));
        }
        let manifest =
            Manifest::parse(&bytes).map_err(|error| FetchError::refused(reference, Because::Manifest, error))?;
        let trusted = self.as_trusted(digest, wanted, manifest, signed_by)?;
        self.record(reference, &bytes, &evidence.signatures)?;
        Ok(trusted)
    }

    fn record(&self, reference: &Reference, manifest: &[u8], signatures: &[Signed]) -> Result<(), FetchError> {
        let recorded = self.cache.record(&reference.to_string(), manifest, signatures);
        recorded.map(drop).map_err(|error| self.not_kept(error))
    }

    /// A manifest that was judged; a revoked part of it is known before it is fetched.
    fn as_trusted(
        &self,
        digest: Digest,
        wanted: &Wanted,
        manifest: Manifest,
        signed_by: Option<String>,
    ) -> Result<Trusted, FetchError> {
        let trust = self.trust.load();
        for part in manifest.blobs() {
            trust.not_revoked(&part.digest).map_err(|distrust| refused(&wanted.reference, &distrust))?;
        }
        // Whoever asked for it is about to use it.
        self.cache.hold(self.holder, digest);
        Ok(Trusted { reference: wanted.reference.clone(), digest, manifest, signed_by })
    }

    fn judge(&self, digest: Digest, wanted: &Wanted, evidence: &Evidence) -> Result<Option<String>, Distrust> {
        let of_reference = wanted.reference.repository_name();
        let repository = wanted.signed_as.as_deref().or(of_reference.as_deref());
        let reference = wanted.reference.to_string();
        self.trust.load().judge(Question { reference: &reference, repository, kind: wanted.kind, digest }, evidence)
    }

    fn fetch_blob(&self, trusted: &Trusted, descriptor: &Descriptor, most: AtMost) -> Result<Blob, FetchError> {
        let Trusted { reference, manifest, .. } = trusted;
        let Descriptor { digest, size, .. } = descriptor;
        if !manifest.blobs().any(|own| own == descriptor) {
            let reason = format!("its manifest does not name {digest}");
            return Err(FetchError::refused(reference, Because::Manifest, reason));
        }
        if *size > most.bytes {
            let reason = format!("{digest} has {size} bytes, more than the {most} that are allowed");
            return Err(FetchError::refused(reference, Because::Size, reason));
        }
        self.trust.load().not_revoked(digest).map_err(|distrust| refused(reference, &distrust))?;
        let kept = || self.cache.blob(digest, *size).map_err(|error| self.not_kept(error));
        if let Some(blob) = kept()? {
            return Ok(blob);
        }
        self.fetch_from(&self.origin(reference)?, trusted, descriptor)?;
        let vanished =
            || self.disk(self.cache.path(), "what was fetched is not there any more; is another program at work?");
        kept()?.ok_or_else(vanished)
    }

    /// Takes a blob into the cache from where its manifest was found.
    pub(super) fn fetch_from(
        &self,
        origin: &Origin<'_>,
        trusted: &Trusted,
        descriptor: &Descriptor,
    ) -> Result<(), FetchError> {
        let mut draft = self.cache.draft(descriptor.size).map_err(|error| self.not_kept(error))?;
        origin.blob(descriptor, draft.file(), self.cache.path())?;
        self.cache.finish(draft, &descriptor.digest).map_err(|error| match error {
            CacheError::Layout(error) => error.about(&trusted.reference),
            other => self.not_kept(other),
        })
    }

    pub(super) fn not_kept(&self, error: CacheError) -> FetchError {
        match error {
            CacheError::Layout(LayoutError::File(FileError::Disk { path, source })) => FetchError::disk(&path, source),
            other => FetchError::disk(self.cache.path(), other.into()),
        }
    }

    fn disk(&self, path: &Path, error: impl ToString) -> FetchError {
        FetchError::disk(path, std::io::Error::other(error.to_string()))
    }
}

/// What the cache has of an image.
enum Kept {
    Trusted(Box<Trusted>),
    Distrusted(Distrust),
    Nothing,
}

pub(super) fn refused(reference: &Reference, distrust: &Distrust) -> FetchError {
    FetchError::refused(reference, distrust.because(), distrust)
}
