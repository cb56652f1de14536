//! The devices of `examples/devices` update over real sockets: the published crate `embedded-update`, unchanged, and the
//! op-tagged language in Python; with images of every awkward size, and with connections and power lost at every edge.

use crate::setup;
use causeway_tests::artifact::media;
use causeway_tests::simulated::{self, POWER_CUT, Simulated};
use causeway_tests::{Gateway, Publish, Registry, Setup, registry, wait};
use serde_json::{Value, json};
use std::fs;

const OLD: &str = "0.1.0";
const NEW: &str = "0.1.1";

/// The block that devices take unless they are told otherwise.
const MTU: usize = 512;

/// Bytes in which every block is another one.
fn image(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A gateway that updates devices by these rules, with the policies that are shipped; devices ask again each second.
fn updating(rules: &[(&str, &str)]) -> Setup {
    let rules: Vec<_> = rules
        .iter()
        .enumerate()
        .map(|(at, (devices, release))| json!({ "name": format!("rule-{at}"), "devices": devices, "release": release }))
        .collect();
    let setup = setup()
        .shipped_policies()
        .set("bindings", json!([{ "name": "dfu", "kind": "dfu" }]))
        .set("dfu", json!({ "poll": "1s" }));
    if rules.is_empty() { setup } else { setup.set("assignments", json!(rules)) }
}

/// Makes a release of an image known under a name, without a registry.
fn push(setup: &Setup, name: &str, image: &[u8]) {
    let file = setup.path(name);
    fs::write(&file, image).unwrap();
    let _ = setup.write_config();
    let file = file.display().to_string();
    let output = setup.command(&["firmware", "push", &file, "--name", name, "--version", NEW, "-c", "causeway.yaml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the gateway says of a device.
fn standing(gateway: &Gateway, device: &str) -> Value {
    gateway.query(&["dfu", "show", device])
}

#[tokio::test]
async fn devices_to_which_nothing_is_assigned_hear_that_what_they_run_is_right() {
    let gateway = updating(&[]).start().await;
    for form in ["named", "packed"] {
        let devices = Simulated::embedded_update(&gateway, &["truck-7"], &["--form", form, "--until", OLD]);
        assert!(devices.done().await.contains("0.1.0 is good"));
    }
    for options in [&["--until", OLD] as &[&str], &["--json", "--until", OLD]] {
        let Some(device) = Simulated::op_tagged(&gateway, "truck-8", options) else { return };
        assert!(device.done().await.contains("0.1.0 is good"));
    }
}

#[tokio::test]
async fn the_published_crate_and_the_op_tagged_device_update_to_images_of_every_awkward_size() {
    const MIB: usize = 1 << 20;
    let sizes = [0, 1, MTU - 1, MTU, MTU + 1, MIB];
    let names = sizes.map(|size| format!("image-{size}"));
    let rules = names.each_ref().map(|name| (format!("id=*-{name}"), format!("{name}:{NEW}")));
    let rules: Vec<_> = rules.iter().map(|(devices, release)| (devices.as_str(), release.as_str())).collect();
    let setup = updating(&rules);
    for (name, size) in names.iter().zip(sizes) {
        push(&setup, name, &image(size));
    }
    let gateway = setup.start().await;

    for (form, mtu) in [("named", "512"), ("packed", "4096")] {
        let devices = names.each_ref().map(|name| format!("{form}-{name}"));
        let devices = devices.each_ref().map(String::as_str);
        Simulated::embedded_update(&gateway, &devices, &["--form", form, "--mtu", mtu, "--until", NEW]).done().await;
        for (device, size) in devices.iter().zip(sizes) {
            assert_eq!(simulated::runs(&gateway, device), (NEW.to_owned(), image(size)), "{device}");
        }
    }
    for (language, options) in [("cbor", &["--until", NEW] as &[&str]), ("json", &["--json", "--until", NEW])] {
        let devices = names.each_ref().map(|name| format!("{language}-{name}"));
        let mut running = Vec::new();
        for (device, size) in devices.iter().zip(sizes) {
            let mtu = if size == MIB { "4096" } else { "512" };
            let options = [options, &["--mtu", mtu]].concat();
            let Some(device) = Simulated::op_tagged(&gateway, device, &options) else { return };
            running.push(device);
        }
        for (device, (name, size)) in running.into_iter().zip(devices.iter().zip(sizes)) {
            device.done().await;
            assert_eq!(simulated::runs(&gateway, name), (NEW.to_owned(), image(size)), "{name}");
        }
    }
}

/// Each edge is a device of its own; all of them update at once.
#[tokio::test]
async fn a_connection_cut_at_any_block_edge_costs_no_block() {
    const BLOCK: usize = 64;
    const SIZE: usize = 5 * BLOCK + 10;
    let setup = updating(&[("*", &format!("small:{NEW}"))]);
    push(&setup, "small", &image(SIZE));
    let gateway = setup.start().await;

    let edges = (0..=5).map(|blocks| blocks * BLOCK).chain([SIZE]);
    let mut running = Vec::new();
    for edge in edges {
        let at = edge.to_string();
        let options = ["--mtu", "64", "--cut-at", &at, "--until", NEW];
        let [crate_device, op_device] = ["crate", "op"].map(|kind| format!("{kind}-{edge}"));
        running.push((Simulated::embedded_update(&gateway, &[&crate_device], &options), crate_device, edge));
        if let Some(device) = Simulated::op_tagged(&gateway, &op_device, &options) {
            running.push((device, op_device, edge));
        }
    }
    for (device, name, edge) in running {
        let said = device.done().await;
        for part in [&format!("loses its connection with {edge} bytes stored"), "330 bytes in 6 blocks"] {
            assert!(said.contains(part), "{name}: no {part:?} in {said}");
        }
        assert_eq!(simulated::runs(&gateway, &name), (NEW.to_owned(), image(SIZE)), "{name}");
        assert_eq!(standing(&gateway, &name)["state"], "confirmed", "{name}");
    }
}

/// What is stored is all that the device knows when it starts again.
#[tokio::test]
async fn a_device_that_loses_power_at_any_block_edge_goes_on_at_its_own_offset() {
    const BLOCK: usize = 64;
    const SIZE: usize = 5 * BLOCK + 10;
    let setup = updating(&[("*", &format!("small:{NEW}"))]);
    push(&setup, "small", &image(SIZE));
    let mut gateway = setup.start().await;

    let edges: Vec<_> = (1..=5).map(|blocks| (blocks, blocks * BLOCK)).chain([(6, SIZE)]).collect();
    let start = |gateway: &Gateway, more: &dyn Fn(usize) -> Vec<String>| {
        let mut running = Vec::new();
        for (blocks, edge) in &edges {
            let more = more(*edge);
            let options: Vec<_> =
                ["--mtu", "64", "--until", NEW].into_iter().chain(more.iter().map(|o| &**o)).collect();
            let [crate_device, op_device] = ["crate", "op"].map(|kind| format!("{kind}-{edge}"));
            let device = Simulated::embedded_update(gateway, &[&crate_device], &options);
            running.push((device, crate_device, *blocks));
            if let Some(device) = Simulated::op_tagged(gateway, &op_device, &options) {
                running.push((device, op_device, *blocks));
            }
        }
        running
    };
    for (mut device, name, blocks) in start(&gateway, &|edge| vec!["--power-cut-at".into(), edge.to_string()]) {
        let (status, said) = device.ended().await;
        assert_eq!(status.code(), Some(POWER_CUT), "{name}: {said}");
        assert!(said.contains(&format!(", {blocks} blocks")), "{name}: {said}");
    }
    // The gateway forgets what it had not written down; the devices' own offsets are the truth.
    gateway.kill();
    gateway.launch().await;
    for (device, name, blocks) in start(&gateway, &|_| Vec::new()) {
        let said = device.done().await;
        assert!(said.contains(&format!("330 bytes in {} blocks", 6 - blocks)), "{name}: {said}");
        assert_eq!(simulated::runs(&gateway, &name), (NEW.to_owned(), image(SIZE)), "{name}");
    }
}

#[tokio::test]
async fn devices_wait_for_a_registry_that_is_down_and_update_to_what_oras_pushed_to_it() {
    let Some(mut registry) = Registry::start().await else { return };
    let firmware = image(3_000);
    let artifact = registry::Artifact {
        layer: &firmware,
        layer_type: "application/octet-stream",
        config: b"{}",
        config_type: media::EMPTY,
        annotations: &[],
    };
    let Some(_) = registry.push_with_oras(&format!("acme/motor:{NEW}"), &artifact) else { return };
    registry.unplug();
    let gateway = updating(&[("*", &format!("{}:{NEW}", registry.reference("acme/motor")))])
        .set("registries", json!([registry.config()]))
        .set("trust", json!({ "unsigned": [registry.reference("acme")] }))
        .set("firmware", json!({ "retry": "1s" }))
        .start()
        .await;

    let mut crate_device = Simulated::embedded_update(&gateway, &["truck-7"], &["--until", NEW]);
    let mut op_device = Simulated::op_tagged(&gateway, "truck-8", &["--until", NEW]);
    crate_device.says("waits").await;
    if let Some(device) = &mut op_device {
        device.says("waits").await;
    }
    registry.plug_in().await;
    crate_device.done().await;
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), firmware.clone()));
    let Some(op_device) = op_device else { return };
    op_device.done().await;
    assert_eq!(simulated::runs(&gateway, "truck-8"), (NEW.to_owned(), firmware));
}

#[tokio::test]
async fn a_device_updates_its_children_as_many_conversations() {
    let setup = updating(&[("parent=hub-1", &format!("sensor:{NEW}"))]);
    push(&setup, "sensor", &image(1_000));
    let gateway = setup.start().await;
    let _ = gateway.query(&["device", "add", "hub-1"]);
    for child in ["sensor-1", "sensor-2"] {
        let _ = gateway.query(&["device", "add", child]);
        let _ = gateway.query(&["device", "set", child, "--parent", "hub-1"]);
    }
    let _ = gateway.identity("hub-1");
    let options = ["--parent", "hub-1", "--until", NEW];
    Simulated::embedded_update(&gateway, &["sensor-1"], &options).done().await;
    assert_eq!(simulated::runs(&gateway, "sensor-1"), (NEW.to_owned(), image(1_000)));
    let Some(device) = Simulated::op_tagged(&gateway, "sensor-2", &options) else { return };
    device.done().await;
    assert_eq!(simulated::runs(&gateway, "sensor-2"), (NEW.to_owned(), image(1_000)));
}

#[tokio::test]
async fn a_device_that_cannot_start_a_release_is_given_up_after_its_attempts() {
    let setup = updating(&[("*", &format!("broken:{NEW}"))])
        .set("dfu", json!({ "poll": "1s", "attempts": 2, "back_off": "1s" }));
    push(&setup, "broken", &image(1_000));
    let gateway = setup.start().await;
    let mut device = Simulated::embedded_update(&gateway, &["truck-7"], &["--rolls-back", "--until", OLD]);
    // The gateway confirms what runs when it has given up.
    let (status, said) = device.ended().await;
    assert!(status.success(), "{status}: {said}");
    assert_eq!(said.matches("does not start").count(), 2, "{said}");
    assert_eq!(standing(&gateway, "truck-7")["state"], "quarantined");
}

/// What a line of the page means: JSON as it is, CBOR by its hexadecimal digits.
fn message(text: &str) -> Vec<u8> {
    if text.starts_with('{') {
        return text.into();
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn every_exchange_of_the_page_for_firmware_engineers_is_answered_as_it_stands() {
    let setup = updating(&[("*", &format!("hello:{NEW}"))]).set("dfu", json!({ "poll": "300s", "jitter": 0 }));
    push(&setup, "hello", b"helloworld");
    let gateway = setup.start().await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/devices/firmware.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<_> = page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "only {} languages", blocks.len());

    for (at, block) in blocks.iter().enumerate() {
        let name = format!("device-{at}");
        let mut device = gateway.v5(&name).await;
        if block.contains("{\"write\"") {
            let _ = gateway.query(&["device", "set", &name, "dfu-dialect=tagged"]);
        }
        device.subscribe(&format!("dfu/{name}/command"), 1).await;
        let mut lines = block.lines();
        let mut is_first = true;
        while let (Some(status), Some(command)) = (lines.next(), lines.next()) {
            let status = message(status.strip_prefix("→ ").unwrap());
            let expected = message(command.strip_prefix("← ").unwrap());
            let mut answer = async || {
                let published = device.publish(Publish::new(&format!("dfu/{name}/status"), status.clone(), 1)).await;
                assert!(published < 0x80, "{published:#x}");
                device.message().await.payload
            };
            // The image may still be on its way when the first device asks.
            let got = match is_first {
                true => {
                    wait::until("the first block", async || Some(answer().await).filter(|got| *got == expected)).await
                }
                false => answer().await,
            };
            is_first = false;
            assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected), "{name}: {block}");
        }
    }
}
