//! What lies here: in the cache, and in the gateway's own layout of firmware.
//!
//! All of it is read when the gateway starts, when what it trusts has changed, and when a name is not known. Whoever only
//! looks is shown what has come since, and nothing that is known is read for that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::catalogue::Known;
use super::find::From;
use super::layouts::{BLOB, ReadError};
use super::unpack::packed;
use super::{KIND, Shared, unready};
use crate::artifacts::layout::Layout;
use crate::artifacts::{Because, Digest, Entry, FetchError, Manifest, Reference};

/// What was looked at already; as large as the two indexes at most.
#[derive(Default)]
pub(super) struct Seen(Mutex<BTreeSet<Named>>);

/// An image as an index names it. One that gets another name or other signatures is another one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Named {
    shelf: Shelf,
    name: Option<String>,
    image: Digest,
    signatures: Option<Digest>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Shelf {
    Cache,
    Own,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Named>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Removes what a publisher that was killed left unfinished in the own layout.
    pub(super) fn tidy(&self) {
        let dir = &self.config.dir;
        if dir.exists()
            && let Err(error) = Layout::open(dir).and_then(|layout| layout.remove_abandoned())
        {
            tracing::warn!(%error, "the own layout of firmware cannot be tidied");
        }
    }

    /// Sees all that lies here, and whether what is known may still be used.
    pub(super) fn scan(&self) {
        self.scan_for(|_| false);
    }

    /// The same; returns what is meant of it, also if more lies here than is known at the same time.
    pub(super) fn scan_for(&self, is_meant: impl Fn(&Known) -> bool) -> Vec<Arc<Known>> {
        // Not in the loop's head: the lock would be held while what is refused is noted.
        let all = self.read().all();
        all.iter().for_each(|known| self.judge_known(known));
        let mut meant = Vec::new();
        self.look(&BTreeSet::new(), |known| {
            if is_meant(&known) {
                meant.push(known);
            }
        });
        self.hold();
        meant
    }

    /// Sees what has come since it was last looked.
    pub(super) fn look_for_new(&self) {
        let before = self.seen.lock().clone();
        if self.look(&before, drop) {
            self.hold();
        }
    }

    /// Looks at what was not looked at before, and shows each release of it; whether there was any.
    fn look(&self, before: &BTreeSet<Named>, mut show: impl FnMut(Arc<Known>)) -> bool {
        let (mut seen, mut any) = (BTreeSet::new(), false);
        for (shelf, index) in [(Shelf::Cache, self.index_of_cache()), (Shelf::Own, self.own_index())] {
            for entry in index.iter().filter(|entry| !entry.is_signature()) {
                let named = Named::of(shelf, entry, &index);
                if before.contains(&named) {
                    seen.insert(named);
                    continue;
                }
                any = true;
                if self.settled(shelf, entry) {
                    seen.insert(named);
                }
                // Before the next one takes its place.
                if let Some(known) = self.read().here(&entry.manifest.digest) {
                    show(known);
                }
            }
        }
        *self.seen.lock() = seen;
        any
    }

    fn index_of_cache(&self) -> Vec<Entry> {
        let index = self.artifacts.index();
        index.inspect_err(|error| tracing::warn!(%error, "the cache cannot be read")).unwrap_or_default()
    }

    fn own_index(&self) -> Vec<Entry> {
        let dir = &self.config.dir;
        if !dir.join("index.json").exists() {
            return Vec::new();
        }
        let index = Layout::open(dir).and_then(|layout| layout.index());
        index
            .inspect_err(|error| tracing::warn!(%error, "the own layout of firmware cannot be read"))
            .unwrap_or_default()
    }

    /// Looks at one image; whether to look at it again would show the same, as long as nobody else is trusted.
    fn settled(&self, shelf: Shelf, entry: &Entry) -> bool {
        // Judged again before, if anybody was.
        if self.read().here(&entry.manifest.digest).is_some() {
            return true;
        }
        if shelf == Shelf::Own {
            let (tag, digest) = (entry.name().map(str::to_owned), Some(entry.manifest.digest));
            return self.note(Reference::Layout { path: self.config.dir.clone(), tag, digest }, From::Anywhere);
        }
        let listed =
            self.artifacts.listed(entry).inspect_err(|error| tracing::warn!(%error, "the cache cannot be read"));
        let Ok(Some(listed)) = listed else { return false };
        if self.patches.note(&listed) || !may_be_firmware(&listed.manifest) {
            return true;
        }
        match listed.reference.parse::<Reference>() {
            Ok(reference) => self.note(reference.at(listed.digest), From::Here),
            Err(_) => true,
        }
    }

    /// What is known and may not be used any more is forgotten and closed.
    ///
    /// Whoever changes the trust stores it, then has the catalogue note that, then asks for a scan. So what was judged
    /// before and became known after that scan is used no more if it is judged again once it is known.
    pub(super) fn judge_known(&self, known: &Known) {
        // What was swept away is fetched again by whoever wants it; what is refused is not used any more.
        if let Err(error @ FetchError::Refused { .. }) = self.judge_again(known) {
            self.write().refuse(known, &unready(&error));
            self.images.close(&known.release.image);
        }
    }

    /// Whether what is known may still be used.
    fn judge_again(&self, known: &Known) -> Result<(), FetchError> {
        let (image, reference) = (&known.said.image, &known.wanted.reference);
        self.not_revoked(image, reference)?;
        let Some(trusted) = &known.trusted else {
            let judged = self.artifacts.judge_kept_file(reference, KIND, image, known.signed_by.as_deref());
            return judged.map_err(|distrust| FetchError::refused(reference, distrust.because(), distrust));
        };
        self.artifacts.again(&trusted.digest, &known.wanted).map(drop)
    }

    /// Notes what lies here, if it may be used; whether that is settled.
    fn note(&self, reference: Reference, from: From) -> bool {
        let Some(digest) = reference.digest() else { return true };
        let wanted = self.wanted(reference);
        let trusted = match from {
            From::Here => self.artifacts.again(&digest, &wanted),
            From::Anywhere => self.artifacts.manifest(&wanted),
        };
        let reference = wanted.reference.clone();
        match trusted {
            Ok(trusted) => match self.known(wanted, trusted, from) {
                Ok(known) => {
                    self.write().lies_here(Arc::new(known));
                    true
                }
                Err(error) => {
                    tracing::debug!(%reference, ?error, "what lies here is no firmware that can be used");
                    matches!(error, ReadError::No(_))
                }
            },
            Err(error) => {
                tracing::warn!(%reference, %error, "a release that lies here is not used");
                matches!(error, FetchError::Refused { because, .. } if because != Because::Digest)
            }
        }
    }
}

impl Named {
    fn of(shelf: Shelf, entry: &Entry, index: &[Entry]) -> Self {
        let (image, tag) = (entry.manifest.digest, entry.manifest.digest.signature_tag());
        let signatures = index.iter().find(|entry| entry.name() == Some(&tag)).map(|entry| entry.manifest.digest);
        Self { shelf, name: entry.name().map(str::to_owned), image, signatures }
    }
}

/// Whether an artifact can be one of firmware: others lie beside it.
fn may_be_firmware(manifest: &Manifest) -> bool {
    manifest.layers.iter().any(|layer| layer.media_type == BLOB || packed(&layer.media_type).is_some())
}
