//! Recordings: what a binding's plugin was asked, what its imports answered and what it returned, in a file that another
//! component, or the same one in another rhythm, can be run with.
//!
//! A recording never holds up its binding and is bounded in inputs and bytes. It has payloads inside, so its file is for
//! the gateway's user alone. Operators start and stop them through the admin API; [`Player`] runs them again, without a
//! gateway, and [`Recordings::trial`] tries a new version of a plugin on the newest one.

mod convert;
mod differ;
mod feed;
mod format;
mod metrics;
mod play;
mod queue;
mod reader;
mod rehearsal;
mod script;
mod show;
mod sink;
mod tap;
mod trial;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use thiserror::Error;

pub use differ::differing;
pub use feed::{Fed, FeedBounds, FeedHandle, Feeding, Version, Waited};
pub use format::{Answer, Blob, Effect, End, Header, Input, Outcome, Read, Why};
pub use metrics::RecordingMetrics;
pub use play::{Mode, Player};
pub use reader::{ReadError, Recording};
pub use rehearsal::{Played, Rehearsal, Role};
pub use show::same;
pub use tap::Tap;
pub use trial::{Cut, Trial, TrialError};
pub use writer::Bounds;

use crate::clock::Clock;
use crate::config::RecordingsConfig;
use sink::Sink;
use tap::Slots;
use writer::Writer;

/// Where recordings lie in the data directory.
pub const FOLDER: &str = "recordings";

const EXTENSION: &str = "cbor";

/// Why a recording does not begin, or is not there.
#[derive(Debug, Error)]
pub enum RecordError {
    /// No such binding.
    #[error("there is no binding `{0}`")]
    Binding(String),
    /// What its plugin is asked cannot be recorded.
    #[error("binding `{binding}` is of kind {kind}: only telemetry bindings can be recorded")]
    Kind {
        /// The binding.
        binding: String,
        /// Its kind.
        kind: &'static str,
    },
    /// It is being recorded already.
    #[error("binding `{0}` is being recorded already")]
    Running(String),
    /// It is not being recorded.
    #[error("binding `{0}` is not being recorded")]
    NotRunning(String),
    /// There are as many as may be kept.
    #[error("{0} recordings are kept, and no more (`recordings.keep`): remove one first")]
    TooMany(usize),
    /// More was asked for than the configuration allows.
    #[error("a recording has at most {messages} inputs and {bytes} bytes (`recordings.max_messages`, `max_bytes`)")]
    Bounds {
        /// Inputs.
        messages: u64,
        /// Bytes.
        bytes: u64,
    },
    /// There is no such file.
    #[error("there is no recording `{0}`")]
    File(String),
    /// The disk refuses.
    #[error("the recording cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

/// How a recording is.
#[derive(Clone, Debug)]
pub struct RecordingStatus {
    /// The name of its file.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The bytes of its file, without what waits for the disk.
    pub bytes: u64,
    /// The binding and its inputs, while this gateway writes it or has written it last.
    pub written: Option<(String, u64)>,
    /// Why it ended; none while it runs, and for those of an earlier run of the gateway.
    pub ended: Option<Why>,
    /// Whether it runs.
    pub running: bool,
}

/// All recordings of a gateway; clones share them.
#[derive(Clone)]
pub struct Recordings(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    config: RecordingsConfig,
    clock: Clock,
    metrics: RecordingMetrics,
    bindings: Mutex<BTreeMap<String, Bound>>,
}

/// A binding that can be recorded, once it has a plugin.
#[derive(Default)]
struct Bound {
    header: Option<Header>,
    slots: Arc<Slots>,
    /// Its kind, if that cannot be recorded.
    refused: Option<&'static str>,
    /// How many taps were made: the number of the last version.
    versions: u64,
    last: Option<Started>,
}

/// The last recording of a binding.
struct Started {
    file: PathBuf,
    sink: Arc<Sink>,
    thread: Option<JoinHandle<()>>,
}

impl Recordings {
    /// Nothing is recorded yet, and nothing is made on the disk.
    pub fn new(data_dir: &Path, config: RecordingsConfig, clock: Clock, metrics: RecordingMetrics) -> Self {
        let folder = data_dir.join(FOLDER);
        Self(Arc::new(Shared { folder, config, clock, metrics, bindings: Mutex::default() }))
    }

    /// The tap for a binding's plugin. With another plugin under the same name a recording that runs has to end.
    #[must_use]
    pub fn tap(&self, header: Header) -> Tap {
        let mut bindings = self.lock();
        let bound = bindings.entry(header.binding.clone()).or_default();
        if bound.header.as_ref().is_some_and(|before| before.digest != header.digest) {
            bound.end(Why::Plugin);
        }
        bound.versions += 1;
        let version = Version { digest: header.digest.clone(), number: bound.versions };
        bound.header = Some(header);
        Tap::new(Arc::clone(&bound.slots), version)
    }

    /// Nothing of a binding of this kind can be recorded.
    pub fn refuse(&self, binding: &str, kind: &'static str) {
        self.lock().entry(binding.to_owned()).or_default().refused = Some(kind);
    }

    /// What a binding's plugin is asked and answers from now on, in place of a feed that there was; nothing while the
    /// binding has no plugin yet.
    #[must_use]
    pub fn feed(&self, binding: &str, bounds: FeedBounds) -> Feeding {
        let slots = Arc::clone(&self.lock().entry(binding.to_owned()).or_default().slots);
        Feeding::begin(slots, bounds)
    }

    /// Begins to record a binding. Blocks: it makes a file.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn start(
        &self,
        binding: &str,
        messages: Option<u64>,
        bytes: Option<u64>,
    ) -> Result<RecordingStatus, RecordError> {
        let shared = &self.0;
        let most = Bounds { messages: shared.config.max_messages, bytes: shared.config.max_bytes.bytes() };
        let bounds = Bounds { messages: messages.unwrap_or(most.messages), bytes: bytes.unwrap_or(most.bytes) };
        if bounds.messages > most.messages || bounds.bytes > most.bytes || bounds.messages == 0 {
            return Err(RecordError::Bounds { messages: most.messages, bytes: most.bytes });
        }
        let mut bindings = self.lock();
        let unknown = || RecordError::Binding(binding.to_owned());
        let bound = bindings.get_mut(binding).ok_or_else(unknown)?;
        if let Some(kind) = bound.refused {
            return Err(RecordError::Kind { binding: binding.to_owned(), kind });
        }
        let header = bound.header.clone().ok_or_else(unknown)?;
        if bound.last.as_ref().is_some_and(|last| last.sink.ended().is_none()) {
            return Err(RecordError::Running(binding.to_owned()));
        }
        if shared.files()?.len() >= shared.config.keep {
            shared.metrics.refused.inc();
            return Err(RecordError::TooMany(shared.config.keep));
        }
        let started_ms = shared.clock.now_ms();
        let header = Header { started_ms, ..header };
        DirBuilder::new().recursive(true).mode(0o700).create(&shared.folder)?;
        let file = shared.folder.join(format!("{binding}-{started_ms}.{EXTENSION}"));
        let writer = Writer::create(&file, &header, bounds, shared.clock.clone())?;
        let (sink, queue) = Sink::new(shared.config.queue_bytes.in_memory());
        let (own, metrics) = (Arc::clone(&sink), shared.metrics.clone());
        let write = move || {
            let why = writer.run(&queue, &own);
            metrics.inputs.inc_by(own.inputs());
            metrics.ended(why);
            tracing::info!(binding = header.binding, why = why.as_str(), inputs = own.inputs(), "a recording ended");
        };
        let thread = std::thread::Builder::new().name(format!("recording-{binding}")).spawn(write)?;
        bound.slots.recording.store(Some(Arc::clone(&sink)));
        bound.last = Some(Started { file, sink, thread: Some(thread) });
        tracing::info!(binding, "a recording began");
        bound.last.as_ref().map(Started::status).ok_or_else(|| RecordError::NotRunning(binding.to_owned()))
    }

    /// Ends the recording of a binding and waits until its file is whole. Blocks.
    ///
    /// # Errors
    /// [`RecordError::Binding`] and [`RecordError::NotRunning`].
    pub fn stop(&self, binding: &str) -> Result<RecordingStatus, RecordError> {
        let thread = {
            let mut bindings = self.lock();
            let bound = bindings.get_mut(binding).ok_or_else(|| RecordError::Binding(binding.to_owned()))?;
            let running = bound.last.as_mut().filter(|last| last.sink.ended().is_none());
            let last = running.ok_or_else(|| RecordError::NotRunning(binding.to_owned()))?;
            last.sink.end(Why::Stopped);
            bound.slots.recording.store(None);
            last.thread.take()
        };
        if let Some(thread) = thread {
            // The thread does not panic; if it did, the file is torn and says so.
            let _ = thread.join();
        }
        let bindings = self.lock();
        let last = bindings.get(binding).and_then(|bound| bound.last.as_ref());
        last.map(Started::status).ok_or_else(|| RecordError::NotRunning(binding.to_owned()))
    }

    /// All recordings that are kept, by name. Blocks: it reads a folder.
    ///
    /// # Errors
    /// [`RecordError::Disk`].
    pub fn list(&self) -> Result<Vec<RecordingStatus>, RecordError> {
        let files = self.0.files()?;
        let bindings = self.lock();
        let known: Vec<_> = bindings.values().filter_map(|bound| bound.last.as_ref()).map(Started::status).collect();
        let status = |file: PathBuf| {
            let bytes = fs::metadata(&file).map_or(0, |metadata| metadata.len());
            match known.iter().find(|known| known.file == file) {
                Some(known) => RecordingStatus { bytes, ..known.clone() },
                None => RecordingStatus { bytes, ..RecordingStatus::of(&file) },
            }
        };
        Ok(files.into_iter().map(status).collect())
    }

    /// Deletes a recording that does not run. Blocks.
    ///
    /// # Errors
    /// [`RecordError::File`], [`RecordError::Running`] and [`RecordError::Disk`].
    pub fn remove(&self, name: &str) -> Result<(), RecordError> {
        let unknown = || RecordError::File(name.to_owned());
        let found = self.list()?.into_iter().find(|found| found.name == name).ok_or_else(unknown)?;
        if found.running {
            return Err(RecordError::Running(found.written.map_or_else(String::new, |(binding, _)| binding)));
        }
        Ok(fs::remove_file(found.file)?)
    }

    /// Ends all recordings and waits until their files are whole: the gateway ends. Blocks.
    pub fn close(&self) {
        let mut threads = Vec::new();
        for bound in self.lock().values_mut() {
            bound.end(Why::Shutdown);
            threads.extend(bound.last.as_mut().and_then(|last| last.thread.take()));
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bound>> {
        self.0.bindings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The files of all recordings, by name; none before the first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        let ours = |path: &PathBuf| path.extension().is_some_and(|extension| extension == EXTENSION);
        let mut files: Vec<_> = paths.into_iter().filter(ours).collect();
        files.sort_unstable();
        Ok(files)
    }
}

impl Bound {
    /// The file that is being written.
    fn running(&self) -> Option<&PathBuf> {
        self.last.as_ref().filter(|last| last.sink.ended().is_none()).map(|last| &last.file)
    }

    fn end(&mut self, why: Why) {
        if let Some(last) = &self.last {
            last.sink.end(why);
        }
        self.slots.recording.store(None);
    }
}

impl Started {
    fn status(&self) -> RecordingStatus {
        let binding =
            self.file.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')).map(|(binding, _)| binding);
        let ended = self.sink.ended();
        RecordingStatus {
            bytes: self.sink.bytes(),
            written: binding.map(|binding| (binding.to_owned(), self.sink.inputs())),
            ended,
            running: ended.is_none(),
            ..RecordingStatus::of(&self.file)
        }
    }
}

impl RecordingStatus {
    /// What is known of a file alone.
    fn of(file: &Path) -> Self {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, file: file.to_owned(), bytes: 0, written: None, ended: None, running: false }
    }
}
