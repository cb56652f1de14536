//! The firmware that devices can be updated to: from a reference to a release, and from its digest to bytes by range.
//!
//! Knows nothing of devices. Nobody who asks is made to wait: what is not ready is fetched or opened in the background,
//! and whoever asks again finds it. Whose firmware is trusted is said by the road that it comes on ([`crate::artifacts`]).

mod catalogue;
mod find;
mod follow;
mod images;
pub mod layouts;
mod metrics;
mod patches;
mod scan;
mod unpack;
mod work;

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use causeway_core::dfu::Release;
use thiserror::Error;

use crate::artifacts::reference::is_below;
use crate::artifacts::{Artifacts, Blob, Digest, FetchError, Holder, Reference, Wanted};
use crate::config::FirmwareConfig;

use self::catalogue::{Catalogue, named};
use self::find::{Found, From};
use self::images::Images;
use self::patches::{Asked, Order, Patches, Way};
use self::scan::Seen;
use self::work::Job;

pub use self::catalogue::{Followed, Known, Listed};
pub use self::metrics::FirmwareMetrics;
pub use self::patches::FORMAT as PATCH_FORMAT;

/// The word for this kind of artifact: keys are for kinds.
pub const KIND: &str = "firmware";

/// Jobs that wait for one thread; whoever finds no room asks again.
const QUEUE: usize = 1024;

/// Why a release or an image is not to be had now.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Unready {
    /// It is being looked for, fetched or opened.
    #[error("it is being fetched")]
    Fetching,
    /// Its registry does not answer or does not have it; it is asked again.
    #[error("{0}")]
    Unavailable(String),
    /// It must not be used: the operator mends the signature, the artifact or the configuration.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows anything of it.
    #[error("there is no such firmware; `causeway firmware list` shows what there is")]
    Unknown,
}

/// A patch that makes a release of the one that a device runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patch {
    /// How it is written.
    pub format: String,
    /// What [`Firmware::image`] knows it by.
    pub image: String,
    /// Its size in bytes.
    pub size: u64,
}

/// An image or a patch whose bytes were verified when it was opened; clones share the file.
///
/// It stays readable when the cache removes it.
#[derive(Clone, Debug)]
pub struct Image(Blob);

impl Image {
    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.0.len()
    }

    /// The bytes from `offset` on: `length` of them, fewer at its end, none behind it. Reads from the disk, and does not
    /// wait for anything else.
    ///
    /// # Errors
    /// The disk.
    pub fn block(&self, offset: u64, length: u32) -> io::Result<Bytes> {
        let left = self.size().saturating_sub(offset).min(length.into());
        let mut bytes = vec![0; usize::try_from(left).map_err(io::Error::other)?];
        let read = self.0.read_at(&mut bytes, offset)?;
        if read < bytes.len() {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        Ok(bytes.into())
    }
}

/// The catalogue of firmware; clones share everything.
#[derive(Clone)]
pub struct Firmware {
    shared: Arc<Shared>,
    queues: Queues,
}

/// What the threads work on.
struct Shared {
    artifacts: Artifacts,
    config: FirmwareConfig,
    catalogue: RwLock<Catalogue>,
    seen: Seen,
    images: Images,
    patches: Patches,
    metrics: FirmwareMetrics,
}

impl Shared {
    fn new(config: &FirmwareConfig, artifacts: &Artifacts, metrics: FirmwareMetrics) -> Self {
        Self {
            artifacts: artifacts.held_by(Holder::Firmware),
            config: config.clone(),
            catalogue: RwLock::new(Catalogue::new(config.max_releases)),
            seen: Seen::default(),
            patches: Patches::new(&config.patches),
            images: Images::new(config.max_open, config.retry, metrics.clone()),
            metrics,
        }
    }
}

/// The way to the threads; they end with the last of these.
#[derive(Clone)]
struct Queues {
    /// What needs nobody's answer: to open files, to look into the cache.
    open: SyncSender<Job>,
    /// What takes the processor for a while.
    patches: SyncSender<Order>,
}

impl Firmware {
    /// Starts the threads, which look at once what there is. Nobody else is asked yet.
    ///
    /// # Errors
    /// The system has no threads.
    pub fn start(config: &FirmwareConfig, artifacts: &Artifacts, metrics: FirmwareMetrics) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(config, artifacts, metrics));
        let ((open, to_open), (fetch, to_fetch)) = (sync_channel(QUEUE), sync_channel(QUEUE));
        let (patches, to_make) = sync_channel(config.patches.queue);
        work::start(&shared, to_open, to_fetch, fetch, to_make)?;
        let firmware = Self { shared, queues: Queues { open, patches } };
        firmware.queues.open(Job::Scan);
        Ok(firmware)
    }

    /// The release that a reference stands for: `oci://…`, `oci-layout://…`, `file://…`, or `name:version` of what is
    /// known. Its image is in the cache and whole. Never waits.
    ///
    /// # Errors
    /// It is not ready; what can be done about that is done.
    pub fn release(&self, reference: &str) -> Result<Arc<Release>, Unready> {
        let found = self.shared.read().find(reference);
        match found {
            Some(found) => found,
            None => Err(self.ask(reference)),
        }
    }

    /// The same for an operator, who may have mended what was wrong: what failed is tried again at once, and what comes
    /// of that is told to the next one who insists.
    ///
    /// # Errors
    /// It is being fetched, or was not to be had since an operator insisted.
    pub fn insist(&self, reference: &str) -> Result<Arc<Release>, Unready> {
        let found = self.release(reference);
        if found.is_ok() {
            return found;
        }
        let mut catalogue = self.shared.write();
        if catalogue.is_told(reference) {
            return found;
        }
        if catalogue.is_busy(reference) {
            return Err(Unready::Fetching);
        }
        drop(catalogue);
        Err(self.ask(reference))
    }

    /// The image, or the patch, of this digest. Never waits.
    ///
    /// # Errors
    /// It is not open; what can be done about that is done.
    pub fn image(&self, digest: &str) -> Result<Arc<Image>, Unready> {
        if let Some(found) = self.shared.images.get(digest) {
            return found;
        }
        let Ok(parsed) = digest.parse::<Digest>() else { return Err(Unready::Unknown) };
        if self.shared.read().by_image(&parsed).is_none() && self.shared.patches.by_digest(&parsed).is_none() {
            return Err(Unready::Unknown);
        }
        if self.shared.images.opening(digest) {
            let queued = self.queues.open(Job::Open(parsed));
            self.shared.images.asked(digest, queued);
        }
        Err(Unready::Fetching)
    }

    /// A patch that makes a release of the version that a device runs, in one of the formats that it can apply; none if
    /// there is none that is worth it. Never waits.
    ///
    /// # Errors
    /// It is being made.
    pub fn patch(&self, name: &str, running: &str, to: &Release, formats: &[String]) -> Result<Option<Patch>, Unready> {
        if formats.iter().all(|format| format != PATCH_FORMAT) {
            return Ok(None);
        }
        let base = self.shared.read().base(name, running);
        let target = to.image.parse().ok().and_then(|image| self.shared.read().by_image(&image));
        let (Some(from), Some(to)) = (base, target) else { return Ok(None) };
        if from.said.image == to.said.image || !self.shared.patches.fit(from.said.size, to.said.size) {
            return Ok(None);
        }
        let order = Order { from, to };
        let way = order.way();
        match self.shared.patches.ask(way) {
            Asked::Made(made) => Ok(Some(made.patch())),
            Asked::None => Ok(None),
            Asked::Making => Err(Unready::Fetching),
            // With too many at once this device gets the image.
            Asked::Make => {
                if self.order(order, Patches::forget) {
                    Err(Unready::Fetching)
                } else {
                    Ok(None)
                }
            }
            Asked::MakeAgain => {
                self.order(order, Patches::put_off);
                Ok(None)
            }
        }
    }

    /// Has a patch made, if there is room for one more.
    fn order(&self, order: Order, without_room: impl FnOnce(&Patches, Way)) -> bool {
        let way = order.way();
        let is_ordered = self.queues.patches.try_send(order).is_ok();
        if !is_ordered {
            without_room(&self.shared.patches, way);
            self.shared.metrics.patch("busy");
        }
        is_ordered
    }

    /// These tags are followed from now on, and no others: what they stand for is asked every `firmware.poll`. With
    /// approval, what one stands for anew is the release only when [`Self::pin`] says so. Never waits.
    pub fn follow(&self, followed: &[Followed]) {
        let new = self.shared.write().follow(followed);
        for reference in new {
            self.look_for(&reference);
        }
    }

    /// A tag stands for this from now on: for the digest of a manifest, or for what waits for approval, or for what it
    /// stands for where it is found now. Blocks, and may ask a registry.
    ///
    /// # Errors
    /// It is no tag, or what it is to stand for is not to be had.
    pub fn pin(&self, reference: &str, digest: Option<Digest>) -> Result<Arc<Known>, Unready> {
        self.shared.pin(reference, digest)
    }

    /// What is known and what lies here, for operators: what has come since is found, and what is known is not read for
    /// that. Blocks.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let Shared { images, artifacts, .. } = &*self.shared;
        self.shared.look_for_new();
        let mut listed = self.shared.read().list(|image| images.is_open(image));
        for one in &mut listed {
            one.cached = one.known.as_ref().is_some_and(|known| artifacts.has(&known.said.image));
        }
        listed
    }

    /// Looks again at what there is and at what may still be used, after keys, revocations or the own layout changed.
    pub fn look_again(&self) {
        self.shared.write().hasten_refused();
        self.shared.images.forget_failed();
        self.queues.open(Job::Scan);
    }

    /// Has a reference looked for that nobody has asked for yet.
    fn ask(&self, reference: &str) -> Unready {
        let forgotten = self.shared.write().ask(reference);
        self.look_for(reference);
        self.shared.metrics.forgotten(forgotten);
        Unready::Fetching
    }

    /// Has a reference looked for that is noted as being asked for.
    fn look_for(&self, reference: &str) {
        if !self.queues.open(Job::Find(reference.to_owned())) {
            self.shared.write().not_asked(reference, self.shared.config.retry);
        }
    }
}

/// A release and its image, now and from wherever it is found: for commands, which may wait. Blocks.
///
/// # Errors
/// It is not to be had.
pub fn fetch(
    config: &FirmwareConfig,
    artifacts: &Artifacts,
    reference: &str,
) -> Result<(Arc<Known>, Arc<Image>), Unready> {
    let shared = Shared::new(config, artifacts, FirmwareMetrics::default());
    let known = match shared.look_for(reference, From::Here) {
        Found::Yes(known) => known,
        Found::No(why) => return Err(why),
        Found::Elsewhere => match shared.look_for(reference, From::Anywhere) {
            Found::Yes(known) => known,
            Found::No(why) => return Err(why),
            Found::Elsewhere => return Err(Unready::Unknown),
        },
    };
    let image = shared.images.get(&known.release.image).unwrap_or(Err(Unready::Unknown))?;
    Ok((known, image))
}

/// What the road is asked for a reference, with the repository that its signature must name.
#[must_use]
pub fn wanted(config: &FirmwareConfig, reference: Reference) -> Wanted {
    let text = reference.to_string();
    let signed_as = config.signed_as.iter().find(|signed| is_below(&text, &signed.below));
    Wanted { signed_as: signed_as.map(|signed| signed.repository.clone()), reference, kind: KIND }
}

/// Whether a text is `name:version` of what is known.
#[must_use]
pub fn is_named(reference: &str) -> bool {
    named(reference).is_some()
}

impl Queues {
    /// Whether there was room.
    fn open(&self, job: Job) -> bool {
        self.open.try_send(job).is_ok()
    }
}

/// What a caller can be told of a fetch that failed.
fn unready(error: &FetchError) -> Unready {
    match error {
        FetchError::Refused { .. } => Unready::Refused(error.to_string()),
        FetchError::Unreachable { .. }
        | FetchError::NotFound { .. }
        | FetchError::Lockfile(_)
        | FetchError::Disk { .. } => Unready::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
