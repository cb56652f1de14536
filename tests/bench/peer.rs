//! The three brokers, each as a process that starts with one call and ends when dropped.

use causeway_tests::{Gateway, Pki, Setup};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Which broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Causeway,
    Mosquitto,
    Stock,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Causeway => "Causeway",
            Self::Mosquitto => "mosquitto",
            Self::Stock => "stock rumqttd",
        }
    }
}

/// A running broker.
pub(crate) enum Peer {
    Causeway(Box<Gateway>),
    Other { child: Child, address: IpAddr, folder: tempfile::TempDir, pki: Box<Pki> },
}

/// The gateway as the benches run it: the shipped policies and one more template that all devices share.
pub(crate) fn setup() -> Setup {
    setup_of(&program("causeway"))
}

/// The same of another build of it.
pub(crate) fn setup_of(program: &Path) -> Setup {
    let shipped = |name: &str| {
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policies").join(name)).unwrap()
    };
    let open = "permit (principal is Device, action in [Action::\"publish\", Action::\"subscribe\", Action::\"receive\"],\n\
                resource == Template::\"bench\");\n\
                // The rows without TLS are for comparison: its clients may use the same topics.\n\
                permit (principal is Unverified, action, resource);\n";
    let mut setup = Setup::new(program.to_str().unwrap());
    // `CAUSEWAY_BENCH_SET` tries another setting, as in `mqtt.max_inflight=1024`.
    if let Ok(setting) = env::var("CAUSEWAY_BENCH_SET") {
        let (key, value) = setting.split_once('=').expect("KEY=VALUE");
        println!("Causeway runs with {key} = {value}.\n");
        setup = setup.set(key, serde_json::from_str(value).unwrap_or_else(|_| value.into()));
    }
    setup
        .policy("open.cedar", open)
        .policy("devices.cedar", &shipped("devices.cedar"))
        .policy("operators.cedar", &shipped("operators.cedar"))
        .policy("plugins.cedar", &shipped("plugins.cedar"))
        .policy("templates.yaml", &format!("{}\nbench: bench/{{rest...}}\n", shipped("templates.yaml")))
        .set("mqtt.max_connections_per_identity", json!(100_000))
        .set("mqtt.max_sessions_per_identity", json!(100_000))
        .set("mqtt.max_sessions", json!(200_000))
        .set("mqtt.max_connections", json!(100_000))
        .set("mqtt.max_connections_per_address", json!(100_000))
}

/// A program beside this one.
pub(crate) fn program(name: &str) -> PathBuf {
    env::current_exe().unwrap().with_file_name(name)
}

impl Peer {
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Causeway => Self::causeway(setup()),
            Kind::Mosquitto => Self::mosquitto(),
            Kind::Stock => Self::stock(),
        }
    }

    /// A gateway of this setup, or the broker that was asked for instead.
    pub(crate) fn causeway_or(kind: Kind, setup: Setup) -> Self {
        if kind == Kind::Causeway { Self::causeway(setup) } else { Self::start(kind) }
    }

    pub(crate) fn causeway(setup: Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gateway = runtime.block_on(setup.start());
        Self::Causeway(Box::new(gateway))
    }

    fn mosquitto() -> Self {
        let (folder, address, pki) = place(2);
        let config = folder.path().join("mosquitto.conf");
        let file = |name: &str| pki.path(name).display().to_string();
        let text = format!(
            "user root\nper_listener_settings false\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
             max_inflight_messages 100\nmax_queued_messages 0\nlog_type error\nlistener 1883 {address}\n\
             listener 8883 {address}\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
            file("ca.pem"),
            file("server.pem"),
            file("server-key.pem"),
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self::other(child, address, folder, pki)
    }

    fn stock() -> Self {
        let (folder, address, pki) = place(3);
        let child =
            Command::new(env::current_exe().unwrap()).args(["stock", &format!("{address}:1883")]).spawn().unwrap();
        Self::other(child, address, folder, pki)
    }

    fn other(child: Child, address: IpAddr, folder: tempfile::TempDir, pki: Pki) -> Self {
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect((address, 1883)).is_err() {
            assert!(Instant::now() < deadline, "the broker at {address} does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        Self::Other { child, address, folder, pki: Box::new(pki) }
    }

    pub(crate) fn address(&self, tls: bool) -> SocketAddr {
        let port = if tls { 8883 } else { 1883 };
        match self {
            Self::Causeway(gateway) => gateway.address(port),
            Self::Other { address, .. } => SocketAddr::new(*address, port),
        }
    }

    /// How a worker connects: over TLS with the identities `names`, or plain without any.
    pub(crate) fn connection(&self, names: &[String]) -> Value {
        let files = |name: &String| {
            let (identity, authority) = match self {
                Self::Causeway(gateway) => (gateway.identity(name), gateway.setup().pki().authority_file()),
                Self::Other { pki, .. } => (pki.device(name), pki.authority_file()),
            };
            json!({ "authority": authority, "certificate": identity.certificate, "key": identity.key })
        };
        let identities: Vec<_> = names.iter().map(files).collect();
        json!({ "address": self.address(!names.is_empty()), "identities": identities })
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Causeway(gateway) => gateway.pid(),
            Self::Other { child, .. } => child.id(),
        }
    }

    /// Resident memory in KiB, now and at its highest.
    pub(crate) fn memory(&self) -> (u64, u64) {
        memory(self.pid())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Self::Other { child, folder, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}

/// Seconds of processor time that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    // In user and in kernel mode, in hundredths, behind the name in brackets, which may have blanks.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let hundredths = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0.0);
    (hundredths(11) + hundredths(12)) / 100.0
}

fn place(last: u8) -> (tempfile::TempDir, IpAddr, Pki) {
    let folder = tempfile::Builder::new().prefix("causeway-bench-").tempdir().unwrap();
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::from([127, high.saturating_add(1), low, 250 + last]);
    let pki = Pki::create(&folder.path().join("pki"), address);
    (folder, address, pki)
}

/// The stock broker of the pinned crate on a plain port: its TLS features are not compiled in.
pub(crate) fn run_stock(address: &str) {
    let settings = rumqttd::ServerSettings {
        name: "stock".into(),
        listen: address.parse().unwrap(),
        tls: None,
        next_connection_delay_ms: 1,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 60_000,
            max_payload_size: 1 << 20,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    };
    // The figures of the example configuration that the crate ships.
    let router = rumqttd::RouterConfig {
        max_connections: 10_010,
        max_outgoing_packet_count: 200,
        max_segment_size: 104_857_600,
        max_segment_count: 10,
        ..rumqttd::RouterConfig::default()
    };
    let v4 = Some(HashMap::from([("stock".to_string(), settings)]));
    let config = rumqttd::Config { router, v4, ..rumqttd::Config::default() };
    rumqttd::Broker::new(config).start().unwrap();
}
