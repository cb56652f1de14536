//! Patches between releases: made in the background within bounds, kept by what they lead from and to, and served like
//! images. Whoever gets none gets the image.
//!
//! `docs/adr/0006-firmware-patches.md` says why they are made and written as they are.

mod bsdiff;
mod heatshrink;
mod make;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::find::{Found, From};
use super::{Known, Patch, Shared};
use crate::artifacts::cache::CacheError;
use crate::artifacts::manifest::EMPTY;
use crate::artifacts::{Blob, Descriptor, Digest, Listed, Manifest, Reference};
use crate::config::PatchesConfig;

pub use self::make::FORMAT;
use self::make::No;

/// How the names of kept patches begin; no reference begins so.
const NAME: &str = "patch:";

/// The media type of a kept patch.
const LAYER: &str = "application/vnd.causeway.firmware.patch";

/// What a kept patch says of itself.
const FROM_IMAGE: &str = "io.causeway.firmware.patch.from";
const TO_IMAGE: &str = "io.causeway.firmware.patch.to";
const WRITTEN_AS: &str = "io.causeway.firmware.patch.format";

/// From which image to which.
pub(super) type Way = (Digest, Digest);

/// The patches that are known.
pub(super) struct Patches {
    config: PatchesConfig,
    known: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    ways: HashMap<Way, Entry>,
    /// Grows with each use.
    uses: u64,
}

struct Entry {
    state: State,
    used: u64,
}

#[derive(Clone, Copy)]
enum State {
    Making,
    /// It could not be made before and is tried again; nobody waits for that.
    MakingAgain,
    Made(Made),
    /// There is none that is worth it.
    None,
    /// There is none for the moment; from then on it is tried again.
    NotNow(Instant),
}

/// A patch that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// What its image in the cache is known by.
    pub(super) manifest: Digest,
    /// What its bytes are known by.
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What is to be done about a patch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is there.
    Made(Made),
    /// There is none.
    None,
    /// It is being made.
    Making,
    /// The caller has it made.
    Make,
    /// The same, and there is none until then: a device that asks less often than it is tried would wait for ever.
    MakeAgain,
}

impl Patches {
    pub(super) fn new(config: &PatchesConfig) -> Self {
        Self { config: config.clone(), known: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether patches between images of these sizes are made at all.
    pub(super) fn fit(&self, from: u64, to: u64) -> bool {
        let config = &self.config;
        // The old image and the order of its ends, the new one, and what is made.
        let memory = from.saturating_mul(5).saturating_add(to.saturating_mul(2));
        config.enabled && from.max(to) <= config.max_image.bytes() && memory <= config.max_memory.bytes()
    }

    /// Asks for the patch of a way.
    pub(super) fn ask(&self, way: Way) -> Asked {
        let mut table = self.table();
        table.uses += 1;
        let used = table.uses;
        if let Some(entry) = table.ways.get_mut(&way) {
            entry.used = used;
            return match entry.state {
                State::Making => Asked::Making,
                State::Made(made) => Asked::Made(made),
                State::NotNow(until) if until <= Instant::now() => {
                    entry.state = State::MakingAgain;
                    Asked::MakeAgain
                }
                State::MakingAgain | State::None | State::NotNow(_) => Asked::None,
            };
        }
        table.put(way, State::Making, self.config.keep);
        Asked::Make
    }

    /// What came of making one.
    fn note_outcome(&self, way: Way, state: State) {
        self.table().put(way, state, self.config.keep);
    }

    /// It could not be ordered; the next one tries that.
    pub(super) fn put_off(&self, way: Way) {
        self.note_outcome(way, State::NotNow(Instant::now()));
    }

    /// It is asked for again by the next one.
    pub(super) fn forget(&self, way: Way) {
        self.table().ways.remove(&way);
    }

    /// The kept patch of this digest.
    pub(super) fn by_digest(&self, digest: &Digest) -> Option<(Way, Made)> {
        let table = self.table();
        let mut made = table.made();
        made.find(|(_, made)| made.digest == *digest)
    }

    /// What has to stay: all that are known, which are bounded.
    pub(super) fn needed(&self) -> Vec<Digest> {
        self.table().made().map(|(_, made)| made.manifest).collect()
    }

    /// Notes a patch that lies in the cache from an earlier time; whether it is one.
    pub(super) fn note(&self, listed: &Listed) -> bool {
        if !listed.reference.starts_with(NAME) {
            return false;
        }
        let said = |key: &str| listed.manifest.annotations.get(key);
        let image = |key: &str| said(key).and_then(|digest| digest.parse::<Digest>().ok());
        let is_format = said(WRITTEN_AS).is_some_and(|format| format == FORMAT);
        if let (Some(from), Some(to), [layer]) = (image(FROM_IMAGE), image(TO_IMAGE), listed.manifest.layers.as_slice())
            && listed.complete
            && is_format
        {
            let made = Made { manifest: listed.digest, digest: layer.digest, size: layer.size };
            let mut table = self.table();
            if !table.ways.contains_key(&(from, to)) {
                table.put((from, to), State::Made(made), self.config.keep);
            }
        }
        true
    }
}

impl Table {
    /// Of more than are kept, the one goes that nobody asked for the longest.
    fn put(&mut self, way: Way, state: State, keep: usize) {
        self.uses += 1;
        self.ways.insert(way, Entry { state, used: self.uses });
        while self.ways.len() > keep {
            let is_making = |entry: &Entry| matches!(entry.state, State::Making | State::MakingAgain);
            let others = self.ways.iter().filter(|(_, entry)| !is_making(entry));
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(way, _)| *way) else { break };
            self.ways.remove(&oldest);
        }
    }

    fn made(&self) -> impl Iterator<Item = (Way, Made)> {
        self.ways.iter().filter_map(|(way, entry)| match entry.state {
            State::Made(made) => Some((*way, made)),
            State::Making | State::MakingAgain | State::None | State::NotNow(_) => None,
        })
    }
}

impl Made {
    pub(super) fn patch(self) -> Patch {
        Patch { format: FORMAT.to_owned(), image: self.digest.to_string(), size: self.size }
    }
}

/// A patch that is to be made.
pub(super) struct Order {
    pub(super) from: Arc<Known>,
    pub(super) to: Arc<Known>,
}

impl Order {
    pub(super) fn way(&self) -> Way {
        (self.from.said.image, self.to.said.image)
    }
}

impl Shared {
    /// Makes what is ordered, one after the other; ends with the last who can order.
    pub(super) fn make_patches(&self, orders: &Receiver<Order>) {
        // Devices are served before patches are made.
        let _ = rustix::process::nice(10);
        while let Ok(order) = orders.recv() {
            let made = self.make_patch(&order);
            let outcome = made.err().unwrap_or("made");
            let (name, from, to) = (&order.to.said.name, &order.from.said.version, &order.to.said.version);
            let (bytes, of) = (made.ok().map(|made| made.size), order.to.said.size);
            tracing::info!(name, from, to, outcome, bytes, of, "a patch between two releases");
            self.metrics.patch(outcome);
            let state = match made {
                Ok(made) => State::Made(made),
                // Devices get the image meanwhile.
                Err("gone" | "not-kept") => State::NotNow(Instant::now() + self.config.retry),
                Err(_) => State::None,
            };
            self.patches.note_outcome(order.way(), state);
            self.hold();
        }
    }

    /// Makes one patch and keeps it; or says in a word why there is none.
    fn make_patch(&self, order: &Order) -> Result<Made, &'static str> {
        let (old, new) = (self.whole(&order.from).ok_or("gone")?, self.whole(&order.to).ok_or("gone")?);
        let config = &self.config.patches;
        let most = new.len().saturating_mul(usize::try_from(config.worth).unwrap_or_default()) / 100;
        let began = Instant::now();
        let making = AssertUnwindSafe(|| make::make(&old, &new, most, || began.elapsed() > config.max_time));
        let bytes = match catch_unwind(making) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(No::NotWorth)) => return Err("not-worth"),
            Ok(Err(No::TooLong)) => return Err("too-long"),
            // Whatever two images do to the sorting, the gateway serves the one that is asked for.
            Err(_) => return Err("failed"),
        };
        let mut kept = self.keep_patch(order.way(), &bytes);
        // What other patches could be made of goes before one that a device waits for.
        if matches!(kept, Err(CacheError::Full { .. })) && self.let_bases_go() {
            kept = self.keep_patch(order.way(), &bytes);
        }
        kept.map_err(|error| {
            tracing::warn!(%error, "a patch is not kept");
            "not-kept"
        })
    }

    /// The whole image of a release that lies here, or in a layout on this machine.
    fn whole(&self, known: &Known) -> Option<Vec<u8>> {
        let is_near = matches!(known.wanted.reference, Reference::Layout { .. });
        match self.provide(known, if is_near { From::Anywhere } else { From::Here }) {
            Found::Yes(()) => {}
            Found::Elsewhere | Found::No(_) => return None,
        }
        let blob = self.artifacts.kept_blob(&known.said.image, known.said.size).ok()??;
        blob.bytes().ok()
    }

    fn keep_patch(&self, (from, to): Way, bytes: &[u8]) -> Result<Made, CacheError> {
        let layer = Descriptor::of(LAYER, bytes);
        let said = [(FROM_IMAGE, from.to_string()), (TO_IMAGE, to.to_string()), (WRITTEN_AS, FORMAT.to_owned())];
        let annotations: BTreeMap<String, String> = said.map(|(key, value)| (key.to_owned(), value)).into();
        let config = Descriptor::of(EMPTY, b"{}");
        let (digest, size) = (layer.digest, layer.size);
        let manifest = Manifest { artifact_type: Some(LAYER.to_owned()), config, layers: vec![layer], annotations };
        let manifest = self.artifacts.keep_image(&format!("{NAME}{from}..{to}"), &manifest, &[b"{}", bytes])?;
        Ok(Made { manifest, digest, size })
    }

    /// Opens a kept patch; one that is gone or damaged is made again.
    pub(super) fn open_patch(&self, way: Way, made: Made) -> Option<Blob> {
        let found = self.artifacts.kept_blob(&made.digest, made.size).ok().flatten();
        if found.is_none() {
            self.patches.forget(way);
        }
        found
    }
}
