//! Artifacts on a stick: a layout with their signatures and a lockfile, for gateways that no network reaches.
//!
//! A stick is believed no more than a registry: what is imported is judged by the trust of the gateway that imports it.

use std::path::Path;

use super::digest::Digest;
use super::files::CHUNK;
use super::layout::{Entry, Layout, LayoutError};
use super::lockfile::Lockfile;
use super::manifest::{Descriptor, IMAGE_MANIFEST, REF_NAME};
use super::origin::Origin;
use super::reference::Reference;
use super::signature::Signed;
use super::{Artifacts, Because, FetchError, Trusted, Wanted};

/// The lockfile on a stick: what is there, and what each tag stands for.
const LOCKFILE: &str = "plugins.lock";

/// What was exported or imported.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What it is asked for as, here and where it is imported.
    pub reference: Reference,
    /// What its manifest is known by.
    pub digest: Digest,
    /// The bytes of all that it consists of.
    pub bytes: u64,
    /// The key that answers for it here.
    pub signed_by: Option<String>,
}

impl Artifacts {
    /// Copies artifacts with their signatures into a layout, which is made if it is not there, and names them in its
    /// lockfile. Blocks.
    ///
    /// # Errors
    /// [`FetchError`]; what was exported before the failure is there and whole.
    pub fn export(&self, wanted: &[Wanted], to: &Path) -> Result<Vec<Carried>, FetchError> {
        let layout = Layout::create(to).map_err(|error| error.about(&to.display()))?;
        let mut carried = Vec::new();
        for wanted in wanted {
            let reference = elsewhere(wanted)?;
            let trusted = self.manifest(wanted)?;
            let bytes = self.export_image(&layout, &trusted, &reference)?;
            add_to_lockfile(&to.join(LOCKFILE), &reference, trusted.digest)?;
            carried.push(Carried { reference, digest: trusted.digest, bytes, signed_by: trusted.signed_by });
        }
        Ok(carried)
    }

    /// Takes all artifacts that the lockfile of a layout names into the cache, each after it was judged; `wanted` says
    /// what a reference is wanted as. The gateway's own lockfile says the same of their tags from then on. Blocks.
    ///
    /// # Errors
    /// [`FetchError`]; what was imported before the failure is there and whole.
    pub fn import(&self, from: &Path, wanted: impl Fn(Reference) -> Wanted) -> Result<Vec<Carried>, FetchError> {
        let layout = Layout::open(from).map_err(|error| error.about(&from.display()))?;
        let lockfile = Lockfile::read(&from.join(LOCKFILE))?;
        if lockfile.0.is_empty() {
            let reason = "it has no `plugins.lock`; name its images as `oci-layout://` references instead";
            return Err(FetchError::not_found(&from.display(), reason));
        }
        let mut carried = Vec::new();
        for (reference, digest) in lockfile.0 {
            let wanted = wanted(reference);
            let origin = Origin::in_layout(&wanted.reference, layout.clone(), self.max_manifest);
            let trusted = self.of_origin(&origin, digest, &wanted)?;
            let mut bytes = 0;
            for blob in trusted.manifest.blobs() {
                bytes += blob.size;
                self.fetch_from(&origin, &trusted, blob)?;
            }
            if wanted.reference.digest().is_none() {
                self.pin(&wanted.reference, digest)?;
            }
            carried.push(Carried { reference: wanted.reference, digest, bytes, signed_by: trusted.signed_by });
        }
        Ok(carried)
    }

    fn export_image(&self, layout: &Layout, trusted: &Trusted, reference: &Reference) -> Result<u64, FetchError> {
        let failed = |error: LayoutError| error.about(&trusted.reference);
        let mut bytes = 0;
        for descriptor in trusted.manifest.blobs() {
            bytes += descriptor.size;
            let blob = self.blob(trusted, descriptor, u64::MAX)?;
            if layout.blob(&descriptor.digest, descriptor.size).is_ok() {
                continue;
            }
            let mut draft = layout.draft().map_err(failed)?;
            let mut chunk = vec![0; CHUNK];
            let mut at = 0;
            loop {
                let read = blob.read_at(&mut chunk, at).map_err(|source| FetchError::disk(self.folder(), source))?;
                let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { break };
                draft.write(part).map_err(failed)?;
                at += read as u64;
            }
            draft.finish(&descriptor.digest).map_err(failed)?;
        }
        let kept = self.cache.get(&trusted.digest, self.max_manifest).map_err(|error| self.not_kept(error))?;
        let gone = || FetchError::not_found(&trusted.reference, "its manifest is not kept any more");
        let manifest = kept.ok_or_else(gone)?;
        let signatures = self.cache.signatures(&trusted.digest).map_err(|error| self.not_kept(error))?;
        name(layout, &in_layout(reference), &manifest).map_err(failed)?;
        if !signatures.is_empty() {
            let (image, config) = Signed::image(&signatures);
            layout.keep(&config).map_err(failed)?;
            for signed in &signatures {
                layout.keep(&signed.payload).map_err(failed)?;
            }
            name(layout, &trusted.digest.signature_tag(), &image.to_bytes()).map_err(failed)?;
        }
        Ok(bytes)
    }
}

/// What is asked for on another gateway: an image is known by its repository, wherever it is found here.
fn elsewhere(wanted: &Wanted) -> Result<Reference, FetchError> {
    let nowhere = |what: &str| Err(FetchError::refused(&wanted.reference, Because::Signature, what));
    match (&wanted.reference, &wanted.signed_as) {
        (Reference::Registry(_), _) => Ok(wanted.reference.clone()),
        (Reference::Layout { tag, digest, .. }, Some(repository)) => {
            let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
            let text = format!("oci://{repository}{tag}{digest}");
            text.parse().map_err(|error| FetchError::refused(&wanted.reference, Because::Manifest, error))
        }
        (Reference::Layout { .. }, None) => nowhere("nobody says which repository it is from; add `signed_as`"),
        (Reference::File(_) | Reference::Builtin(_), _) => nowhere("it is no image; copy the file itself"),
    }
}

/// The name of an image in the index of a layout: its reference without the scheme, which other tools read too.
fn in_layout(reference: &Reference) -> String {
    let text = reference.to_string();
    text.split_once("://").map_or(text.as_str(), |(_, name)| name).to_owned()
}

/// Keeps a manifest in a layout under a name.
fn name(layout: &Layout, name: &str, manifest: &[u8]) -> Result<(), LayoutError> {
    layout.keep(manifest)?;
    let _lock = layout.lock()?;
    let mut entries = layout.index()?;
    entries.retain(|entry| entry.name() != Some(name));
    let mut manifest = Descriptor::of(IMAGE_MANIFEST, manifest);
    manifest.annotations.insert(REF_NAME.to_owned(), name.to_owned());
    entries.push(Entry { manifest });
    layout.write_index(&entries)
}

fn add_to_lockfile(path: &Path, reference: &Reference, digest: Digest) -> Result<(), FetchError> {
    let mut lockfile = Lockfile::read(path)?;
    lockfile.0.insert(reference.clone(), digest);
    Ok(lockfile.write(path)?)
}
