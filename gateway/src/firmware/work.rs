//! The threads behind the catalogue: one for what lies here, one that may wait for registries, and one for patches. All end
//! with the last [`super::Firmware`].

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::catalogue::{Catalogue, Known};
use super::find::{Found, From};
use super::patches::Order;
use super::{Image, Shared, Unready};
use crate::artifacts::Digest;

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
        here.tidy();
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
            (Some(known), _) => self.open_known(&known, from),
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

    /// Opens the image of a release that was known just now; closes it if that was refused while it was read.
    pub(super) fn open_known(&self, known: &Known, from: From) -> Found<()> {
        let opened = self.provide(known, from);
        if matches!(opened, Found::Yes(())) && self.read().by_image(&known.said.image).is_none() {
            self.images.close(&known.release.image);
            return Found::No(Unready::Unknown);
        }
        opened
    }

    /// Notes what came of asking for a reference.
    pub(super) fn found(&self, reference: &str, found: Result<Arc<Known>, Unready>) {
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
        let known = found.as_ref().ok().cloned();
        let is_outdated = self.write().found(reference, found, again);
        if let (Some(known), true) = (known, is_outdated) {
            self.judge_known(&known);
        }
        self.hold();
    }

    /// What is needed stays in the cache.
    pub(super) fn hold(&self) {
        let needed = self.read().needed();
        self.retain(&needed);
    }

    /// What patches could be made of may go, because there is no room; whether there was any.
    pub(super) fn let_bases_go(&self) -> bool {
        let mut catalogue = self.write();
        if !catalogue.let_bases_go() {
            return false;
        }
        // Before somebody asks for a patch of one again.
        let needed = catalogue.needed();
        drop(catalogue);
        self.retain(&needed);
        true
    }

    fn retain(&self, needed: &[Arc<Known>]) {
        let roots = needed.iter().flat_map(|known| [known.digest(), known.said.image]);
        self.artifacts.retain(roots.chain(self.patches.needed()));
        let mut catalogue = self.write();
        self.metrics.releases(catalogue.len());
        self.metrics.forgotten(catalogue.gone());
    }
}
