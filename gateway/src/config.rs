//! The configuration: one YAML file, read once into [`Config`], in which nothing can be wrong any more.
//!
//! Every section is a file of this folder that declares its keys with their defaults, bounds and texts.
//! Reading never stops at the first problem: [`load`] reports all of them with file, line and remedy.

mod admin;
mod artifacts;
mod assignments;
mod bindings;
mod canary;
mod changes;
mod check;
mod collections;
mod devices;
mod dfu;
mod firmware;
mod gateway;
mod journal;
mod kinds;
mod listeners;
mod locate;
mod log;
mod metrics;
mod mqtt;
mod plugins;
mod policies;
mod problem;
mod recordings;
mod reference;
mod registries;
mod retained;
mod router;
mod section;
mod setting;
mod shutdown;
mod storage;
mod trust;
mod units;

use std::path::{Path, PathBuf};

pub use self::admin::{AdminConfig, HttpsConfig, Role, SocketMode, TokenConfig};
pub use self::artifacts::ArtifactsConfig;
pub use self::assignments::{AssignmentConfig, CampaignsConfig, OtaConfig};
pub use self::bindings::{
    BatchConfig, BindingConfig, BudgetConfig, CommitConfig, Delivery, DfuTopicsConfig, LimitsConfig, Overflow,
    PluginKind, TELEMETRY_FILTERS, TrapsConfig, TrialConfig,
};
pub use self::canary::{CanaryConfig, CanaryMode};
pub use self::changes::{in_force, need_restart};
pub use self::collections::{CollectionConfig, CollectionKind, ColumnConfig, ColumnType, RetentionConfig};
pub use self::devices::{DevicesConfig, Registration};
pub use self::dfu::DfuConfig;
pub use self::firmware::{FirmwareConfig, PatchesConfig, SignedAsConfig};
pub use self::gateway::GatewayConfig;
pub use self::journal::JournalConfig;
pub use self::listeners::{CLIENT_ID, IdentitySource, ListenerConfig, OnDenied, PlainConfig, PlainIdentity, TlsConfig};
pub use self::log::{LogConfig, LogFormat, LogLevel};
pub use self::metrics::MetricsConfig;
pub use self::mqtt::MqttConfig;
pub use self::plugins::PluginsConfig;
pub use self::policies::PoliciesConfig;
pub use self::problem::Problem;
pub use self::recordings::RecordingsConfig;
pub use self::reference::markdown as reference;
pub use self::registries::RegistryConfig;
pub use self::retained::RetainedConfig;
pub use self::router::RouterConfig;
pub use self::setting::Free;
pub use self::shutdown::ShutdownConfig;
pub use self::storage::{SharesConfig, StorageConfig, Synchronous};
pub use self::trust::{KeyConfig, TrustConfig};
pub use self::units::{Size, parse_duration, parse_size, show_duration};

use self::locate::Segment;
use self::section::section;
use self::setting::{Node, Notes, Setting};
use crate::artifacts::Reference;

section! {
    /// The whole configuration.
    Config {
        /// Journal, store and admin socket live here; it is made at the first start.
        data_dir: PathBuf = PathBuf::from("data") => restart;
        /// Who this gateway is.
        gateway: GatewayConfig = GatewayConfig::default() => restart;
        /// Where devices connect.
        listeners: Vec<ListenerConfig> = Vec::new() => restart, required "[{name: devices, bind: \"0.0.0.0:8883\", tls: {...}}]";
        /// The front door.
        mqtt: MqttConfig = MqttConfig::default() => restart;
        /// Retained messages.
        retained: RetainedConfig = RetainedConfig::default() => restart;
        /// The live fan-out.
        router: RouterConfig = RouterConfig::default() => restart;
        /// The durable log.
        journal: JournalConfig = JournalConfig::default() => restart;
        /// The embedded store.
        storage: StorageConfig = StorageConfig::default() => restart;
        /// The tables that plugins write into, beside the built-in ones.
        collections: Vec<CollectionConfig> = Vec::new() => restart;
        /// Who may do what.
        policies: PoliciesConfig = PoliciesConfig::default() => restart;
        /// How devices become known.
        devices: DevicesConfig = DevicesConfig::default() => restart;
        /// Which plugin handles which messages.
        bindings: Vec<BindingConfig> = Vec::new() => restart;
        /// What holds for all plugins.
        plugins: PluginsConfig = PluginsConfig::default() => restart;
        /// How artifacts are fetched and kept.
        artifacts: ArtifactsConfig = ArtifactsConfig::default() => restart;
        /// What has to be known of registries.
        registries: Vec<RegistryConfig> = Vec::new() => restart;
        /// Whose artifacts run here.
        trust: TrustConfig = TrustConfig::default() => live;
        /// How devices are led through their updates.
        dfu: DfuConfig = DfuConfig::default() => restart;
        /// What devices are updated to.
        firmware: FirmwareConfig = FirmwareConfig::default() => restart;
        /// Which devices always get which release.
        assignments: Vec<AssignmentConfig> = Vec::new() => live;
        /// Releases for fixed sets of devices, wave by wave.
        campaigns: CampaignsConfig = CampaignsConfig::default() => restart;
        /// What may be recorded of plugins.
        recordings: RecordingsConfig = RecordingsConfig::default() => restart;
        /// How operators reach the gateway.
        admin: AdminConfig = AdminConfig::default() => restart;
        /// The port for machines that watch.
        metrics: MetricsConfig = MetricsConfig::default() => restart;
        /// What is written to standard error.
        log: LogConfig = LogConfig::default() => restart;
        /// How the gateway ends.
        shutdown: ShutdownConfig = ShutdownConfig::default() => restart;
    }
}

/// The largest file that is read as configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads and checks the file; on failure every problem in it is reported.
pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    let unreadable = |message: String| vec![whole_file(file, message, "check the path and its permissions")];
    let size = std::fs::metadata(file).map_err(|cause| unreadable(format!("cannot be read: {cause}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(format!("is larger than {}", Size(MAX_FILE_BYTES))));
    }
    let text = std::fs::read_to_string(file).map_err(|cause| unreadable(format!("cannot be read: {cause}")))?;
    parse(&text, file)
}

/// Checks the text of a configuration; relative paths start at the folder of `file`.
pub fn parse(text: &str, file: &Path) -> Result<Config, Vec<Problem>> {
    let value = serde_yaml::from_str(text).map_err(|error| vec![syntax(file, &error)])?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let base = absolute.parent().unwrap_or_else(|| Path::new("/"));
    let mut notes = Notes::default();
    let read = Config::read(&Node { value: &value, path: Vec::new(), base }, &mut notes);
    let config = read.map(|mut config| {
        kinds::settle(&mut config, &value, &mut notes);
        config.resolved(base)
    });
    if let Some(config) = &config {
        check::check(config, &mut notes);
    }
    match config {
        Some(config) if notes.0.is_empty() => Ok(config),
        _ => Err(notes.0.into_iter().map(|note| located(file, text, note)).collect()),
    }
}

impl Config {
    /// The configuration as it applies, defaults included; holds no secrets.
    pub fn effective(&self) -> serde_json::Value {
        let mut shown = self.show();
        for (name, _) in self.admin.https.iter().flat_map(|https| &https.tokens) {
            // A hash of a token that a person chose could be guessed from.
            if let Some(hash) = shown.pointer_mut(&format!("/admin/https/tokens/{}/sha256", pointer(name))) {
                *hash = "(kept back)".into();
            }
        }
        shown
    }

    /// The folder of the journal.
    pub fn journal_dir(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    /// The file of the embedded store.
    pub fn store_file(&self) -> PathBuf {
        self.data_dir.join("store.sqlite")
    }

    /// Completes the paths whose defaults depend on other keys.
    fn resolved(mut self, base: &Path) -> Self {
        self.data_dir = base.join(&self.data_dir);
        if self.admin.socket.as_os_str().is_empty() {
            self.admin.socket = self.data_dir.join("admin.sock");
        }
        if self.artifacts.dir.as_os_str().is_empty() {
            self.artifacts.dir = self.data_dir.join("artifacts");
        }
        if self.artifacts.lockfile.as_os_str().is_empty() {
            self.artifacts.lockfile = self.data_dir.join("plugins.lock");
        }
        if self.firmware.dir.as_os_str().is_empty() {
            self.firmware.dir = self.data_dir.join("firmware");
        }
        for signed in &mut self.firmware.signed_as {
            signed.resolve(base);
        }
        for rule in &mut self.assignments {
            if crate::firmware::is_named(&rule.release) {
                continue;
            }
            if let Ok(reference) = rule.release.parse::<Reference>() {
                rule.release = reference.resolved(base).to_string();
            }
        }
        self.trust.resolve(base);
        for binding in &mut self.bindings {
            // What is no reference is reported by the check that follows.
            let canary = binding.canary.as_mut().map(|canary| &mut canary.plugin);
            for plugin in canary.into_iter().chain([&mut binding.plugin]) {
                if let Ok(reference) = plugin.parse::<Reference>() {
                    *plugin = reference.resolved(base).to_string();
                }
            }
        }
        self
    }
}

/// Escapes a name for a JSON pointer (RFC 6901).
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn whole_file(file: &Path, message: String, remedy: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        key: String::new(),
        value: String::new(),
        message,
        remedy: remedy.to_owned(),
    }
}

fn syntax(file: &Path, error: &serde_yaml::Error) -> Problem {
    let remedy = "correct the YAML; indentation is by spaces and a key may stand only once";
    Problem { line: error.location().map(|at| at.line()), ..whole_file(file, error.to_string(), remedy) }
}

fn located(file: &Path, text: &str, note: setting::Note) -> Problem {
    Problem {
        file: file.to_owned(),
        line: locate::line(text, &note.path),
        key: locate::show(&note.path),
        value: note.value,
        message: note.message,
        remedy: note.remedy,
    }
}

/// A path of keys, for checks between sections.
fn path(key: &str) -> Vec<Segment> {
    vec![Segment::Key(key.to_owned())]
}

#[cfg(test)]
mod tests;
