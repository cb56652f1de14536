//! Devices that may not be updated yet, and may later: maintenance windows, approval of campaigns and of tags; and a
//! release that changes while a device receives it. The device is that of the published crate `embedded-update`.

use crate::setup;
use causeway_tests::simulated::{self, Simulated};
use causeway_tests::{Gateway, Setup, wait};
use serde_json::{Value, json};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

const OLD: &str = "0.1.0";
const NEW: &str = "0.1.1";
const OPEN: &str = "00:00-24:00";

/// Five whole blocks and a bit.
const SIZE: usize = 5 * 512 + 10;

/// Bytes in which every block is another one.
fn image(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|at| seed.wrapping_add((at * 7 + at / 256) as u8)).collect()
}

/// A window that is shut for the hours of this test, whenever it runs.
fn shut() -> String {
    let minutes = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
    let clock = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    format!("{}-{}", clock(minutes + 12 * 60), clock(minutes + 13 * 60))
}

/// A gateway with releases of the version [`NEW`] by these names, which it gives to nobody; devices ask again each second.
fn updating(releases: &[(&str, &[u8])]) -> Setup {
    let setup = setup()
        .shipped_policies()
        .set("bindings", json!([{ "name": "dfu", "kind": "dfu" }]))
        .set("dfu", json!({ "poll": "1s" }));
    let _ = setup.write_config();
    for (name, image) in releases {
        fs::write(setup.path(name), image).unwrap();
        setup.done(&["firmware", "push", name, "--name", name, "--version", NEW, "-c", "causeway.yaml"]);
    }
    setup
}

/// The one rule, for all devices.
fn rule(release: &str, more: &Value) -> Value {
    let mut rule = json!({ "name": "all", "devices": "*", "release": release });
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([rule])
}

/// Another rule, by a reload.
fn change(gateway: &mut Gateway, rule: Value) {
    gateway.setup_mut().change("assignments", rule);
    let _ = gateway.setup().write_config();
    operator(gateway, &["reload"]);
}

fn operator(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.operator(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn device(gateway: &Gateway) -> Simulated {
    Simulated::embedded_update(gateway, &["truck-7"], &["--until", NEW])
}

/// Why the device does not get what is assigned to it.
fn why(gateway: &Gateway) -> String {
    gateway.query(&["dfu", "show", "truck-7"])["why"].as_str().unwrap_or_default().to_owned()
}

/// How many bytes the device has of what it is to run next; none before the first block.
fn stored(gateway: &Gateway, device: &str) -> Option<usize> {
    let image = gateway.setup().path("flash").join(device).join("next.image");
    fs::metadata(image).ok().map(|image| image.len() as usize)
}

/// Waits until the device has been told so once more.
async fn says_again(device: &mut Simulated, text: &str) {
    let before = device.said().matches(text).count();
    wait::until(text, async || (device.said().matches(text).count() > before).then_some(())).await;
}

#[tokio::test]
async fn a_device_waits_until_the_window_of_its_rule_opens() {
    let firmware = image(SIZE, 0);
    let windows = |window: &str| rule("motor:0.1.1", &json!({ "windows": [window] }));
    let mut gateway = updating(&[("motor", &firmware)]).set("assignments", windows(&shut())).start().await;
    let mut device = device(&gateway);
    device.says("waits").await;
    says_again(&mut device, "waits").await;
    assert!(why(&gateway).starts_with("no maintenance window is open until "), "{}", why(&gateway));
    assert_eq!(stored(&gateway, "truck-7"), None);
    change(&mut gateway, windows(OPEN));
    device.done().await;
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), firmware));
}

#[tokio::test]
async fn with_preload_a_device_receives_outside_of_the_window_and_starts_within_it() {
    let firmware = image(SIZE, 0);
    let windows = |window: &str| rule("motor:0.1.1", &json!({ "windows": [window], "preload": true }));
    let mut gateway = updating(&[("motor", &firmware)]).set("assignments", windows(&shut())).start().await;
    let mut device = device(&gateway);
    wait::until("all blocks", async || stored(&gateway, "truck-7").filter(|stored| *stored == SIZE)).await;
    says_again(&mut device, "waits").await;
    assert_eq!(why(&gateway), "it is not to be started yet");
    assert!(!device.said().contains("starts"), "{}", device.said());
    change(&mut gateway, windows(OPEN));
    let said = device.done().await;
    assert!(said.contains("starts 0.1.1, 2570 bytes in 6 blocks"), "no block comes twice: {said}");
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), firmware));
}

#[tokio::test]
async fn the_devices_of_a_campaign_wait_while_its_window_is_shut_whatever_a_rule_would_give_them() {
    let firmware = image(SIZE, 0);
    let setup = updating(&[("motor", &firmware), ("other", b"not this one")]);
    let gateway = setup.set("assignments", rule("other:0.1.1", &json!({}))).start().await;
    operator(&gateway, &["device", "add", "truck-7"]);
    let create = |name: &str, window: &str| {
        let campaign = ["campaign", "create", name, "--release", "motor:0.1.1", "--devices", "*", "--start", "now"];
        operator(&gateway, &[&campaign[..], &["--window", window]].concat());
    };
    create("shut", &shut());
    wait::until("the campaign", async || {
        (gateway.query(&["campaign", "show", "shut"])["state"] == "running").then_some(())
    })
    .await;
    let mut device = device(&gateway);
    device.says("waits").await;
    says_again(&mut device, "waits").await;
    assert!(why(&gateway).starts_with("no maintenance window is open until "), "{}", why(&gateway));
    assert_eq!(stored(&gateway, "truck-7"), None);
    // The campaign that began first counts until it is over.
    create("open", OPEN);
    operator(&gateway, &["campaign", "abort", "shut"]);
    device.done().await;
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), firmware));
}

#[tokio::test]
async fn a_campaign_with_approval_gives_its_devices_nothing_before_and_everything_after() {
    let firmware = image(SIZE, 0);
    let gateway = updating(&[("motor", &firmware)]).start().await;
    let names = ["truck-7", "truck-8"];
    for name in names {
        operator(&gateway, &["device", "add", name]);
    }
    let campaign = ["--release", "motor:0.1.1", "--devices", "id=truck-*", "--approval", "--start", "now"];
    operator(&gateway, &[&["campaign", "create", "spring"], &campaign[..]].concat());
    let mut devices = Simulated::embedded_update(&gateway, &names, &["--until", NEW]);
    for name in names {
        devices.says(&format!("{name}: {OLD} is good")).await;
    }
    let started = gateway.operator(&["campaign", "start", "spring"]);
    let told = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success() && told.contains("waits for its approval"), "{told}");
    for name in names {
        says_again(&mut devices, &format!("{name}: {OLD} is good")).await;
        assert_eq!(stored(&gateway, name), None, "{name}");
    }
    operator(&gateway, &["campaign", "approve", "spring"]);
    devices.done().await;
    for name in names {
        assert_eq!(simulated::runs(&gateway, name), (NEW.to_owned(), firmware.clone()), "{name}");
    }
    wait::until("the end of the campaign", async || {
        let campaign = gateway.query(&["campaign", "show", "spring"]);
        (campaign["state"] == "finished" && campaign["counts"]["succeeded"] == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_device_gets_what_a_followed_tag_stands_for_when_an_operator_has_approved_it() {
    const NEWEST: &str = "0.1.2";
    let setup = updating(&[])
        .set("firmware", json!({ "poll": "1s", "retry": "1s" }))
        .set("trust", json!({ "unsigned": ["oci-layout://"] }));
    let _ = setup.write_config();
    let (first, second) = (image(SIZE, 0), image(SIZE, 1));
    let tag = format!("oci-layout://{}:stable", setup.path("stick").display());
    let push = |setup: &Setup, version: &str, image: &[u8]| {
        fs::write(setup.path("motor"), image).unwrap();
        let push = ["firmware", "push", "motor", &tag, "--name", "motor", "--version", version];
        setup.done(&[&push[..], &["-c", "causeway.yaml"]].concat());
    };
    push(&setup, NEW, &first);
    let followed = rule(&tag, &json!({ "follow": true, "approval": true }));
    let gateway = setup.set("assignments", followed).start().await;
    let waits = async |version: &str| {
        wait::until("it waits for approval", async || {
            let listed = gateway.query(&["firmware", "list"]);
            let entry = listed.as_array().unwrap().iter().find(|entry| entry["reference"] == *tag)?;
            (entry["waiting"]["version"] == version).then_some(())
        })
        .await;
    };

    let mut device = Simulated::embedded_update(&gateway, &["truck-7"], &["--until", NEWEST]);
    waits(NEW).await;
    device.says("waits").await;
    says_again(&mut device, "waits").await;
    assert!(why(&gateway).contains("waits for approval"), "{}", why(&gateway));
    assert_eq!(stored(&gateway, "truck-7"), None);
    operator(&gateway, &["firmware", "pin", &tag]);
    device.says("0.1.1 is good").await;
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), first));

    push(gateway.setup(), NEWEST, &second);
    waits(NEWEST).await;
    says_again(&mut device, "0.1.1 is good").await;
    assert_eq!(stored(&gateway, "truck-7"), None);
    operator(&gateway, &["firmware", "pin", &tag]);
    device.done().await;
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEWEST.to_owned(), second));
}

/// The crate erases what it has when a block at 0 comes, and reports the offset of before plus that block.
#[tokio::test]
async fn a_device_that_is_given_another_image_of_the_same_version_in_mid_transfer_gets_all_of_that() {
    let (first, second) = (image(1 << 20, 0), image(1_000, 1));
    let setup = updating(&[("one", &first), ("two", &second)]);
    let mut gateway = setup.set("assignments", rule("one:0.1.1", &json!({}))).start().await;
    // A mebibyte in blocks of 16 bytes takes longer than a reload.
    let device = Simulated::embedded_update(&gateway, &["truck-7"], &["--mtu", "16", "--until", NEW]);
    wait::until("more than the other image has", async || {
        stored(&gateway, "truck-7").filter(|stored| *stored > second.len())
    })
    .await;
    change(&mut gateway, rule("two:0.1.1", &json!({})));
    let said = device.done().await;
    assert_eq!(said.matches("0.1.0 is good").count(), 1, "it is told once to look what it has: {said}");
    assert!(said.contains("starts 0.1.1, 1000 bytes in "), "{said}");
    assert_eq!(simulated::runs(&gateway, "truck-7"), (NEW.to_owned(), second));
}
