//! The pages for plugin authors work as they stand, and the example plugin does what it says in a running gateway.

use crate::setup;
use causeway_tests::{Publish, peers, simulated, wait};
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Compiling a first plugin is most of it.
const AN_HOUR: Duration = Duration::from_secs(1800);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A page as a script: blocks of `sh` as they are, and each file that is named in the line before its block.
/// Blocks of `console` only show.
fn script(page: &str) -> String {
    let mut script = String::from("set -euo pipefail\n");
    let mut named = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let block = block.join("\n");
            match (language, named.take()) {
                ("sh", _) => writeln!(script, "{block}").unwrap(),
                (_, Some(file)) => writeln!(script, "cat > {file} <<'END OF FILE'\n{block}\nEND OF FILE").unwrap(),
                ("console", None) => {}
                (language, None) => panic!("a block of {language} that no line says what to do with"),
            }
        } else if !line.is_empty() {
            named = line.strip_prefix('`').and_then(|line| line.strip_suffix("`:"));
        }
    }
    script
}

/// A folder with the gateway under test as `causeway`, for a search path.
fn programs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_causeway-under-test"), folder.path().join("causeway")).unwrap();
    folder
}

/// Cargo for guests: nothing is fetched, and what was compiled is kept for the next run.
fn with_cargo(command: &mut Command) -> &mut Command {
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/guests"))
}

/// Runs a page as a new user would, in an empty folder, and returns what it said.
async fn follow(page: &str) -> String {
    let (home, programs) = (tempfile::tempdir().unwrap(), programs());
    let log = fs::File::create(home.path().join("said.log")).unwrap();
    let (python, path) = (root().join("target/venv/bin"), std::env::var("PATH").unwrap());
    let path = format!("{}:{}:{path}", programs.path().display(), python.display());
    let mut shell = Command::new("setpriv");
    shell
        .args(["--pdeathsig", "TERM", "bash", "-c"])
        .arg(format!("trap 'kill $(jobs -p) || true' EXIT\n{}", script(page)));
    shell.current_dir(home.path()).env("PATH", path).env("CAUSEWAY", root());
    shell.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut shell = with_cargo(&mut shell).spawn().unwrap();
    let ended = tokio::task::spawn_blocking(move || shell.wait().unwrap());
    let status = wait::within(AN_HOUR, "the page to its end", ended).await.unwrap();
    let said = fs::read_to_string(home.path().join("said.log")).unwrap();
    assert!(status.success(), "{status}: {said}");
    said
}

#[tokio::test]
async fn a_new_user_gets_from_nothing_to_a_plugin_of_their_own_on_live_data() {
    let said = follow(&fs::read_to_string(root().join("docs/extend/first-plugin.md")).unwrap()).await;
    for part in ["overheat.wasm: ", "imports log, state", "as recorded: the same", "inputs differ"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[tokio::test]
async fn a_plugin_lives_as_the_readme_says_from_its_build_to_a_start_without_its_registry() {
    let Some(_) = peers::require("docker-registry") else { return };
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## A plugin's life\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    // The port of the page may be somebody else's here.
    let said = follow(&section.replace("127.0.0.1:5000", &setup().address(5000).to_string())).await;
    for part in ["of the key `release`", "rolled back"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[tokio::test]
async fn two_devices_update_through_a_campaign_as_the_readme_says_and_a_third_with_a_patch_as_its_page_goes_on() {
    let Some(_) = peers::require("docker-registry") else { return };
    let Some(_) = peers::python_with("cbor2, paho.mqtt.client", "cbor2 paho-mqtt") else { return };
    // What the page compiles without a network is fetched by this.
    let _ = simulated::embedded_update();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## A device's update\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let page = fs::read_to_string(root().join("docs/devices/firmware.md")).unwrap();
    let (_, further) = page.split_once("## Try it\n").unwrap();
    let pages = format!("{section}\n{further}");
    let said = follow(&pages.replace("127.0.0.1", &setup().address(0).ip().to_string())).await;
    let trucks = ["truck-7: 0.1.1 is good", "truck-8: 0.1.1 is good", "100000 bytes in 196 blocks", "finished"];
    for part in trucks.into_iter().chain(["pump-1: starts 0.1.1, 100000 bytes of a patch", "patch detools-heatshrink"])
    {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[tokio::test]
async fn the_example_plugin_tells_each_crossing_once_also_over_a_crash() {
    let setup = setup();
    let programs = programs();
    let plugin = setup.path("alarm.wasm");
    let mut build = Command::new(programs.path().join("causeway"));
    build.args(["plugin", "build", "--to"]).arg(&plugin).arg(root().join("examples/plugins/threshold-alarm"));
    let built = with_cargo(&mut build).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let mut gateway = setup
        .set(
            "bindings",
            json!([{
                "name": "alarm", "plugin": "alarm.wasm", "filters": ["dt/cvra/{device}/cardata"],
                "config": { "pointer": "/OilTemp", "raise": 230, "clear": 215 },
            }]),
        )
        .set(
            "collections",
            json!([{
                "name": "alarms", "kind": "append", "time": "at",
                "columns": [
                    { "name": "device", "pointer": "/device", "required": true },
                    { "name": "at", "pointer": "/at", "kind": "time", "required": true },
                ],
            }]),
        )
        .start()
        .await;
    let mut watcher = gateway.v5("watcher").await;
    assert!(watcher.subscribe("devices/+/alarm", 1).await < 0x80);
    let _ = gateway.query(&["record", "start", "alarm"]);
    let publish = async |gateway: &causeway_tests::Gateway, name: &str, values: &[u32]| {
        let mut device = gateway.v5(name).await;
        for value in values {
            let payload = json!({ "OilTemp": value }).to_string();
            assert!(device.publish(Publish::new(&format!("dt/cvra/{name}/cardata"), payload, 1)).await < 0x80);
        }
    };
    publish(&gateway, "truck-7", &[200, 231, 240]).await;
    publish(&gateway, "truck-8", &[229, 230]).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        told.push(watcher.message().await.topic);
    }
    told.sort();
    assert_eq!(told, ["devices/truck-7/alarm", "devices/truck-8/alarm"]);
    let file = gateway.query(&["record", "stop", "alarm"])["file"].as_str().unwrap().to_owned();

    gateway.kill();
    gateway.launch().await;
    publish(&gateway, "truck-7", &[220, 232, 214, 200]).await;
    let levels = async || {
        let rows = gateway.query(&["store", "query", "alarms", "--where", "device=truck-7"]);
        let level = |row: &serde_json::Value| row["document"]["level"].as_str().unwrap().to_owned();
        Some(rows.as_array().unwrap().iter().map(level).collect::<Vec<_>>()).filter(|levels| levels.len() >= 2)
    };
    assert_eq!(wait::until("the alarm is cleared", levels).await, ["normal", "alarm"]);
    let checked = gateway.setup().command(&["plugin", "replay", &file, "alarm.wasm", "--check"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("5 inputs"), "{said}");
}
