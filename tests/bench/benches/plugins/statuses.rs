//! What it costs to answer one status with a block: the built-in DFU plugin as a component, and the same crate in the host.

use super::{Nothing, nanos};
use crate::table::{Table, count};
use causeway_core::dfu::{Assignment, By, Release, Step};
use causeway_host::dfu::{Device, DfuPlugin, Orders, Request};
use causeway_host::{Binary, Component, DfuImports, Engine, Firmware, Limits, Patch, ReadError, Setup};
use causeway_plugin::dfu as native;
use causeway_plugin::testing::Update;
use causeway_plugin_dfu::Dfu;
use std::hint::black_box;
use std::sync::Arc;

/// Devices in the middle of an image, by the bytes of data that they take at once.
const STATUSES: [(&str, usize, &[u8]); 4] = [
    ("embedded-update, packed", 512, b"\xa4\x00\x450.1.0\x01\x19\x02\x00\x02\x01\x03\xa2\x00\x450.1.1\x01\x19\x02\x00"),
    (
        "embedded-update, packed",
        4096,
        b"\xa4\x00\x450.1.0\x01\x19\x10\x00\x02\x01\x03\xa2\x00\x450.1.1\x01\x19\x10\x00",
    ),
    ("op, JSON", 512, br#"{"version":"0.1.0","mtu":512,"status":{"version":"0.1.1","offset":512}}"#),
    ("op, JSON", 4096, br#"{"version":"0.1.0","mtu":4096,"status":{"version":"0.1.1","offset":4096}}"#),
];

/// An image of the same byte everywhere, copied as from a cache.
struct Image(Vec<u8>);

impl Image {
    fn at(&self, length: u32) -> Vec<u8> {
        self.0[..length as usize].to_vec()
    }
}

impl Firmware for Image {
    fn block(&mut self, _: &str, _: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        Ok(self.at(length))
    }

    fn patch_from(&mut self, _: &str, _: &[&str]) -> Result<Option<Patch>, ReadError> {
        Ok(None)
    }
}

impl native::Firmware for Image {
    fn block(&self, _: &str, _: u64, length: u32) -> Result<Vec<u8>, native::ReadError> {
        Ok(self.at(length))
    }

    fn patch_from(&self, _: &str, _: &[String]) -> Result<Option<native::Patch>, native::ReadError> {
        Ok(None)
    }
}

pub(super) fn statuses(engine: &Arc<Engine>) {
    let settings = format!(
        "One status answered with one block; medians of chunks of 50 calls. Native: the same crate in the host. The \
         component has {} kB.",
        causeway_plugins::DFU.len() / 1000
    );
    let head = ["language", "block in bytes", "ns a call", "native ns", "overhead ns"];
    let mut table = Table::new("Answers to devices that update", &settings, &head);
    let component = Component::load(engine, &Binary::of(causeway_plugins::DFU), None, |_| {}).unwrap();
    let plugin = DfuPlugin::new(engine, &component).unwrap();
    for (language, block, status) in STATUSES {
        let (guest, native) = (guest_nanos(&plugin, status, block), native_nanos(status));
        let cells = [guest, native, guest - native].map(count);
        table.row([vec![language.to_owned(), block.to_string()], cells.to_vec()].concat());
    }
    table.print();
}

fn guest_nanos(plugin: &DfuPlugin, status: &[u8], block: usize) -> f64 {
    let setup = Setup { gateway: "edge".into(), binding: "bench".into(), config: "{}".into() };
    let imports = DfuImports { log: Box::new(Nothing), firmware: Box::new(Image(vec![7; 64 << 10])) };
    let mut instance = Some(plugin.start(&setup, &Limits::default(), imports).unwrap());
    let release = Release {
        name: "app".to_owned(),
        version: "0.1.1".to_owned(),
        image: "sha256:00".to_owned(),
        size: 1 << 20,
        checksum: [9; 32],
        from: Vec::new(),
    };
    let by = By::Rule("rule".to_owned());
    let assignment = Assignment { release: Arc::new(release), by, swap: true, attempt: 1, restart: false };
    let request = Request {
        device: Device { id: "truck-7", attributes: &[("hardware", "r2"), ("type", "sensor")], parent: None },
        orders: Orders::Update(&assignment),
        poll: 300,
        topic: "dfu/truck-7/status",
        payload: status,
        content_type: None,
        received_ms: super::RECEIVED_MS,
    };
    nanos(|| {
        let (next, said) = instance.take().unwrap().handle(black_box(&request)).unwrap();
        assert!(matches!(said.unwrap().step, Step::Write { length, .. } if length as usize == block));
        instance = Some(next);
    })
}

fn native_nanos(status: &[u8]) -> f64 {
    let plugin: Dfu = Update::configure("{}").unwrap();
    let image = Image(vec![7; 64 << 10]);
    let update = Update::to("0.1.1", &[]).assignment(|assignment| assignment.size = 1 << 20);
    let update = update.attribute("hardware", "r2").attribute("type", "sensor");
    nanos(|| {
        // The gateway's own values become the plugin's at each call there, too.
        let request = update.request(status);
        drop(black_box(native::Handler::handle(&plugin, black_box(&request), &image).unwrap()));
    })
}
