//! What is known: the references that were asked for, and the releases that lie here.
//!
//! Only tables and what follows from them; who fetches and when is said elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway_core::dfu::Release;

use super::Unready;
use super::layouts::{Said, is_name};
use crate::artifacts::{Digest, Trusted, Wanted};

/// A release, and where it came from.
#[derive(Debug)]
pub struct Known {
    /// The release.
    pub release: Arc<Release>,
    /// What was asked for, with the digest that it stood for.
    pub wanted: Wanted,
    /// Its manifest; a file has none.
    pub trusted: Option<Trusted>,
    /// What it says of its image.
    pub said: Said,
    /// The key whose signature it has.
    pub signed_by: Option<String>,
}

impl Known {
    /// The digest of its manifest, or of the file that it is.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.trusted.as_ref().map_or(self.said.image, |trusted| trusted.digest)
    }
}

/// A reference or a release, as operators see it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it was asked for as, or where it lies.
    pub reference: String,
    /// The release, if it is known.
    pub known: Option<Arc<Known>>,
    /// Whether somebody asked for it since the start.
    pub asked: bool,
    /// Whether its image is open.
    pub open: bool,
    /// Why it is not ready.
    pub problem: Option<Unready>,
}

/// A reference that somebody asked for.
#[derive(Debug, Default)]
struct Entry {
    ready: Option<Arc<Known>>,
    problem: Option<Unready>,
    /// A job is queued or at work.
    busy: bool,
    /// When it is to be asked for again.
    due: Option<Instant>,
    used: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Catalogue {
    most: usize,
    entries: HashMap<String, Entry>,
    /// What lies here, by the digests of their manifests.
    here: BTreeMap<Digest, Arc<Known>>,
    /// Grows with each use.
    uses: AtomicU64,
}

impl Catalogue {
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), here: BTreeMap::new(), uses: AtomicU64::new(0) }
    }

    /// What is known of a reference; none if nobody has asked for it.
    pub(super) fn find(&self, reference: &str) -> Option<Result<Arc<Release>, Unready>> {
        let entry = self.entries.get(reference)?;
        entry.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(match (&entry.ready, &entry.problem) {
            (Some(known), _) => Ok(Arc::clone(&known.release)),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) if entry.busy => Err(Unready::Fetching),
            (None, None) => return None,
        })
    }

    /// Notes that somebody wants a reference; returns how many others had to be forgotten.
    pub(super) fn ask(&mut self, reference: &str) -> u64 {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        self.entries.entry(reference.to_owned()).or_default().used = now.into();
        let mut forgotten = 0;
        while self.entries.len() > self.most {
            let age = |(_, entry): &(&String, &Entry)| entry.used.load(Ordering::Relaxed);
            let Some(oldest) = self.entries.iter().min_by_key(age).map(|(reference, _)| reference.clone()) else {
                break;
            };
            self.entries.remove(&oldest);
            forgotten += 1;
        }
        forgotten
    }

    /// Notes whether a job for a reference found room.
    pub(super) fn asked(&mut self, reference: &str, queued: bool) {
        if let Some(entry) = self.entries.get_mut(reference) {
            entry.busy = queued;
        }
    }

    /// What came of asking for a reference.
    pub(super) fn found(&mut self, reference: &str, found: Result<Arc<Known>, Unready>, retry: Duration) {
        if let Ok(known) = &found {
            self.here.insert(known.digest(), Arc::clone(known));
        }
        let Some(entry) = self.entries.get_mut(reference) else { return };
        entry.busy = false;
        match found {
            Ok(known) => (entry.ready, entry.problem, entry.due) = (Some(known), None, None),
            Err(problem) => (entry.problem, entry.due) = (Some(problem), Some(Instant::now() + retry)),
        }
    }

    /// What may be used no more.
    pub(super) fn refuse(&mut self, digest: &Digest, problem: &Unready) {
        self.here.remove(digest);
        for entry in self.entries.values_mut() {
            if entry.ready.as_ref().is_some_and(|known| known.digest() == *digest) {
                (entry.ready, entry.problem) = (None, Some(problem.clone()));
                entry.due = Some(Instant::now());
            }
        }
    }

    /// What was found here.
    pub(super) fn lies_here(&mut self, known: Arc<Known>) {
        if self.here.len() < self.most || self.here.contains_key(&known.digest()) {
            self.here.entry(known.digest()).or_insert(known);
        }
    }

    /// The references that are to be asked for again now; they count as asked.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let is_due = |entry: &Entry| !entry.busy && entry.due.is_some_and(|due| due <= now);
        let due = self.entries.iter_mut().filter(|(_, entry)| is_due(entry));
        due.map(|(reference, entry)| {
            (entry.busy, entry.due) = (true, None);
            reference.clone()
        })
        .collect()
    }

    /// When the next reference is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| !entry.busy).filter_map(|entry| entry.due).min()
    }

    /// Everything that is known, each once.
    pub(super) fn all(&self) -> Vec<Arc<Known>> {
        let mut all: BTreeMap<Digest, Arc<Known>> = self.here.clone();
        all.extend(
            self.entries
                .values()
                .filter_map(|entry| entry.ready.as_ref())
                .map(|known| (known.digest(), Arc::clone(known))),
        );
        all.into_values().collect()
    }

    /// The releases of this name and version.
    pub(super) fn named(&self, name: &str, version: &str) -> Vec<Arc<Known>> {
        let is_meant = |known: &Arc<Known>| known.said.name == name && known.said.version == version;
        self.here.values().filter(|known| is_meant(known)).cloned().collect()
    }

    /// A release with this image.
    pub(super) fn by_image(&self, image: &Digest) -> Option<Arc<Known>> {
        let of_entries = self.entries.values().filter_map(|entry| entry.ready.as_ref());
        of_entries.chain(self.here.values()).find(|known| known.said.image == *image).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.here.len()
    }

    pub(super) fn list(&self, is_open: impl Fn(&str) -> bool) -> Vec<Listed> {
        let open = |known: Option<&Arc<Known>>| known.is_some_and(|known| is_open(&known.release.image));
        let asked = self.entries.iter().map(|(reference, entry)| Listed {
            reference: reference.clone(),
            known: entry.ready.clone(),
            asked: true,
            open: open(entry.ready.as_ref()),
            problem: entry.problem.clone(),
        });
        let mut listed: Vec<Listed> = asked.collect();
        let has = |digest: Digest| {
            self.entries.values().any(|entry| entry.ready.as_ref().is_some_and(|known| known.digest() == digest))
        };
        let others = self.here.values().filter(|known| !has(known.digest()));
        listed.extend(others.map(|known| Listed {
            reference: known.wanted.reference.to_string(),
            known: Some(Arc::clone(known)),
            asked: false,
            open: open(Some(known)),
            problem: None,
        }));
        listed.sort_by(|left, right| left.reference.cmp(&right.reference));
        listed
    }
}

/// `name:version` of what is known, if a text is that and no other reference.
pub(super) fn named(reference: &str) -> Option<(&str, &str)> {
    reference
        .split_once(':')
        .filter(|(name, version)| is_name(name) && !version.starts_with("//") && !version.is_empty())
}
