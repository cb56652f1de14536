//! The threads behind the catalogue: one for what lies here, one that may wait for registries, and one for patches. All end
//! with the last [`super::Firmware`].

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::catalogue::{Catalogue, Known};
use super::find::{Found, From};
use super::layouts::BLOB;
use super::patches::Order;
use super::unpack::packed;
use super::{Image, KIND, Shared, Unready, unready};
use crate::artifacts::layout::Layout;
use crate::artifacts::{Digest, FetchError, Manifest, Reference};

/// Something to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// See what lies here and what of it may be used.
    Scan,
    /// Look for a reference.
    Find(String),
    /// Open an image.
    Open(Digest),
}

/// How often the thread that fetches sees what is due.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn start(
    shared: &Arc<Shared>,
    open: Receiver<Job>,
    fetch: Receiver<Job>,
    to_fetch: SyncSender<Job>,
    make: Receiver<Order>,
) -> io::Result<()> {
    let (here, anywhere, maker) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let local = move || {
        while let Ok(job) = open.recv() {
            here.work(job, From::Here, &to_fetch);
        }
    };
    thread::Builder::new().name("firmware-open".to_owned()).spawn(local)?;
    thread::Builder::new().name("firmware-fetch".to_owned()).spawn(move || anywhere.fetch(&fetch))?;
    thread::Builder::new().name("firmware-patch".to_owned()).spawn(move || maker.make_patches(&make))?;
    Ok(())
}

impl Shared {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may wait for others: what is asked for, and what is due again.
    fn fetch(&self, jobs: &Receiver<Job>) {
        loop {
            let next = self.read().next_due();
            // Somebody else may note meanwhile that something is due sooner.
            let pause = next.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()).min(LOOK));
            match jobs.recv_timeout(pause) {
                Ok(job) => self.do_anywhere(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let due = self.write().due(Instant::now());
            due.into_iter().for_each(|reference| self.do_anywhere(Job::Find(reference)));
        }
    }

    /// Does what can be done with what lies here, and hands the rest over.
    fn work(&self, job: Job, from: From, fetch: &SyncSender<Job>) {
        match job {
            Job::Scan => self.scan(),
            Job::Find(reference) => match self.look_for(&reference, from) {
                Found::Yes(known) => {
                    self.found(&reference, Ok(known));
                    if self.read().followed(&reference).is_some() {
                        self.hand_over(reference, fetch);
                    }
                }
                Found::No(why) => self.found(&reference, Err(why)),
                Found::Elsewhere => self.hand_over(reference, fetch),
            },
            Job::Open(image) => match self.open(&image, from) {
                Found::Yes(()) => {}
                Found::No(why) => self.images.put(&image.to_string(), Err(why)),
                Found::Elsewhere => {
                    let queued = fetch.try_send(Job::Open(image)).is_ok();
                    self.images.asked(&image.to_string(), queued);
                }
            },
        }
    }

    /// Somebody else has to be asked for a reference.
    fn hand_over(&self, reference: String, fetch: &SyncSender<Job>) {
        self.write().busy(&reference);
        if fetch.try_send(Job::Find(reference.clone())).is_err() {
            self.write().not_asked(&reference, self.config.retry);
        }
    }

    fn do_anywhere(&self, job: Job) {
        match job {
            Job::Scan => self.scan(),
            Job::Find(reference) => {
                let followed = self.read().followed(&reference);
                if let Some(approval) = followed {
                    return self.poll(&reference, approval);
                }
                let found = match self.look_for(&reference, From::Anywhere) {
                    Found::Yes(known) => Ok(known),
                    Found::No(why) => Err(why),
                    Found::Elsewhere => Err(Unready::Unknown),
                };
                self.found(&reference, found);
            }
            Job::Open(image) => {
                let why = match self.open(&image, From::Anywhere) {
                    Found::Yes(()) => return,
                    Found::No(why) => why,
                    Found::Elsewhere => Unready::Unknown,
                };
                self.images.put(&image.to_string(), Err(why));
            }
        }
    }

    fn open(&self, image: &Digest, from: From) -> Found<()> {
        let known = self.read().by_image(image);
        match (known, self.patches.by_digest(image)) {
            (Some(known), _) => self.provide(&known, from),
            (None, Some((way, made))) => match self.open_patch(way, made) {
                Some(blob) => {
                    self.images.put(&image.to_string(), Ok(Image(blob)));
                    Found::Yes(())
                }
                None => Found::No(Unready::Fetching),
            },
            (None, None) => Found::No(Unready::Unknown),
        }
    }

    fn found(&self, reference: &str, found: Result<Arc<Known>, Unready>) {
        match &found {
            Ok(known) => {
                let (release, digest) = (&known.release, known.digest());
                tracing::info!(reference, name = release.name, version = release.version, %digest, "a release is ready");
            }
            Err(why) => {
                tracing::warn!(reference, reason = %why, "a release is not ready");
                self.metrics.unready(why);
            }
        }
        let again = found.is_err().then_some(self.config.retry);
        self.write().found(reference, found, again);
        self.hold();
    }

    /// What is needed stays in the cache.
    pub(super) fn hold(&self) {
        let needed = self.read().needed();
        let roots = needed.iter().flat_map(|known| [known.digest(), known.said.image]);
        self.artifacts.retain(roots.chain(self.patches.needed()));
        self.metrics.releases(self.read().len());
    }

    /// Sees what lies in the cache and in the own layout, and whether what is known may still be used.
    pub(super) fn scan(&self) {
        // Not in the loop's head: the lock would be held while what is refused is noted.
        let all = self.read().all();
        for known in all {
            // What was swept away is fetched again by whoever wants it; what is refused is not used any more.
            if let Err(error @ FetchError::Refused { .. }) = self.judge_again(&known) {
                self.write().refuse(&known.digest(), &unready(&error));
                self.images.close(&known.release.image);
            }
        }
        let kept = self.artifacts.list().inspect_err(|error| tracing::warn!(%error, "the cache cannot be read"));
        for listed in kept.unwrap_or_default() {
            if !self.patches.note(&listed)
                && may_be_firmware(&listed.manifest)
                && let Ok(reference) = listed.reference.parse::<Reference>()
            {
                self.note(reference.at(listed.digest), From::Here);
            }
        }
        let dir = &self.config.dir;
        if dir.join("index.json").exists() {
            let index = Layout::open(dir).and_then(|layout| layout.index());
            let index = index.inspect_err(|error| tracing::warn!(%error, "the own layout of firmware cannot be read"));
            for entry in index.unwrap_or_default().into_iter().filter(|entry| !entry.is_signature()) {
                let tag = entry.name().map(str::to_owned);
                let reference = Reference::Layout { path: dir.clone(), tag, digest: Some(entry.manifest.digest) };
                self.note(reference, From::Anywhere);
            }
        }
        self.hold();
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

    /// Notes what lies here, if it may be used.
    fn note(&self, reference: Reference, from: From) {
        let Some(digest) = reference.digest() else { return };
        let wanted = self.wanted(reference);
        let trusted = match from {
            From::Here => self.artifacts.again(&digest, &wanted),
            From::Anywhere => self.artifacts.manifest(&wanted),
        };
        let reference = wanted.reference.clone();
        match trusted {
            Ok(trusted) => match self.known(wanted, trusted, from) {
                Ok(known) => self.write().lies_here(Arc::new(known)),
                Err(error) => tracing::debug!(%reference, ?error, "what lies here is no firmware that can be used"),
            },
            Err(error) => tracing::warn!(%reference, %error, "a release that lies here is not used"),
        }
    }
}

/// Whether an artifact can be one of firmware: others lie beside it.
fn may_be_firmware(manifest: &Manifest) -> bool {
    manifest.layers.iter().any(|layer| layer.media_type == BLOB || packed(&layer.media_type).is_some())
}
