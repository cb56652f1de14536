//! The gateway as its users run it: the real binary in a process of its own, with a data directory, a configuration
//! file and policies that the test made.
//!
//! Each gateway has a loopback address to itself, so its ports are those of a real one and never collide.

use crate::device::Device;
use crate::packet::{Connect, Version};
use crate::pki::{Identity, Pki};
use crate::process::Process;
use crate::wait;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a gateway is started with.
pub struct Setup {
    binary: PathBuf,
    folder: TempDir,
    address: IpAddr,
    pki: Pki,
    /// The configuration; written as JSON, which is YAML.
    config: Value,
    environment: Vec<(String, String)>,
    panics_allowed: bool,
}

impl Setup {
    /// An open gateway: mutual TLS on 8883, plain on 1883, every identity admitted, everything permitted.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("causeway-test-").tempdir().unwrap();
        let address = own_address();
        let pki = Pki::create(&folder.path().join("pki"), address);
        fs::create_dir(folder.path().join("policies")).unwrap();
        let config = json!({
            "gateway": { "id": "gateway-under-test" },
            "data_dir": "data",
            "listeners": [
                { "name": "devices", "bind": format!("{address}:8883"), "tls": {
                    "certificate": "pki/server.pem", "key": "pki/server-key.pem", "client_ca": "pki/ca.pem" } },
                { "name": "plain", "bind": format!("{address}:1883"), "plain": { "identity": { "client-id": "plain/{client-id}" } } },
            ],
            "policies": { "dir": "policies" },
            "devices": { "registration": "on-first-connect" },
            "bindings": [],
            "admin": { "socket": "admin.sock" },
            "metrics": { "bind": format!("{address}:9464") },
        });
        let setup = Self {
            binary: binary.into(),
            folder,
            address,
            pki,
            config,
            environment: Vec::new(),
            panics_allowed: false,
        };
        let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/templates.yaml");
        fs::copy(templates, setup.path("policies/templates.yaml")).expect("the shipped templates");
        setup.policy("open.cedar", "permit(principal, action, resource);\n")
    }

    /// Sets one key, named by its path as in `mqtt.max_inflight`.
    #[must_use]
    pub fn set(mut self, path: &str, value: Value) -> Self {
        self.change(path, value);
        self
    }

    /// Sets one key for the next time that the configuration is written.
    pub fn change(&mut self, path: &str, value: Value) {
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(slot) = self.config.pointer_mut(&pointer) {
            *slot = value;
            return;
        }
        let mut at = &mut self.config;
        for key in path.split('.') {
            at = match key.parse::<usize>() {
                Ok(item) => &mut at[item],
                Err(_) => &mut at[key],
            };
        }
        *at = value;
    }

    /// Writes a file of policies, in place of one of the same name.
    #[must_use]
    pub fn policy(self, file: &str, text: &str) -> Self {
        fs::write(self.path("policies").join(file), text).unwrap();
        self
    }

    /// The policies that are part of the program, and nothing else.
    #[must_use]
    pub fn shipped_policies(self) -> Self {
        self.set("policies.dir", Value::Null)
    }

    /// The built-in telemetry plugin on all topics that it knows.
    #[must_use]
    pub fn telemetry(self) -> Self {
        let filters = [
            "dt/cvra/+/cardata",
            "dt/cvra/+/dtc",
            "dt/cvra/+/trip",
            "dt/cvra/+/event",
            "cdf/assetlibrary/events/devices/#",
            "cdf/assetlibrary/events/groups/#",
            "$aws/events/jobExecution/#",
        ];
        self.set(
            "bindings",
            json!([{ "name": "telemetry", "kind": "telemetry", "plugin": "builtin:telemetry",
                     "filters": filters, "delivery": "durable" }]),
        )
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The next process does not see this variable.
    pub fn forget_environment(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// A panic that the gateway must survive is part of the test.
    #[must_use]
    pub fn allow_panics(mut self) -> Self {
        self.panics_allowed = true;
        self
    }

    /// A path in the folder of this gateway.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The address that only this gateway has.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Writes the configuration file and returns its path.
    #[must_use]
    pub fn write_config(&self) -> PathBuf {
        let file = self.path("causeway.yaml");
        fs::write(&file, serde_json::to_string_pretty(&self.config).unwrap()).unwrap();
        file
    }

    /// Runs one command of the binary in the folder of this gateway and returns what it said.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        std::process::Command::new(&self.binary)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same as texts: exit code, standard output, standard error.
    #[must_use]
    pub fn said(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What a command that must not fail prints.
    pub fn done(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.said(arguments);
        assert_eq!(code, 0, "causeway {arguments:?}: {out}{err}");
        out
    }

    /// Starts the gateway and waits until its listeners answer.
    pub async fn start(self) -> Gateway {
        let mut gateway = Gateway { setup: self, process: None, identities: Mutex::new(HashMap::new()) };
        gateway.launch().await;
        gateway
    }
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    setup: Setup,
    process: Option<Process>,
    identities: Mutex<HashMap<String, Identity>>,
}

impl Gateway {
    /// Starts the process again, after [`Gateway::kill`] or [`Gateway::stop`], on the same data.
    pub async fn launch(&mut self) {
        self.launch_only();
        let address = self.setup.address(8883);
        wait::until("the gateway answers", async || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                panic!("the gateway ended with {status} instead of starting:\n{}", self.log_tail());
            }
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
    }

    /// Starts the process and does not wait for anything.
    pub fn launch_only(&mut self) {
        let config = self.setup.write_config();
        let arguments = ["run", "--config", config.to_str().unwrap()].map(String::from);
        let Setup { binary, environment, folder, .. } = &self.setup;
        self.process = Some(Process::start(binary, &arguments, environment, folder.path(), &self.log_file()));
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and waits for the exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a running gateway");
        process.signal(rustix::process::Signal::TERM);
        wait::until("the gateway ends after SIGTERM", async || process.ended()).await
    }

    /// Sends a signal such as HUP.
    pub fn signal(&self, signal: rustix::process::Signal) {
        self.process.as_ref().expect("a running gateway").signal(signal);
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running gateway").id()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// The certificate of the device `name`, made at first use.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities.entry(name.into()).or_insert_with(|| self.setup.pki.device(name)).clone()
    }

    /// Connects over mutual TLS as the device that is called like the client id, and expects to be accepted.
    pub async fn device(&self, connect: Connect) -> Device {
        let name = connect.client_id.clone();
        self.device_as(&name, connect).await
    }

    /// Connects over mutual TLS as the device `name`, and expects to be accepted.
    pub async fn device_as(&self, name: &str, connect: Connect) -> Device {
        let device = Device::connect(self.setup.address(8883), &self.identity(name), &connect).await;
        assert_eq!(device.code, 0, "CONNACK {:#04x} for {connect:?}", device.code);
        device
    }

    /// A clean MQTT 5 session.
    pub async fn v5(&self, name: &str) -> Device {
        self.device(Connect::new(Version::V5, name)).await
    }

    /// A clean MQTT 3.1.1 session.
    pub async fn v311(&self, name: &str) -> Device {
        self.device(Connect::new(Version::V311, name)).await
    }

    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    #[must_use]
    pub fn setup_mut(&mut self) -> &mut Setup {
        &mut self.setup
    }

    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        self.setup.address(port)
    }

    /// Runs an operator's command against this gateway, as in `["device", "list", "-o", "json"]`.
    #[must_use]
    pub fn operator(&self, arguments: &[&str]) -> Output {
        let mut all = arguments.to_vec();
        all.extend(["--socket", "admin.sock"]);
        self.setup.command(&all)
    }

    /// The same with `-o json`, which must succeed.
    #[must_use]
    pub fn query(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let output = self.operator(&all);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "causeway {arguments:?} ended with {}: {said}", output.status);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("causeway {arguments:?} printed no JSON: {error}"))
    }

    /// The value of a metric without labels, as machines that watch read it.
    pub async fn metric(&self, name: &str) -> u64 {
        let mut stream = tokio::net::TcpStream::connect(self.address(9464)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        wait::soon("the metrics", stream.read_to_string(&mut answer)).await.unwrap();
        let mut lines = answer.lines().filter_map(|line| line.split_once(' '));
        let value = lines.find(|(of, _)| of.split('{').next() == Some(name)).map(|(_, value)| value);
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{answer}"))
    }

    /// What the process has written since the first start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Checks that listeners answer a CONNECT and that nothing has panicked.
    pub async fn assert_well(&self) {
        for version in [Version::V311, Version::V5] {
            let mut device = self.device(Connect::new(version, "liveness")).await;
            device.ping().await;
        }
        self.assert_no_panic();
    }

    /// Checks that no thread has panicked, unless panics are part of the test.
    pub fn assert_no_panic(&self) {
        let log = self.log();
        if !self.setup.panics_allowed
            && let Some(at) = log.find("panicked at")
        {
            let from = log[..at].rfind('\n').unwrap_or_default();
            panic!("the gateway panicked: {}", log[from..].chars().take(2000).collect::<String>());
        }
    }

    fn log_file(&self) -> PathBuf {
        self.setup.path("gateway.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the end of the gateway's log:\n{}", self.log_tail());
        } else {
            self.assert_no_panic();
        }
    }
}

/// 127.0.0.0/8 is all loopback: the middle bytes name this process, the last one the gateway or registry. What one process
/// has beyond 254 takes the bytes of a process id that is far away.
pub(crate) fn own_address() -> IpAddr {
    const BLOCK: u16 = 254;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let high = match (next / BLOCK, high.saturating_add(1)) {
        (0, high) => high,
        (1, high) => (high ^ 0x80).max(1),
        _ => panic!("more gateways than addresses in one test process"),
    };
    let last = u8::try_from(next % BLOCK + 1).unwrap();
    IpAddr::V4(Ipv4Addr::new(127, high, low, last))
}
