//! From a reference to a release whose image is in the cache and whole. Blocks; for the threads of [`super::work`].

use std::path::Path;
use std::sync::Arc;

use causeway_core::dfu::Release;

use super::catalogue::{Known, named};
use super::layouts::{self, Get, NoFirmware, Place, ReadError, Said, Source};
use super::unpack::{self, UnpackError};
use super::{Image, Shared, Unready, unready};
use crate::artifacts::{AtMost, Because, Blob, Descriptor, Digest, FetchError, Reference, Trusted, Wanted};

/// Who may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Only what lies here.
    Here,
    /// Registries too.
    Anywhere,
}

/// What came of looking for something.
pub(super) enum Found<T> {
    /// It is there.
    Yes(T),
    /// It is not here; somebody else may have it.
    Elsewhere,
    /// It is not to be had.
    No(Unready),
}

impl<T> Found<T> {
    fn of(error: ReadError, reference: &Reference) -> Self {
        match error {
            ReadError::Absent => Self::Elsewhere,
            ReadError::Fetch(error) => Self::No(unready(&error)),
            ReadError::No(NoFirmware::Unpack(UnpackError::Disk(error))) => {
                Self::No(Unready::Unavailable(format!("{reference}: {error}")))
            }
            ReadError::No(error) => Self::No(Unready::Refused(format!("{reference} is refused: {error}"))),
        }
    }
}

impl Shared {
    /// Looks for what a reference stands for.
    pub(super) fn look_for(&self, reference: &str, from: From) -> Found<Arc<Known>> {
        if let Some((name, version)) = named(reference) {
            return self.by_name(name, version, from);
        }
        let parsed = match reference.parse::<Reference>() {
            Ok(Reference::Builtin(_)) => return Found::No(Unready::Refused(format!("{reference} is no firmware"))),
            Ok(parsed) => parsed,
            Err(error) => return Found::No(Unready::Refused(error.to_string())),
        };
        if let Reference::File(path) = &parsed {
            return self.file(path, &parsed);
        }
        let digest = match (self.pinned(&parsed), from) {
            (Err(error), _) => return Found::No(unready(&error)),
            (Ok(Some(digest)), _) => digest,
            // A followed tag is polled.
            (Ok(None), From::Here) => return Found::Elsewhere,
            (Ok(None), From::Anywhere) => match self.artifacts.now(&parsed) {
                Ok(digest) => digest,
                Err(error) => return Found::No(unready(&error)),
            },
        };
        let found = self.at(&parsed, digest, from);
        if let (Found::Yes(_), None) = (&found, parsed.digest())
            && let Err(error) = self.artifacts.pin(&parsed, digest)
        {
            return Found::No(unready(&error));
        }
        found
    }

    /// What a reference stands for as far as that is settled: by itself, or by the lockfile.
    fn pinned(&self, reference: &Reference) -> Result<Option<Digest>, FetchError> {
        match reference.digest() {
            Some(digest) => Ok(Some(digest)),
            None => self.artifacts.locked(reference),
        }
    }

    /// One of what is known.
    fn by_name(&self, name: &str, version: &str, from: From) -> Found<Arc<Known>> {
        let mut meant = self.read().named(name, version);
        if meant.is_empty() {
            // Somebody may have published it since.
            meant = self.scan_for(|known| known.said.is(name, version));
        }
        let Some(first) = meant.first() else { return Found::No(Unready::Unknown) };
        if let Some(other) = meant.iter().find(|other| other.said.image != first.said.image) {
            let places = [first, other].map(|known| known.wanted.reference.to_string()).join(" and ");
            let text = format!("{name}:{version} is two images: {places}; name the one that is meant by its reference");
            return Found::No(Unready::Refused(text));
        }
        match self.provide(first, from) {
            Found::Yes(_) => Found::Yes(Arc::clone(first)),
            Found::Elsewhere => Found::Elsewhere,
            Found::No(why) => Found::No(why),
        }
    }

    /// What is at a place under a digest.
    pub(super) fn at(&self, reference: &Reference, digest: Digest, from: From) -> Found<Arc<Known>> {
        let wanted = self.wanted(reference.clone().at(digest));
        let trusted = match from {
            From::Here => self.artifacts.again(&digest, &wanted),
            From::Anywhere => self.artifacts.manifest(&wanted),
        };
        let known = match trusted {
            Ok(trusted) => self.known(wanted, trusted, from),
            // Somebody may have signed it since, or has it.
            Err(_) if from == From::Here => return Found::Elsewhere,
            Err(error) => return Found::No(unready(&error)),
        };
        match known {
            Ok(known) => match self.provide(&known, from) {
                Found::Yes(_) => Found::Yes(Arc::new(known)),
                Found::Elsewhere => Found::Elsewhere,
                Found::No(why) => Found::No(why),
            },
            Err(error) => Found::of(error, reference),
        }
    }

    /// Reads what a trusted artifact says.
    pub(super) fn known(&self, wanted: Wanted, trusted: Trusted, from: From) -> Result<Known, ReadError> {
        let place = Place {
            reference: &wanted.reference,
            repository: wanted.signed_as.as_deref(),
            most: self.config.max_image.bytes(),
        };
        let said =
            layouts::read(&trusted.manifest, place, &|blob: &Descriptor, most| self.blob(&trusted, blob, most, from))?;
        self.not_revoked(&said.image, &wanted.reference).map_err(ReadError::Fetch)?;
        Ok(known(wanted, said, trusted.signed_by.clone(), Some(trusted)))
    }

    /// Whether what has this digest may be used: an image in a layer has one of its own.
    pub(super) fn not_revoked(&self, digest: &Digest, reference: &Reference) -> Result<(), FetchError> {
        let revoked = self.artifacts.not_revoked(digest);
        revoked.map_err(|distrust| FetchError::refused(reference, distrust.because(), distrust))
    }

    pub(super) fn wanted(&self, reference: Reference) -> Wanted {
        super::wanted(&self.config, reference)
    }

    fn blob(
        &self,
        trusted: &Trusted,
        blob: &Descriptor,
        most: impl Into<AtMost>,
        from: From,
    ) -> Result<Option<Blob>, FetchError> {
        if from == From::Anywhere {
            return self.artifacts.blob(trusted, blob, most).map(Some);
        }
        self.not_revoked(&blob.digest, &trusted.reference)?;
        self.kept(&blob.digest, blob.size)
    }

    fn max_image(&self) -> AtMost {
        AtMost::of(self.config.max_image.bytes(), "firmware.max_image")
    }

    fn kept(&self, digest: &Digest, size: u64) -> Result<Option<Blob>, FetchError> {
        let disk = |error: crate::artifacts::cache::CacheError| FetchError::disk(self.artifacts.folder(), error.into());
        self.artifacts.kept_blob(digest, size).map_err(disk)
    }

    /// The image of a release, opened and verified, from where it may come.
    pub(super) fn provide(&self, known: &Known, from: From) -> Found<()> {
        let image = &known.release.image;
        if self.images.is_open(image) {
            return Found::Yes(());
        }
        let mut fetched = self.fetch_image(known, from);
        // What patches could be made of goes before a release that is asked for.
        if matches!(&fetched, Err(error) if error.is_full()) && self.let_bases_go() {
            fetched = self.fetch_image(known, from);
        }
        match fetched {
            Ok(blob) => {
                self.images.put(image, Ok(Image(blob)));
                Found::Yes(())
            }
            Err(error) => Found::of(error, &known.wanted.reference),
        }
    }

    fn fetch_image(&self, known: &Known, from: From) -> Result<Blob, ReadError> {
        let Said { image, size, source, .. } = &known.said;
        let reference = &known.wanted.reference;
        self.not_revoked(image, reference).map_err(ReadError::Fetch)?;
        match (source, &known.trusted) {
            (Source::Layer(layer), Some(trusted)) => {
                let blob = self.blob(trusted, layer, self.max_image(), from).map_err(ReadError::Fetch)?;
                blob.ok_or(ReadError::Absent)
            }
            (Source::Packed(file), Some(trusted)) => {
                if let Some(blob) = self.kept(image, *size).map_err(ReadError::Fetch)? {
                    return Ok(blob);
                }
                self.unpack(known, trusted, file, from)?;
                self.kept(image, *size).map_err(ReadError::Fetch)?.ok_or(ReadError::Absent)
            }
            (_, None) | (Source::File, Some(_)) => {
                if let Some(blob) = self.kept(image, *size).map_err(ReadError::Fetch)? {
                    return Ok(blob);
                }
                if let Reference::File(path) = reference {
                    self.keep_file(path, &known.wanted, (*image, *size))?;
                }
                self.kept(image, *size).map_err(ReadError::Fetch)?.ok_or(ReadError::Absent)
            }
        }
    }

    /// Makes a file of the cache of a file in the layers, if it is what the artifact says.
    fn unpack(&self, known: &Known, trusted: &Trusted, file: &'static str, from: From) -> Result<(), ReadError> {
        let most = self.config.max_image.bytes();
        let get: Get<'_> = &|blob: &Descriptor, most| self.blob(trusted, blob, most, from);
        let layers = layouts::layers(&trusted.manifest, most, get)?;
        let Said { image, size, .. } = known.said;
        let disk = |error: crate::artifacts::cache::CacheError| {
            ReadError::Fetch(FetchError::disk(self.artifacts.folder(), error.into()))
        };
        let mut draft = self.artifacts.draft(size).map_err(disk)?;
        let found = unpack::extract(&layers, file, size, most, draft.file())?;
        layouts::agree((image, size), found)?;
        self.artifacts.keep_draft(draft, &image).map_err(disk)
    }

    /// A bare file with `<name>.json` beside `<name>.bin`.
    fn file(&self, path: &Path, reference: &Reference) -> Found<Arc<Known>> {
        match self.read_file(path, reference) {
            Ok(known) => Found::Yes(Arc::new(known)),
            Err(error) => Found::of(error, reference),
        }
    }

    fn read_file(&self, path: &Path, reference: &Reference) -> Result<Known, ReadError> {
        const MAX_METADATA: u64 = 64 << 10;
        let wanted = self.wanted(reference.clone());
        let beside = path.with_extension("json");
        let absent = |what: String| ReadError::Fetch(FetchError::not_found(reference, what));
        if !path.exists() {
            return Err(absent("there is no such file".to_owned()));
        }
        if !beside.exists() {
            let beside = beside.display();
            let remedy = "write its version, size and checksum there, or publish it with `causeway firmware push`";
            return Err(absent(format!("there is no {beside} that says what it is; {remedy}")));
        }
        let metadata = std::fs::metadata(&beside).and_then(|found| match found.len() <= MAX_METADATA {
            true => std::fs::read(&beside),
            false => Err(std::io::Error::other("it is too large for what is said of a firmware")),
        });
        let metadata = metadata.map_err(|source| ReadError::Fetch(FetchError::disk(&beside, source)))?;
        let (version, image, size) = layouts::metadata(&metadata)?;
        let signed_by = self.keep_file(path, &wanted, (image, size))?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| layouts::is_name(name));
        let name = name.ok_or(NoFirmware::Name)?.to_owned();
        let said =
            Said { name, version: layouts::checked(version)?, from: Vec::new(), image, size, source: Source::File };
        let found = known(wanted, said, signed_by, None);
        match self.provide(&found, From::Here) {
            Found::Yes(()) => Ok(found),
            Found::Elsewhere | Found::No(_) => Err(ReadError::Fetch(FetchError::refused(
                reference,
                Because::Digest,
                "it was changed while it was read",
            ))),
        }
    }

    /// Takes a file into the cache, if it may be used and is what is said of it; returns who signed it.
    fn keep_file(&self, path: &Path, wanted: &Wanted, said: (Digest, u64)) -> Result<Option<String>, ReadError> {
        let file = self.artifacts.file(path, wanted, self.max_image()).map_err(ReadError::Fetch)?;
        layouts::agree(said, (file.digest, file.bytes.len() as u64))?;
        let kept = self.artifacts.keep(&file.bytes);
        kept.map_err(|error| ReadError::Fetch(FetchError::disk(self.artifacts.folder(), error.into())))?;
        Ok(file.signed_by)
    }
}

fn known(wanted: Wanted, said: Said, signed_by: Option<String>, trusted: Option<Trusted>) -> Known {
    let Said { name, version, from, image, size, .. } = said.clone();
    let (checksum, image) = (image.bytes(), image.to_string());
    let release = Arc::new(Release { name, version, image, size, checksum, from });
    Known { release, wanted, trusted, said, signed_by }
}
