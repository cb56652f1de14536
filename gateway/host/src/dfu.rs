//! The kind `dfu`: one status of one device in, one command for it out.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use causeway_core::dfu::{Assignment, Heard, Progress, Step};
use causeway_core::digest::Digest;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::dfu::exports::causeway::plugin::config::Setup as RawSetup;
use crate::bindings::dfu::exports::causeway::plugin::dfu_handler as raw;
use crate::bindings::dfu::{Dfu, DfuPre};
use crate::component::{Component, LoadError};
use crate::effect::Failure;
use crate::engine::Engine;
use crate::imports::DfuImports;
use crate::imports::firmware::Firmware;
use crate::instance::{Bounded, Context, Setup, StartError};
use crate::limits::{Limit, Limits, Trap};
use crate::telemetry::failure;

pub(crate) const KIND: &str = "dfu";

/// The interface that makes a component a DFU plugin.
pub(crate) const EXPORT: &str = "causeway:plugin/dfu-handler@0.1.0-draft";

/// The imports that the world offers. An import of types only has no function and reaches nothing.
pub(crate) const OFFERED: &[&str] =
    &["causeway:plugin/firmware@0.1.0-draft", "causeway:plugin/log@0.1.0-draft", "causeway:plugin/types@0.1.0-draft"];

type Reads = Box<dyn Firmware>;

/// A component that is known to be a DFU plugin.
#[derive(Clone)]
pub struct DfuPlugin {
    engine: Arc<Engine>,
    pre: DfuPre<Context<Reads>>,
    digest: Digest,
}

impl DfuPlugin {
    /// Checks that the component is a DFU plugin: what it exports, and that it imports nothing else than the world
    /// offers.
    ///
    /// # Errors
    /// [`LoadError::Import`] and [`LoadError::World`].
    pub fn new(engine: &Arc<Engine>, component: &Component) -> Result<Self, LoadError> {
        component.check_imports(KIND, OFFERED)?;
        let world = |error: wasmtime::Error| LoadError::World { kind: KIND, reason: format!("{error:#}") };
        let mut linker = Linker::new(&engine.inner);
        Dfu::add_to_linker::<_, HasSelf<_>>(&mut linker, |context: &mut Context<Reads>| context).map_err(world)?;
        let pre = linker.instantiate_pre(&component.inner).and_then(DfuPre::new).map_err(world)?;
        Ok(Self { engine: Arc::clone(engine), pre, digest: component.digest() })
    }

    /// The digest of its component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Makes an instance and tells it its setup; takes some 40 µs.
    ///
    /// # Errors
    /// The plugin refuses the configuration, or traps.
    pub fn start(&self, setup: &Setup, limits: &Limits, imports: DfuImports) -> Result<DfuInstance, StartError> {
        let mut bounded = Bounded::new(&self.engine, limits, imports.log, imports.firmware);
        let guest = bounded.call(0, |store| self.pre.instantiate(store))?;
        let raw = RawSetup { gateway: &setup.gateway, binding: &setup.binding, config: &setup.config };
        let answer = bounded.call(0, |store| guest.causeway_plugin_config().call_configure(store, raw))?;
        answer.map_err(StartError::Refused)?;
        Ok(DfuInstance { bounded, guest, output_bytes: limits.output_bytes })
    }
}

impl Debug for DfuPlugin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("DfuPlugin").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Whose status it is.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// The device id.
    pub id: &'a str,
    /// The registry's attributes, sorted by name.
    pub attributes: &'a [(&'a str, &'a str)],
    /// The gateway device that reports for it.
    pub parent: Option<&'a str>,
}

/// What is to become of the device.
#[derive(Clone, Copy, Debug)]
pub enum Orders<'a> {
    /// It keeps what it runs.
    Stay,
    /// It is to ask again later; why.
    Hold(&'a str),
    /// It is to get a release, which [`Firmware::block`] knows by its `image`.
    Update(&'a Assignment),
}

/// One status of one device.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose it is.
    pub device: Device<'a>,
    /// What is to become of the device.
    pub orders: Orders<'a>,
    /// After how many seconds the device is to ask again.
    pub poll: u32,
    /// The topic of the status.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// MQTT 5 content type of the status.
    pub content_type: Option<&'a str>,
    /// When it was received, in Unix milliseconds.
    pub received_ms: u64,
}

/// What came of a status; a claim of the guest, not yet checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// What the device says about itself.
    pub heard: Heard,
    /// What it is told.
    pub step: Step,
    /// The command, in the device's own language.
    pub command: Vec<u8>,
    /// MQTT 5 content type of the command.
    pub content_type: Option<String>,
}

/// Why a status cannot be answered as it was meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub reason: Failure,
    /// What the device is told all the same.
    pub command: Option<Vec<u8>>,
    /// MQTT 5 content type of the command.
    pub content_type: Option<String>,
}

/// A plugin that is ready to be called.
pub struct DfuInstance {
    bounded: Bounded<Reads>,
    guest: Dfu,
    output_bytes: usize,
}

impl DfuInstance {
    /// Asks what to tell a device about its status.
    ///
    /// It takes the instance and gives it back only if the call returned, so nobody can call a trapped one again.
    ///
    /// # Errors
    /// The call trapped or its answer is too large; the instance is gone.
    pub fn handle(mut self, request: &Request<'_>) -> Result<(Self, Result<Answer, Refusal>), Trap> {
        let raw_request = raw_request(request);
        let handler = self.guest.causeway_plugin_dfu_handler();
        let said = self.bounded.call(1, |store| handler.call_handle(store, raw_request))?;
        let said = said.map(answer).map_err(refusal);
        let bytes = match &said {
            Ok(answer) => answer_bytes(answer),
            Err(refusal) => refusal_bytes(refusal),
        };
        if bytes > self.output_bytes {
            let reason = format!("{bytes} bytes returned, {} are allowed", self.output_bytes);
            return Err(Trap::new(Limit::Output, reason));
        }
        Ok((self, said))
    }
}

impl Debug for DfuInstance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("DfuInstance").finish_non_exhaustive()
    }
}

fn raw_request<'a>(request: &Request<'a>) -> raw::Request<'a> {
    let Device { id, attributes, parent } = request.device;
    raw::Request {
        device: raw::Device { id, attributes, parent },
        orders: match request.orders {
            Orders::Stay => raw::Orders::Stay,
            Orders::Hold(reason) => raw::Orders::Hold(reason),
            Orders::Update(assignment) => raw::Orders::Update(raw_assignment(assignment)),
        },
        poll: request.poll,
        topic: request.topic,
        payload: request.payload,
        content_type: request.content_type,
        received: request.received_ms,
    }
}

fn raw_assignment(assignment: &Assignment) -> raw::Assignment<'_> {
    let Assignment { release, swap, attempt, restart, by: _ } = assignment;
    raw::Assignment {
        name: &release.name,
        version: &release.version,
        image: &release.image,
        size: release.size,
        checksum: &release.checksum,
        swap: *swap,
        attempt: *attempt,
        restart: *restart,
    }
}

fn answer(raw: raw::Answer) -> Answer {
    let raw::Status { version, mtu, progress, formats } = raw.status;
    let progress = progress.map(|raw::Progress { version, offset, patch }| Progress { version, offset, patch });
    Answer {
        heard: Heard { version, mtu, progress, formats },
        step: match raw.step {
            raw::Step::Wait => Step::Wait,
            raw::Step::Sync => Step::Sync,
            raw::Step::Write(raw::Block { offset, length, patch }) => Step::Write { offset, length, patch },
            raw::Step::Swap => Step::Swap,
        },
        command: raw.command,
        content_type: raw.content_type,
    }
}

fn refusal(raw: raw::Refusal) -> Refusal {
    Refusal { reason: failure(raw.reason), command: raw.command, content_type: raw.content_type }
}

fn refusal_bytes(refusal: &Refusal) -> usize {
    let command = refusal.command.as_ref().map_or(0, Vec::len);
    refusal.reason.text().len() + command + refusal.content_type.as_ref().map_or(0, String::len)
}

fn answer_bytes(answer: &Answer) -> usize {
    let Heard { version, progress, formats, .. } = &answer.heard;
    let progress = progress.as_ref().map_or(0, |own| own.version.len() + own.patch.as_ref().map_or(0, String::len));
    let formats: usize = formats.iter().map(String::len).sum();
    let rest = answer.command.len() + answer.content_type.as_ref().map_or(0, String::len);
    version.len() + progress + formats + rest
}
