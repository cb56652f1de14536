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
    /// Whether its image is in the cache.
    pub cached: bool,
    /// Whether its image is open.
    pub open: bool,
    /// Why it is not ready, or why a followed tag is not followed now.
    pub problem: Option<Unready>,
    /// Whether it is a tag that is followed.
    pub followed: bool,
    /// What a followed tag stands for now, which waits for approval.
    pub waiting: Option<Arc<Known>>,
}

/// A tag that is followed: what it stands for is asked again and again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Followed {
    /// The reference, with a tag.
    pub reference: String,
    /// Whether what it stands for anew waits for an operator.
    pub approval: bool,
}

/// A reference that somebody asked for.
#[derive(Debug, Default)]
struct Entry {
    ready: Option<Arc<Known>>,
    problem: Option<Unready>,
    /// A job is queued or at work, since the trust had changed so many times.
    busy: Option<u64>,
    /// When it is to be asked for again.
    due: Option<Instant>,
    used: AtomicU64,
    /// Followed, with approval or without.
    followed: Option<bool>,
    /// An operator had it asked for and was not told what came of that.
    insisted: bool,
    waiting: Option<Arc<Known>>,
}

/// A release that lies here.
#[derive(Debug)]
struct Here {
    known: Arc<Known>,
    /// When it was last needed to make patches of; 0: never.
    used: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Catalogue {
    most: usize,
    entries: HashMap<String, Entry>,
    /// What lies here, by the digests of their manifests.
    here: BTreeMap<Digest, Here>,
    /// Grows with each use.
    uses: AtomicU64,
    /// Grows with each change of what is trusted.
    changes: u64,
    /// What went and is not counted yet.
    gone: u64,
}

impl Catalogue {
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), here: BTreeMap::new(), uses: AtomicU64::new(1), changes: 0, gone: 0 }
    }

    fn now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known of a reference; none if nobody has asked for it.
    pub(super) fn find(&self, reference: &str) -> Option<Result<Arc<Release>, Unready>> {
        let entry = self.entries.get(reference)?;
        entry.used.store(self.now(), Ordering::Relaxed);
        Some(match (&entry.ready, &entry.problem) {
            (Some(known), _) => Ok(Arc::clone(&known.release)),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) if entry.busy.is_some() => Err(Unready::Fetching),
            (None, None) => return None,
        })
    }

    /// What a reference stands for here.
    pub(super) fn ready(&self, reference: &str) -> Option<Arc<Known>> {
        self.entries.get(reference)?.ready.clone()
    }

    /// Notes that somebody wants a reference, and that a job for it is about to be queued; returns how many others had to
    /// be forgotten.
    pub(super) fn ask(&mut self, reference: &str) -> u64 {
        let (now, changes) = (self.now(), self.changes);
        let entry = self.entries.entry(reference.to_owned()).or_default();
        (entry.used, entry.busy) = (now.into(), Some(changes));
        let mut forgotten = 0;
        while self.entries.len() > self.most {
            let others = self.entries.iter().filter(|(other, entry)| entry.followed.is_none() && *other != reference);
            let oldest = others.min_by_key(|(_, entry)| entry.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(reference, _)| reference.clone()) else { break };
            self.entries.remove(&oldest);
            forgotten += 1;
        }
        forgotten
    }

    /// A job for a reference is about to be queued.
    pub(super) fn busy(&mut self, reference: &str) {
        if let Some(entry) = self.entries.get_mut(reference) {
            entry.busy = Some(self.changes);
        }
    }

    /// A job for a reference found no room.
    pub(super) fn not_asked(&mut self, reference: &str, retry: Duration) {
        if let Some(entry) = self.entries.get_mut(reference) {
            (entry.busy, entry.due) = (None, Some(Instant::now() + retry));
        }
    }

    /// What came of asking for a reference; whether the trust may have changed since it was asked for.
    pub(super) fn found(
        &mut self,
        reference: &str,
        found: Result<Arc<Known>, Unready>,
        again: Option<Duration>,
    ) -> bool {
        if let Ok(known) = &found {
            self.lies_here(Arc::clone(known));
        }
        let Some(entry) = self.entries.get_mut(reference) else { return true };
        let is_outdated = entry.busy.take() != Some(self.changes);
        entry.due = again.map(|pause| Instant::now() + pause);
        match found {
            Ok(known) => {
                entry.waiting = entry.waiting.take().filter(|waiting| waiting.digest() != known.digest());
                (entry.ready, entry.problem) = (Some(known), None);
            }
            Err(problem) => {
                // Whom that was asked about may be trusted by now.
                if is_outdated && matches!(problem, Unready::Refused(_)) {
                    entry.due = Some(Instant::now());
                }
                entry.problem = Some(problem);
            }
        }
        is_outdated
    }

    /// What is to be followed from now on; returns what was not followed so before.
    pub(super) fn follow(&mut self, followed: &[Followed]) -> Vec<String> {
        let (now, changes) = (self.now(), self.changes);
        for (reference, entry) in &mut self.entries {
            if followed.iter().all(|followed| followed.reference != *reference) {
                (entry.followed, entry.waiting) = (None, None);
            }
        }
        let mut new = Vec::new();
        for Followed { reference, approval } in followed {
            let entry = self.entries.entry(reference.clone()).or_default();
            if entry.followed.replace(*approval) != Some(*approval) {
                (entry.used, entry.busy) = (now.into(), Some(changes));
                new.push(reference.clone());
            }
        }
        new
    }

    /// Whether a tag is followed, and then whether it needs approval.
    pub(super) fn followed(&self, reference: &str) -> Option<bool> {
        self.entries.get(reference)?.followed
    }

    /// What a followed tag stands for anew waits for approval; none if it stands for what it did.
    pub(super) fn wait(&mut self, reference: &str, waiting: Option<Arc<Known>>, poll: Duration) {
        let Some(entry) = self.entries.get_mut(reference) else { return };
        (entry.busy, entry.due, entry.problem) = (None, Some(Instant::now() + poll), None);
        if entry.ready.is_none() && waiting.is_some() {
            let text = format!("{reference} waits for approval: `causeway firmware pin {reference}`");
            entry.problem = Some(Unready::Refused(text));
        }
        entry.waiting = waiting;
    }

    /// What waits for approval under a reference.
    pub(super) fn waiting(&self, reference: &str) -> Option<Arc<Known>> {
        self.entries.get(reference)?.waiting.clone()
    }

    /// What may be used no more, as what it was asked for as; by another reference it may still be.
    pub(super) fn refuse(&mut self, refused: &Known, problem: &Unready) {
        let same = |known: &Known| known.digest() == refused.digest() && known.wanted == refused.wanted;
        let is_it = |known: &Option<Arc<Known>>| known.as_ref().is_some_and(|known| same(known));
        self.here.retain(|_, here| !same(&here.known));
        for entry in self.entries.values_mut() {
            if is_it(&entry.waiting) {
                entry.waiting = None;
            }
            if is_it(&entry.ready) {
                (entry.ready, entry.problem) = (None, Some(problem.clone()));
                entry.due = Some(Instant::now());
            }
        }
    }

    /// Notes what lies here. Of more than are known at the same time, one goes that nobody needs.
    pub(super) fn lies_here(&mut self, known: Arc<Known>) {
        let digest = known.digest();
        self.here.entry(digest).or_insert_with(|| Here { known, used: AtomicU64::new(0) });
        while self.here.len() > self.most {
            let others = self.here.iter().filter(|(other, _)| **other != digest && !self.is_ready(other));
            let oldest = others.min_by_key(|(_, here)| here.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else { break };
            self.here.remove(&oldest);
            self.gone += 1;
        }
    }

    /// How many releases went since this was last asked because others lie here.
    pub(super) fn gone(&mut self) -> u64 {
        std::mem::take(&mut self.gone)
    }

    fn is_ready(&self, digest: &Digest) -> bool {
        self.ready_ones().any(|known| known.digest() == *digest)
    }

    /// What references stand for, or may stand for once that is approved.
    fn ready_ones(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.entries.values().flat_map(|entry| entry.ready.iter().chain(&entry.waiting))
    }

    /// What has to stay: what is asked for, and what patches are made of.
    pub(super) fn needed(&self) -> Vec<Arc<Known>> {
        let of_patches = self.here.values().filter(|here| here.used.load(Ordering::Relaxed) > 0);
        self.ready_ones().chain(of_patches.map(|here| &here.known)).cloned().collect()
    }

    /// Patches are made of nothing any more until somebody asks for one.
    pub(super) fn let_bases_go(&mut self) -> bool {
        let had = |here: &mut Here| std::mem::take(here.used.get_mut()) > 0;
        // All of them, not only up to the first.
        self.here.values_mut().map(had).fold(false, |any, had| any | had)
    }

    /// The references that are to be asked for again now; they count as asked.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let changes = self.changes;
        let is_due = |entry: &Entry| entry.busy.is_none() && entry.due.is_some_and(|due| due <= now);
        let due = self.entries.iter_mut().filter(|(_, entry)| is_due(entry));
        due.map(|(reference, entry)| {
            (entry.busy, entry.due) = (Some(changes), None);
            reference.clone()
        })
        .collect()
    }

    /// Whether what is known of a reference came of an operator's asking, which is told once.
    pub(super) fn is_told(&mut self, reference: &str) -> bool {
        let Some(entry) = self.entries.get_mut(reference) else { return false };
        let is_told = entry.insisted && entry.busy.is_none();
        entry.insisted = !is_told;
        is_told
    }

    /// Whether a job for a reference is queued or at work.
    pub(super) fn is_busy(&self, reference: &str) -> bool {
        self.entries.get(reference).is_some_and(|entry| entry.busy.is_some())
    }

    /// What was refused is asked for again now, or when what is at work ends: others are trusted now.
    pub(super) fn hasten_refused(&mut self) {
        self.changes += 1;
        let refused = |entry: &&mut Entry| matches!(entry.problem, Some(Unready::Refused(_)));
        for due in self.entries.values_mut().filter(refused).filter_map(|entry| entry.due.as_mut()) {
            *due = Instant::now();
        }
    }

    /// When the next reference is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| entry.busy.is_none()).filter_map(|entry| entry.due).min()
    }

    /// Everything that is known, each once for each reference.
    pub(super) fn all(&self) -> Vec<Arc<Known>> {
        let here = self.here.values().map(|here| &here.known);
        let key = |known: &Known| (known.digest(), known.wanted.reference.clone());
        let all: BTreeMap<_, &Arc<Known>> = here.chain(self.ready_ones()).map(|known| (key(known), known)).collect();
        all.into_values().cloned().collect()
    }

    /// The release with this manifest, if it is known to lie here.
    pub(super) fn here(&self, manifest: &Digest) -> Option<Arc<Known>> {
        self.here.get(manifest).map(|here| Arc::clone(&here.known))
    }

    /// The releases of this name and version.
    pub(super) fn named(&self, name: &str, version: &str) -> Vec<Arc<Known>> {
        let is_meant = |known: &&Arc<Known>| known.said.is(name, version);
        self.here.values().map(|here| &here.known).filter(is_meant).cloned().collect()
    }

    /// The one release of this name and version, to make a patch of; it is needed from now on.
    pub(super) fn base(&self, name: &str, version: &str) -> Option<Arc<Known>> {
        let is_meant = |here: &&Here| here.known.said.is(name, version);
        let mut meant = self.here.values().filter(is_meant);
        let base = meant.next()?;
        if meant.any(|other| other.known.said.image != base.known.said.image) {
            return None;
        }
        base.used.store(self.now(), Ordering::Relaxed);
        Some(Arc::clone(&base.known))
    }

    /// A release with this image.
    pub(super) fn by_image(&self, image: &Digest) -> Option<Arc<Known>> {
        let all = self.ready_ones().chain(self.here.values().map(|here| &here.known));
        all.into_iter().find(|known| known.said.image == *image).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.here.len()
    }

    /// Everything, as operators see it; what is in the cache is for the caller to look up.
    pub(super) fn list(&self, is_open: impl Fn(&str) -> bool) -> Vec<Listed> {
        let open = |known: Option<&Arc<Known>>| known.is_some_and(|known| is_open(&known.release.image));
        let asked = self.entries.iter().map(|(reference, entry)| Listed {
            reference: reference.clone(),
            known: entry.ready.clone(),
            asked: true,
            cached: false,
            open: open(entry.ready.as_ref()),
            problem: entry.problem.clone(),
            followed: entry.followed.is_some(),
            waiting: entry.waiting.clone(),
        });
        let mut listed: Vec<Listed> = asked.collect();
        let others = self.here.iter().filter(|(digest, _)| !self.is_ready(digest));
        listed.extend(others.map(|(_, here)| Listed {
            reference: here.known.wanted.reference.to_string(),
            known: Some(Arc::clone(&here.known)),
            asked: false,
            cached: false,
            open: open(Some(&here.known)),
            problem: None,
            followed: false,
            waiting: None,
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

#[cfg(test)]
mod tests;
