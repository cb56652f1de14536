//! The devices of `examples/devices`, run as their users run them: as programs of their own, over mutual TLS, with a
//! flash in the folder of the gateway that they talk to.

use crate::gateway::Gateway;
use crate::peers;
use crate::process::Process;
use crate::wait;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a device ends with that was to lose its power.
pub const POWER_CUT: i32 = 75;

/// How long an update may take on a loaded machine.
const UPDATE: Duration = Duration::from_secs(120);

/// A program that simulates devices; killed when dropped.
pub struct Simulated {
    process: Process,
    log: PathBuf,
}

impl Simulated {
    /// Devices of the published crate `embedded-update` without a pause between blocks, and with `options`.
    #[must_use]
    pub fn embedded_update(gateway: &Gateway, names: &[&str], options: &[&str]) -> Self {
        let more: Vec<_> = ["--back-off", "0"].iter().chain(options).chain(names).copied().collect();
        Self::start(gateway, embedded_update(), &[], names, &more)
    }

    /// A device of the op-tagged language; `None` after it said that the test is skipped.
    #[must_use]
    pub fn op_tagged(gateway: &Gateway, name: &str, options: &[&str]) -> Option<Self> {
        let python = peers::python_with("cbor2, paho.mqtt.client", "cbor2 paho-mqtt")?;
        let script = devices().join("op_tagged.py").display().to_string();
        let more: Vec<_> = options.iter().chain([&name]).copied().collect();
        Some(Self::start(gateway, &python, &[&script], &[name], &more))
    }

    fn start(gateway: &Gateway, program: &Path, before: &[&str], names: &[&str], more: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Each has a certificate, whether it shows it or its parent's.
        names.iter().for_each(|name| drop(gateway.identity(name)));
        let (setup, address) = (gateway.setup(), gateway.address(8883).to_string());
        let folder = |name: &str| setup.path(name).display().to_string();
        let [certs, flash] = [folder("pki"), folder("flash")];
        let ours = ["--gateway", &address, "--certs", &certs, "--flash", &flash];
        let arguments: Vec<_> = before.iter().chain(&ours).chain(more).map(|word| (*word).to_owned()).collect();
        let log = setup.path(&format!("device-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        Self { process: Process::start(program, &arguments, &[], &setup.path(""), &log), log }
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said `text`.
    pub async fn says(&mut self, text: &str) {
        let heard = async {
            while !self.said().contains(text) {
                if let Some(status) = self.process.ended() {
                    panic!("{status} before {text:?}: {}", self.said());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        wait::within(UPDATE, text, heard).await;
    }

    /// Waits for its end; returns the status, and all that it said.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let ended = async {
            loop {
                if let Some(status) = self.process.ended() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(UPDATE, ended).await {
            Ok(status) => (status, self.said()),
            Err(_) => panic!("the devices go on after {UPDATE:?}: {}", self.said()),
        }
    }

    /// Waits until it has done what it was to do; returns all that it said.
    pub async fn done(mut self) -> String {
        let (status, said) = self.ended().await;
        assert!(status.success(), "{status}: {said}");
        said
    }
}

/// What the device `name` of this gateway runs: its version and its image.
#[must_use]
pub fn runs(gateway: &Gateway, name: &str) -> (String, Vec<u8>) {
    let flash = gateway.setup().path("flash").join(name);
    (fs::read_to_string(flash.join("running")).unwrap(), fs::read(flash.join("image")).unwrap())
}

/// Has the device `name` of this gateway leave its factory with an image.
pub fn manufacture(gateway: &Gateway, name: &str, image: &[u8]) {
    let flash = gateway.setup().path("flash").join(name);
    fs::create_dir_all(&flash).unwrap();
    fs::write(flash.join("image"), image).unwrap();
}

/// The device of the crate `embedded-update`, built when it is first asked for.
#[must_use]
pub fn embedded_update() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("embedded-update", "embedded-update-device"))
}

/// What applies a patch to a file, built when it is first asked for.
#[must_use]
pub fn apply_patch() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("patch", "apply-patch"))
}

/// A program of one of the packages.
fn built(folder: &str, program: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/guests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked"]).env("CARGO_TARGET_DIR", &target);
    // Its settings are read only in its own folder.
    let output = cargo.current_dir(devices().join(folder)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug").join(program)
}

fn devices() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/devices").canonicalize().unwrap()
}
