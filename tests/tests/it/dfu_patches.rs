//! A device that can apply patches, over real sockets: it gets the difference to what it runs, makes the new image of it,
//! and starts that; and everything that has it get the whole image instead. It is the op-tagged one of `examples/devices`,
//! with the reference in Rust as what applies patches.

use crate::setup;
use causeway_tests::simulated::{self, POWER_CUT, Simulated};
use causeway_tests::{Gateway, Setup, wait};
use serde_json::{Value, json};
use std::fs;

const OLD: &str = "0.1.0";
const NEW: &str = "0.1.1";

/// What a device runs, and a release that is a little different.
fn images() -> (Vec<u8>, Vec<u8>) {
    let old: Vec<u8> = (0..10_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut new = old.clone();
    new.splice(20_000..20_008, *b"a longer function");
    (old, new)
}

/// A gateway that updates all devices to the new image, and has the images of these versions.
fn updating(images: &[(&str, &[u8])]) -> Setup {
    let setup = setup()
        .shipped_policies()
        .set("bindings", json!([{ "name": "dfu", "kind": "dfu" }]))
        .set("dfu", json!({ "poll": "1s", "back_off": "1s" }))
        .set("assignments", json!([{ "name": "all", "devices": "*", "release": format!("motor:{NEW}") }]));
    let _ = setup.write_config();
    for (version, image) in images {
        fs::write(setup.path("motor.bin"), image).unwrap();
        let push = ["firmware", "push", "motor.bin", "--name", "motor", "--version", version, "-c", "causeway.yaml"];
        let output = setup.command(&push);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    setup
}

/// A device that applies patches to `image`.
fn patching(gateway: &Gateway, name: &str, image: &[u8], more: &[&str]) -> Option<Simulated> {
    simulated::manufacture(gateway, name, image);
    let program = simulated::apply_patch().display().to_string();
    Simulated::op_tagged(gateway, name, &[&["--patches", &program, "--until", NEW], more].concat())
}

/// So many attempts of a device that are over, the last one first: outcome, format of the patch, and bytes that went out.
/// They are written soon after the device has heard.
async fn attempts<const MADE: usize>(gateway: &Gateway, device: &str) -> [(String, Option<String>, u64); MADE] {
    let attempt = |ended: &Value| {
        let text = |key: &str| ended[key].as_str().map(str::to_owned);
        (text("outcome").unwrap(), text("patch"), ended["bytes"].as_u64().unwrap())
    };
    wait::until("the history", async || {
        let history = gateway.query(&["dfu", "history", "--device", device]);
        let attempts: Vec<_> = history.as_array().unwrap().iter().map(attempt).collect();
        attempts.try_into().ok()
    })
    .await
}

/// That a device runs the new image, of which it got every byte and no patch.
async fn got_the_whole(gateway: &Gateway, device: &str) {
    let (_, new) = images();
    let bytes = new.len() as u64;
    assert_eq!(attempts(gateway, device).await, [("confirmed".to_owned(), None, bytes)], "{device}");
    assert_eq!(simulated::runs(gateway, device), (NEW.to_owned(), new), "{device}");
}

#[tokio::test]
async fn a_device_makes_the_new_image_of_what_it_runs_and_of_a_small_patch() {
    let (old, new) = images();
    let gateway = updating(&[(OLD, &old), (NEW, &new)]).start().await;
    for (name, options) in [("cbor", &[] as &[&str]), ("json", &["--json"])] {
        let Some(device) = patching(&gateway, name, &old, options) else { return };
        let said = device.done().await;
        assert!(said.contains("starts 0.1.1, 40009 bytes of a patch of "), "{said}");
        assert_eq!(simulated::runs(&gateway, name), (NEW.to_owned(), new.clone()));
        let [(outcome, Some(format), bytes)] = attempts(&gateway, name).await else { panic!("{name} got no patch") };
        assert_eq!((outcome.as_str(), format.as_str()), ("confirmed", "detools-heatshrink"));
        assert!(said.contains(&format!("of a patch of {bytes} bytes")), "{bytes} went out: {said}");
        assert!(bytes < new.len() as u64 / 10, "{bytes} bytes for a small change");
        let target = gateway.query(&["dfu", "show", name])["target"].clone();
        assert_eq!((&target["size"], &target["percent"]), (&json!(bytes), &json!(100)), "{target}");
    }
    // The patch is there, and still nobody gets it who did not ask for it.
    simulated::manufacture(&gateway, "plain", &old);
    let Some(device) = Simulated::op_tagged(&gateway, "plain", &["--until", NEW]) else { return };
    device.done().await;
    got_the_whole(&gateway, "plain").await;
}

#[tokio::test]
async fn a_patch_goes_on_where_it_was_when_the_device_and_the_gateway_lose_power() {
    let (old, new) = images();
    let mut gateway = updating(&[(OLD, &old), (NEW, &new)]).start().await;
    let small = ["--mtu", "64"];
    let cut = [&small[..], &["--power-cut-at", "128"]].concat();
    let Some(mut device) = patching(&gateway, "truck-7", &old, &cut) else { return };
    let (status, said) = device.ended().await;
    assert_eq!(status.code(), Some(POWER_CUT), "{said}");
    gateway.kill();
    gateway.launch().await;
    let Some(device) = patching(&gateway, "truck-7", &old, &small) else { return };
    let said = device.done().await;
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), new));
    let number = |before: &str, after: &str| -> usize {
        let rest = said.split(before).nth(1).unwrap();
        rest.split(after).next().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let (patch, blocks) = (number("of a patch of ", " bytes"), number("bytes in ", " blocks"));
    assert_eq!(blocks, (patch - 128).div_ceil(64), "{said}");
}

#[tokio::test]
async fn a_device_gets_the_whole_image_when_the_gateway_has_not_the_one_that_it_runs() {
    let (old, new) = images();
    let gateway = updating(&[(NEW, &new)]).start().await;
    let Some(device) = patching(&gateway, "truck-7", &old, &[]) else { return };
    device.done().await;
    got_the_whole(&gateway, "truck-7").await;
}

#[tokio::test]
async fn a_patch_that_does_not_make_the_image_is_one_failed_attempt_and_then_the_whole_image_comes() {
    let (old, new) = images();
    let gateway = updating(&[(OLD, &old), (NEW, &new)]).start().await;
    // It says that it runs 0.1.0, and that is not the 0.1.0 of the gateway.
    let other: Vec<u8> = old.iter().map(|byte| byte ^ 0x55).collect();
    let Some(device) = patching(&gateway, "truck-7", &other, &[]) else { return };
    let said = device.done().await;
    assert!(said.contains("cannot make 0.1.1 of a patch of"), "{said}");
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), new.clone()));
    let [last, first] = attempts(&gateway, "truck-7").await;
    assert_eq!((first.0.as_str(), first.1.as_deref()), ("failed", Some("detools-heatshrink")));
    assert_eq!(last, ("confirmed".to_owned(), None, new.len() as u64));
}
