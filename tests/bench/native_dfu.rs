//! The logic of the built-in plugin as native code in the place of its component, so that the bench `dfu` can measure what
//! the component costs. It is a module of `causeway::dfu`, compiled with the feature `native-dfu` alone, which nothing that
//! ships is built with: what surrounds the call is the same in both programs.

use std::cell::RefCell;
use std::sync::Arc;

use causeway_core::dfu::{Assignment, Heard, Progress, Step};
use causeway_host::dfu::{self as host, Answer, Refusal};
use causeway_host::{
    Component, DfuImports, Digest, Engine, Failure, Firmware, Limits, LoadError, Setup, StartError, Trap,
};
use causeway_plugin::dfu::{self as native, Handler};
use causeway_plugin_dfu::Dfu;

/// What is called whatever the component is.
#[derive(Clone, Debug)]
pub(super) struct DfuPlugin(Digest);

impl DfuPlugin {
    pub(super) fn new(_: &Arc<Engine>, component: &Component) -> Result<Self, LoadError> {
        // Whoever built this by chance, with all features for instance, is to know.
        tracing::warn!("this build is for the bench `dfu`: native code is called in place of every DFU plugin");
        Ok(Self(component.digest()))
    }

    pub(super) const fn digest(&self) -> Digest {
        self.0
    }

    pub(super) fn start(&self, setup: &Setup, _: &Limits, imports: DfuImports) -> Result<DfuInstance, StartError> {
        let Setup { gateway, binding, config } = setup.clone();
        let logic = Dfu::configure(&native::Setup { gateway, binding, config }).map_err(StartError::Refused)?;
        Ok(DfuInstance { logic, reads: Reads(RefCell::new(imports.firmware)) })
    }
}

#[derive(Debug)]
pub(super) struct DfuInstance {
    logic: Dfu,
    reads: Reads,
}

impl DfuInstance {
    pub(super) fn handle(self, request: &host::Request<'_>) -> Result<(Self, Result<Answer, Refusal>), Trap> {
        let said = self.logic.handle(&lowered(request), &self.reads);
        Ok((self, said.map_err(refusal).map(answer)))
    }
}

/// The gateway's own blocks, as the logic reads them.
struct Reads(RefCell<Box<dyn Firmware>>);

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

impl native::Firmware for Reads {
    fn block(&self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, native::ReadError> {
        self.0.borrow_mut().block(image, offset, length).map_err(unread)
    }

    fn patch_from(&self, running: &str, formats: &[String]) -> Result<Option<native::Patch>, native::ReadError> {
        let formats: Vec<_> = formats.iter().map(String::as_str).collect();
        let found = self.0.borrow_mut().patch_from(running, &formats).map_err(unread)?;
        Ok(found.map(|causeway_host::Patch { format, image, size }| native::Patch { format, image, size }))
    }
}

fn unread(error: causeway_host::ReadError) -> native::ReadError {
    match error {
        causeway_host::ReadError::Denied(reason) => native::ReadError::Denied(reason),
        causeway_host::ReadError::Unavailable(reason) => native::ReadError::Unavailable(reason),
    }
}

/// The same values as the logic takes them: it owns what it is handed, in a component too.
fn lowered(request: &host::Request<'_>) -> native::Request {
    let host::Device { id, attributes, parent } = request.device;
    let attributes = attributes.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    native::Request {
        device: native::Device {
            id: id.to_owned(),
            attributes: attributes.collect(),
            parent: parent.map(str::to_owned),
        },
        orders: match request.orders {
            host::Orders::Stay => native::Orders::Stay,
            host::Orders::Hold(reason) => native::Orders::Hold(reason.to_owned()),
            host::Orders::Update(assignment) => native::Orders::Update(assigned(assignment)),
        },
        poll: request.poll,
        topic: request.topic.to_owned(),
        payload: request.payload.to_owned(),
        content_type: request.content_type.map(str::to_owned),
        received: request.received_ms,
    }
}

fn assigned(Assignment { release, swap, attempt, restart, by: _ }: &Assignment) -> native::Assignment {
    native::Assignment {
        name: release.name.clone(),
        version: release.version.clone(),
        image: release.image.clone(),
        size: release.size,
        checksum: release.checksum.to_vec(),
        swap: *swap,
        attempt: *attempt,
        restart: *restart,
    }
}

fn answer(said: native::Answer) -> Answer {
    let native::Status { version, mtu, progress, formats } = said.status;
    let progress = progress.map(|native::Progress { version, offset, patch }| Progress { version, offset, patch });
    Answer {
        heard: Heard { version, mtu, progress, formats },
        step: match said.step {
            native::Step::Wait => Step::Wait,
            native::Step::Sync => Step::Sync,
            native::Step::Write(native::Block { offset, length, patch }) => Step::Write { offset, length, patch },
            native::Step::Swap => Step::Swap,
        },
        command: said.command,
        content_type: said.content_type,
    }
}

fn refusal(said: native::Refusal) -> Refusal {
    let reason = match said.reason {
        native::Reason::Malformed(reason) => Failure::Malformed(reason),
        native::Reason::Rejected(reason) => Failure::Rejected(reason),
        native::Reason::Unavailable(reason) => Failure::Unavailable(reason),
    };
    Refusal { reason, command: said.command, content_type: said.content_type }
}
