//! Where an artifact is fetched from: a registry or a layout. What comes from there is checked by its digest, and believed
//! by nobody before it was judged.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::digest::Digest;
use super::files::{CHUNK, FileError};
use super::layout::{Entry, Layout, LayoutError};
use super::manifest::{Descriptor, Manifest};
use super::reference::{ImageReference, Reference};
use super::registry::{Registries, RegistryError, Signatures};
use super::signature::{MAX_PAYLOAD, Signed};
use super::trust::Evidence;
use super::{AtMost, Because, FetchError};

/// Where one reference leads.
pub(super) struct Origin<'o> {
    /// As messages name it.
    reference: &'o Reference,
    place: Place<'o>,
    max_manifest: u64,
}

enum Place<'o> {
    Registry { registries: &'o Registries, runtime: &'o Handle, image: &'o ImageReference },
    Layout { layout: Layout, tag: Option<&'o str> },
}

impl<'o> Origin<'o> {
    /// The place of a reference.
    ///
    /// # Errors
    /// There is no such layout, or a file or a part of the program is meant.
    pub(super) fn of(
        reference: &'o Reference,
        registries: &'o Registries,
        runtime: &'o Handle,
        max_manifest: u64,
    ) -> Result<Self, FetchError> {
        let place = match reference {
            Reference::Registry(image) => Place::Registry { registries, runtime, image },
            Reference::Layout { path, tag, .. } => {
                let layout = Layout::open(path).map_err(|error| error.about(reference))?;
                Place::Layout { layout, tag: tag.as_deref() }
            }
            Reference::File(_) | Reference::Builtin(_) => {
                return Err(FetchError::not_found(reference, "it is no image; write `oci://` or `oci-layout://`"));
            }
        };
        Ok(Self { reference, place, max_manifest })
    }

    /// A layout in place of what the reference says.
    pub(super) const fn in_layout(reference: &'o Reference, layout: Layout, max_manifest: u64) -> Self {
        Self { reference, place: Place::Layout { layout, tag: None }, max_manifest }
    }

    const fn max_manifest(&self) -> AtMost {
        AtMost::of(self.max_manifest, "artifacts.max_manifest")
    }

    /// What the reference stands for there, now.
    pub(super) fn resolve(&self) -> Result<Digest, FetchError> {
        match &self.place {
            Place::Registry { registries, runtime, image } => {
                runtime.block_on(registries.resolve(image)).map_err(|error| self.registry(error))
            }
            Place::Layout { layout, tag } => self.find(layout, *tag),
        }
    }

    /// The signatures of an image, whoever made them.
    pub(super) fn evidence(&self, digest: &Digest) -> Result<Evidence, FetchError> {
        let (image, bundle) = self.signed(digest)?;
        let mut signatures = Vec::new();
        for (descriptor, signature) in image.iter().flat_map(Signed::layers) {
            signatures.push(Signed { payload: self.payload(descriptor)?, signature });
        }
        Ok(Evidence { signatures, bundle })
    }

    /// The image that holds the signatures of another one, if there is one.
    pub(super) fn signatures(&self, digest: &Digest) -> Result<Option<Manifest>, FetchError> {
        self.signed(digest).map(|(image, _)| image)
    }

    /// The image of the signatures, and else whether there is a bundle.
    fn signed(&self, digest: &Digest) -> Result<(Option<Manifest>, bool), FetchError> {
        let bytes = match &self.place {
            Place::Registry { registries, runtime, image } => {
                match runtime.block_on(registries.signatures(image, digest)) {
                    Ok(Signatures::Cosign(bytes)) => bytes.to_vec(),
                    Ok(Signatures::Bundle) => return Ok((None, true)),
                    Ok(Signatures::Absent) => return Ok((None, false)),
                    Err(error) => return Err(self.registry(error)),
                }
            }
            Place::Layout { layout, .. } => match self.find(layout, Some(&digest.signature_tag())) {
                Ok(signatures) => self.local(layout.blob(&signatures, self.max_manifest()))?,
                Err(FetchError::NotFound { .. }) => return Ok((None, false)),
                Err(error) => return Err(error),
            },
        };
        let manifest = Manifest::parse(&bytes).map_err(|error| {
            FetchError::refused(self.reference, Because::Signature, format!("what should hold its signatures: {error}"))
        })?;
        Ok((Some(manifest), false))
    }

    /// The manifest of this digest, to the byte.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, FetchError> {
        match &self.place {
            Place::Registry { registries, runtime, image } => {
                let bytes = runtime.block_on(registries.manifest(image, digest));
                bytes.map(|bytes| bytes.to_vec()).map_err(|error| self.registry(error))
            }
            Place::Layout { layout, .. } => self.local(layout.blob(digest, self.max_manifest())),
        }
    }

    /// Writes a blob into a file below `folder`, exactly as many bytes as its descriptor says.
    pub(super) fn blob(&self, descriptor: &Descriptor, file: &mut File, folder: &Path) -> Result<(), FetchError> {
        match &self.place {
            Place::Registry { registries, runtime, image } => {
                let fetching = registries.blob(image, &descriptor.digest, descriptor.size, file);
                runtime.block_on(fetching).map_err(|error| error.about(self.reference, folder))
            }
            Place::Layout { layout, .. } => self.local(copy(layout, descriptor, file, folder)),
        }
    }

    /// The text of a signature: small, and read into memory.
    fn payload(&self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        match &self.place {
            Place::Registry { registries, runtime, image } => {
                let mut file = anonymous().map_err(|source| FetchError::disk(&std::env::temp_dir(), source))?;
                let fetching = registries.blob(image, &descriptor.digest, descriptor.size, &mut file);
                runtime.block_on(fetching).map_err(|error| self.registry(error))?;
                let mut bytes = vec![0; usize::try_from(descriptor.size).unwrap_or_default()];
                file.read_exact_at(&mut bytes, 0).map_err(|source| FetchError::disk(Path::new("memory"), source))?;
                Ok(bytes)
            }
            Place::Layout { layout, .. } => self.local(layout.blob(&descriptor.digest, MAX_PAYLOAD)),
        }
    }

    /// The image of a name in a layout; without a name the only one that is no signature.
    fn find(&self, layout: &Layout, name: Option<&str>) -> Result<Digest, FetchError> {
        let index = self.local(layout.index())?;
        let is_meant = |entry: &&Entry| match name {
            Some(name) => entry.name() == Some(name),
            None => !entry.is_signature(),
        };
        let mut meant: Vec<_> = index.iter().filter(is_meant).map(|entry| entry.manifest.digest).collect();
        meant.sort_unstable();
        meant.dedup();
        match meant.as_slice() {
            [digest] => Ok(*digest),
            [] => Err(FetchError::not_found(self.reference, "the layout has no such image")),
            _ => Err(FetchError::not_found(
                self.reference,
                format!("the layout has {} such images; add the `:tag` or the digest of one", meant.len()),
            )),
        }
    }

    fn local<T>(&self, result: Result<T, LayoutError>) -> Result<T, FetchError> {
        result.map_err(|error| error.about(self.reference))
    }

    fn registry(&self, error: RegistryError) -> FetchError {
        error.about(self.reference, &PathBuf::from("the file for it"))
    }
}

/// A file without a name, in memory.
fn anonymous() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("causeway-signature", rustix::fs::MemfdFlags::CLOEXEC)?))
}

/// Copies a blob of a layout, which may be on a stick that is pulled out or written to meanwhile.
fn copy(layout: &Layout, descriptor: &Descriptor, file: &mut File, folder: &Path) -> Result<(), LayoutError> {
    let path = layout.blob_path(&descriptor.digest);
    let disk = |source| FileError::disk(&path, source);
    let full = |source| FileError::disk(folder, source);
    let from = layout.blob_file(&descriptor.digest)?;
    let bytes = from.metadata().map_err(disk)?.len();
    if bytes != descriptor.size {
        return Err(FileError::Size { path, bytes, expected: descriptor.size.to_string() }.into());
    }
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(full)?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < descriptor.size {
        let read = from.read_at(&mut chunk, at).map_err(disk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        at += read as u64;
        if at > descriptor.size {
            return Err(FileError::Size { path, bytes: at, expected: descriptor.size.to_string() }.into());
        }
        file.write_all(bytes).map_err(full)?;
    }
    Ok(())
}
