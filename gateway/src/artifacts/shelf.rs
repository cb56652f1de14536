//! A registry or a layout as those see it who make artifacts: what lies there is shown without being believed, and what
//! is made is put there.
//!
//! Nothing that is read here is meant to run. What runs is asked for by the other methods of [`Artifacts`], which judge
//! first.

use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::digest::Digest;
use super::layout::{Entry, Layout, LayoutError};
use super::manifest::{Descriptor, IMAGE_MANIFEST, Manifest, REF_NAME};
use super::origin::Origin;
use super::reference::{ImageReference, Reference};
use super::trust::{Evidence, Trust};
use super::{Artifacts, AtMost, Because, FetchError};

/// What a reference points into.
pub struct Shelf<'s> {
    artifacts: &'s Artifacts,
    reference: &'s Reference,
    origin: Origin<'s>,
}

/// What is put onto a shelf: a manifest, and those blobs of it that may be missing there.
pub struct Parcel<'p> {
    /// The manifest.
    pub manifest: &'p Manifest,
    /// The bytes of its blobs.
    pub blobs: Vec<Bytes>,
}

impl Artifacts {
    /// The shelf of a reference. With `make`, a layout that is not there is made.
    ///
    /// # Errors
    /// The reference is to a file or a part of the program, or to no layout.
    pub fn shelf<'s>(&'s self, reference: &'s Reference, make: bool) -> Result<Shelf<'s>, FetchError> {
        if let Reference::Layout { path, .. } = reference
            && make
        {
            Layout::create(path).map_err(|error| error.about(reference))?;
        }
        Ok(Shelf { artifacts: self, reference, origin: self.origin(reference)? })
    }

    /// Today's keys and revocations.
    #[must_use]
    pub fn trust(&self) -> std::sync::Arc<Trust> {
        self.trust.load_full()
    }
}

impl Shelf<'_> {
    /// What the reference stands for there, whatever the lockfile says. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn digest(&self) -> Result<Digest, FetchError> {
        self.reference.digest().map_or_else(|| self.origin.resolve(), Ok)
    }

    /// The manifest of this digest. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, FetchError> {
        let bytes = self.origin.manifest(digest)?;
        let parsed = Manifest::parse(&bytes);
        parsed.map_err(|error| FetchError::refused(self.reference, Because::Manifest, error))
    }

    /// A blob of `most` bytes at most, which has its digest. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn blob(&self, descriptor: &Descriptor, most: impl Into<AtMost>) -> Result<Vec<u8>, FetchError> {
        let most = most.into();
        let Descriptor { digest, size, .. } = descriptor;
        let refused = |because, reason: String| FetchError::refused(self.reference, because, reason);
        if *size > most.bytes {
            return Err(refused(
                Because::Size,
                format!("{digest} has {size} bytes, more than the {most} that are read"),
            ));
        }
        let layout = self.artifacts.cache.layout();
        let mut draft = layout.draft().map_err(|error| error.about(self.reference))?;
        self.origin.blob(descriptor, draft.file(), layout.path())?;
        let mut bytes = vec![0; usize::try_from(*size).unwrap_or_default()];
        let read = draft.file().read_exact_at(&mut bytes, 0);
        read.map_err(|source| FetchError::disk(layout.path(), source))?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(refused(Because::Digest, format!("what should be {digest} hashes to {found}"))),
        }
    }

    /// The signatures of an image, whoever made them. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn evidence(&self, digest: &Digest) -> Result<Evidence, FetchError> {
        self.origin.evidence(digest)
    }

    /// The image that holds the signatures of another one, if there is one. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn signatures(&self, digest: &Digest) -> Result<Option<Manifest>, FetchError> {
        self.origin.signatures(digest)
    }

    /// Puts an image there, under a tag or under its digest alone. Blocks.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn put(&self, parcel: Parcel<'_>, tag: Option<&str>) -> Result<Digest, FetchError> {
        let bytes = parcel.manifest.to_bytes();
        match self.reference {
            Reference::Registry(image) => {
                let image = ImageReference { tag: tag.map(str::to_owned), digest: None, ..image.clone() };
                let Artifacts { registries, runtime, .. } = self.artifacts;
                let pushed = runtime.block_on(registries.push(&image, &parcel.blobs, bytes.into(), IMAGE_MANIFEST));
                pushed.map_err(|error| error.about(self.reference, Path::new("the file for it")))
            }
            Reference::Layout { path, .. } => {
                let put = Layout::open(path).and_then(|layout| put(&layout, &parcel.blobs, &bytes, tag));
                put.map_err(|error| error.about(self.reference))
            }
            Reference::File(_) | Reference::Builtin(_) => {
                Err(FetchError::not_found(self.reference, "it is no place for images"))
            }
        }
    }
}

fn put(layout: &Layout, blobs: &[Bytes], manifest: &[u8], tag: Option<&str>) -> Result<Digest, LayoutError> {
    for blob in blobs {
        layout.keep(blob)?;
    }
    let digest = layout.keep(manifest)?;
    let _lock = layout.lock()?;
    let mut index = layout.index()?;
    // A name is for one image. An image that has a name needs no nameless entry beside it.
    let is_replaced = |entry: &Entry| match entry.name() {
        Some(name) => tag == Some(name),
        None => entry.manifest.digest == digest,
    };
    let is_named = tag.is_none() && index.iter().any(|entry| entry.manifest.digest == digest && entry.name().is_some());
    index.retain(|entry| !is_replaced(entry));
    if !is_named {
        let mut manifest = Descriptor::of(IMAGE_MANIFEST, manifest);
        manifest.annotations.extend(tag.map(|tag| (REF_NAME.to_owned(), tag.to_owned())));
        index.push(Entry { manifest });
    }
    layout.write_index(&index)?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn manifest(text: &str) -> (Manifest, Vec<Bytes>) {
        let config = Descriptor::of("application/vnd.example+json", text.as_bytes());
        let manifest = Manifest { artifact_type: None, config, layers: Vec::new(), annotations: BTreeMap::new() };
        (manifest, vec![Bytes::copy_from_slice(text.as_bytes())])
    }

    #[test]
    fn what_several_put_into_a_layout_at_the_same_time_is_all_there() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::create(&home.path().join("layout")).unwrap();
        let one = |tag: &str| {
            let (manifest, blobs) = manifest(tag);
            put(&layout, &blobs, &manifest.to_bytes(), Some(tag)).unwrap();
        };
        let tags: Vec<String> = (0..16).map(|tag| tag.to_string()).collect();
        std::thread::scope(|scope| tags.iter().for_each(|tag| drop(scope.spawn(|| one(tag)))));
        assert_eq!(layout.index().unwrap().len(), tags.len());
    }

    #[test]
    fn what_is_put_into_a_layout_has_one_entry_for_each_name() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::create(&home.path().join("layout")).unwrap();
        let put = |text: &str, tag| {
            let (manifest, blobs) = manifest(text);
            put(&layout, &blobs, &manifest.to_bytes(), tag).unwrap()
        };
        let names = || {
            let index = layout.index().unwrap();
            index.iter().map(|entry| (entry.name().map(str::to_owned), entry.manifest.digest)).collect::<Vec<_>>()
        };
        let one = put("one", None);
        assert_eq!(names(), [(None, one)]);
        put("one", Some("1.0"));
        put("one", None);
        assert_eq!(names(), [(Some("1.0".to_owned()), one)]);
        let two = put("two", Some("1.0"));
        assert_eq!(names(), [(Some("1.0".to_owned()), two)]);
        let (manifest, blobs) = manifest("one");
        assert_eq!(Manifest::parse(&layout.blob(&one, 1 << 10).unwrap()).unwrap(), manifest);
        assert_eq!(layout.blob(&manifest.config.digest, 3).unwrap(), blobs[0]);
    }
}
