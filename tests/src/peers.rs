//! The programs of others that a test talks to: the mosquitto clients and broker, and paho-mqtt. Registries and what
//! pushes to them are in `registry.rs`.
//!
//! A machine without one reports the test as skipped; under `CI=true` its absence is a failure.

use crate::gateway::Gateway;
use crate::pki::Identity;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Finds a program of another project; `None` after it said that the test is skipped.
#[must_use]
pub fn require(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.exists());
    found.or_else(|| {
        skip(&format!("{program} is not installed"));
        None
    })
}

/// A Python that can import paho-mqtt: the one that `.ci/run` makes, else the machine's.
#[must_use]
pub fn python_with_paho() -> Option<PathBuf> {
    python_with("paho.mqtt.client", "paho-mqtt")
}

/// A Python that can import `module`, which the package `package` has.
#[must_use]
pub fn python_with(module: &str, package: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    let can_import = |python: &Path| {
        Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let found = [own, "python3".into()].into_iter().find(|python| can_import(python));
    found.or_else(|| {
        skip(&format!("no Python with {module}: python3 -m venv target/venv && target/venv/bin/pip install {package}"));
        None
    })
}

/// Says why the running test is skipped, past the capture of its output.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "must not be skipped in CI: {reason}");
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}

/// The options by which a mosquitto client reaches the gateway as `identity`.
#[must_use]
pub fn mosquitto_options(gateway: &Gateway, identity: &Identity) -> Vec<String> {
    let address = gateway.address(8883);
    let file = |path: &Path| path.to_str().unwrap().to_string();
    vec![
        "-h".into(),
        address.ip().to_string(),
        "-p".into(),
        address.port().to_string(),
        "--cafile".into(),
        file(&gateway.setup().pki().authority_file()),
        "--cert".into(),
        file(&identity.certificate),
        "--key".into(),
        file(&identity.key),
    ]
}

/// Runs a client to its end.
#[must_use]
pub fn run(program: &Path, options: &[String], more: &[&str]) -> Output {
    Command::new(program).args(options).args(more).stdin(Stdio::null()).output().unwrap()
}

/// A client that prints lines as things happen; killed when dropped.
pub struct Printing {
    child: Child,
    lines: Receiver<String>,
}

impl Printing {
    #[must_use]
    pub fn start(program: &Path, options: &[String], more: &[&str]) -> Self {
        // Without a terminal a program of C keeps its lines back; `stdbuf` becomes the program after telling it not to.
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(program);
        command.args(options).args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line that contains `text`.
    pub fn line(&self, text: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
