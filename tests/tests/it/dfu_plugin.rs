//! The built-in DFU plugin as a component says what its logic says as native code, in each language and for each step.

use std::sync::Arc;

use causeway_core::dfu::{Assignment, By, Release, Step};
use causeway_host::{
    Binary, Component, DfuImports, Engine, EngineConfig, Failure, Firmware, Level, Limits, Log, LostLines, Patch,
    ReadError, Setup, dfu,
};
use causeway_plugin::dfu::{self as native, Firmware as _};
use causeway_plugin::testing::Update;
use causeway_plugin_dfu::Dfu;

/// A device of each language that has 5 of 612 bytes, and what is no status at all.
const STATUSES: [&[u8]; 8] = [
    b"\xa4\x00\x450.1.0\x01\x19\x02\x00\x02\x01\x03\xa2\x00\x450.1.1\x01\x05",
    b"\xa3gversion\x450.1.0cmtu\x19\x02\x00fupdate\xa2gversion\x450.1.1foffset\x05",
    br#"{"version":"0.1.0","update":{"version":"0.1.1","offset":5},"patches":["zdiff"]}"#,
    b"\xa2gversione0.1.0fstatus\xa2gversione0.1.1foffset\x05",
    br#"{"version":"0.1.0","mtu":100000,"status":{"version":"0.1.1","offset":612}}"#,
    br#"{"version":"0.1.0","mtu":0,"patches":["zdiff"]}"#,
    b"\xa1\x00\x5b\x80\0\0\0\0\0\0\0",
    b"hello",
];

struct Silent;

impl Log for Silent {
    fn write(&mut self, _: Level, text: &str) {
        panic!("a line in the log: {text}");
    }

    fn lost(&mut self, _: LostLines) {}
}

/// What a test has in memory, for the host.
struct Lent(Update);

impl Firmware for Lent {
    fn block(&mut self, image: &str, offset: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        self.0.block(image, offset, length).map_err(error)
    }

    fn patch_from(&mut self, running: &str, formats: &[&str]) -> Result<Option<Patch>, ReadError> {
        let formats: Vec<String> = formats.iter().map(|&format| format.to_owned()).collect();
        let found = self.0.patch_from(running, &formats).map_err(error)?;
        Ok(found.map(|native::Patch { format, image, size }| Patch { format, image, size }))
    }
}

fn error(error: native::ReadError) -> ReadError {
    match error {
        native::ReadError::Denied(reason) => ReadError::Denied(reason),
        native::ReadError::Unavailable(reason) => ReadError::Unavailable(reason),
    }
}

/// What came of a status, of either.
type Said = Result<(native::Step, Vec<u8>, Option<String>), (Failure, Option<Vec<u8>>, Option<String>)>;

fn native_says(plugin: &Dfu, update: &Update, status: &[u8]) -> Said {
    match update.ask(plugin, status) {
        Ok(answer) => Ok((answer.step, answer.command, answer.content_type)),
        Err(refusal) => {
            let reason = match refusal.reason {
                native::Reason::Malformed(reason) => Failure::Malformed(reason),
                native::Reason::Rejected(reason) => Failure::Rejected(reason),
                native::Reason::Unavailable(reason) => Failure::Unavailable(reason),
            };
            Err((reason, refusal.command, refusal.content_type))
        }
    }
}

fn assigned(assignment: &native::Assignment) -> Assignment {
    let release = Release {
        name: assignment.name.clone(),
        version: assignment.version.clone(),
        image: assignment.image.clone(),
        size: assignment.size,
        checksum: assignment.checksum.as_slice().try_into().unwrap(),
        from: Vec::new(),
    };
    let native::Assignment { swap, attempt, restart, .. } = *assignment;
    Assignment { release: Arc::new(release), by: By::Rule("rule".to_owned()), swap, attempt, restart }
}

fn component_says(plugin: &dfu::DfuPlugin, update: &Update, status: &[u8]) -> Said {
    let setup = Setup { gateway: "gateway".into(), binding: "binding".into(), config: "{}".into() };
    let imports = DfuImports { log: Box::new(Silent), firmware: Box::new(Lent(update.clone())) };
    let instance = plugin.start(&setup, &Limits::default(), imports).unwrap();
    let asked = update.request(status);
    let attributes: Vec<_> = asked.device.attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
    let assignment;
    let orders = match &asked.orders {
        native::Orders::Stay => dfu::Orders::Stay,
        native::Orders::Hold(reason) => dfu::Orders::Hold(reason),
        native::Orders::Update(ours) => {
            assignment = assigned(ours);
            dfu::Orders::Update(&assignment)
        }
    };
    let request = dfu::Request {
        device: dfu::Device { id: &asked.device.id, attributes: &attributes, parent: None },
        orders,
        poll: asked.poll,
        topic: &asked.topic,
        payload: status,
        content_type: asked.content_type.as_deref(),
        received_ms: asked.received,
    };
    match instance.handle(&request).unwrap().1 {
        Ok(answer) => {
            let step = match answer.step {
                Step::Wait => native::Step::Wait,
                Step::Sync => native::Step::Sync,
                Step::Swap => native::Step::Swap,
                Step::Write { offset, length, patch } => native::Step::Write(native::Block { offset, length, patch }),
            };
            Ok((step, answer.command, answer.content_type))
        }
        Err(refusal) => Err((refusal.reason, refusal.command, refusal.content_type)),
    }
}

#[test]
fn the_embedded_component_says_what_its_logic_says_as_native_code() {
    let engine = Arc::new(Engine::start(EngineConfig::default()).unwrap());
    let component =
        Component::load(&engine, &Binary::of(causeway_plugins::DFU), None, |error| panic!("{error}")).unwrap();
    let component = dfu::DfuPlugin::new(&engine, &component).unwrap();
    let native: Dfu = Update::configure("{}").unwrap();
    let update = || Update::to("0.1.1", &[7; 612]).content_type("application/cbor");
    let orders = [
        Update::stay(),
        Update::hold("paused"),
        update(),
        update().patch("0.1.0", "zdiff", &[8; 99]),
        update().assignment(|assignment| assignment.restart = true),
        update().attribute("dfu-dialect", "tagged"),
        update().failing(native::ReadError::Denied("not yours".into())),
        update().failing(native::ReadError::Unavailable("not now".into())),
    ];
    for update in &orders {
        for status in STATUSES {
            let expected = native_says(&native, update, status);
            assert_eq!(component_says(&component, update, status), expected, "{:?}", String::from_utf8_lossy(status));
        }
    }
}

#[test]
fn the_embedded_component_reaches_the_firmware_and_the_log_and_nothing_else() {
    let outline = causeway_host::Outline::read(causeway_plugins::DFU).unwrap();
    assert_eq!(outline.kind(), Some("dfu"));
    let mut capabilities: Vec<_> = outline.capabilities().collect();
    capabilities.sort_unstable();
    assert_eq!((capabilities, outline.refused().count()), (vec!["firmware", "log"], 0));
}
