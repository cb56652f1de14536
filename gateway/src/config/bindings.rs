//! `bindings:` which plugin handles which messages.

use std::str::FromStr;
use std::time::Duration;

use super::canary::CanaryConfig;
use super::section::section;
use super::setting::{Free, choice};
use super::units::Size;

section! {
    /// A plugin bound to topics.
    BindingConfig {
        /// Names the binding in logs, metrics and `causeway status`; its place in the journal belongs to this name.
        name: String = String::new() => restart, required "telemetry";
        /// What kind of plugin it is.
        kind: PluginKind = PluginKind::Telemetry => restart;
        /// Where the plugin comes from: `builtin:telemetry`, `builtin:dfu`, `oci://host/repository:tag`, `oci-layout://folder:tag`, or the path of a component file. Without it, the built-in plugin of the kind.
        plugin: String = "builtin:telemetry".to_owned() => live;
        /// The repository that the plugin's signature must name when it is found elsewhere, in a mirror, a layout or a file: `host[:port]/repository`.
        signed_as: Option<String> = None => live;
        /// Whether the plugin may be older than the highest version of its repository that ever ran here.
        allow_downgrade: bool = false => live;
        /// The topics that a telemetry binding handles: MQTT filters, or templates such as `dt/cvra/{device}/cardata`, whose variables the messages carry.
        filters: Vec<String> = TELEMETRY_FILTERS.map(str::to_owned).to_vec() => restart;
        /// The topics of devices that a DFU binding updates. Without any, `dfu/{device}/...`, and `dfu/{gateway}/{device}/...` for the children of gateway devices.
        topics: Vec<DfuTopicsConfig> = Vec::new() => restart;
        /// `durable`: QoS 1 and 2 messages are journalled before they are acknowledged, and handled exactly once; `live`: messages are handled as they come, and dropped when there is no room. A DFU binding is always live.
        delivery: Delivery = Delivery::Durable => restart;
        /// The unit of order and of state: a variable that all `filters` have as templates. Without it, the sender.
        key: Option<String> = None => restart;
        /// Parts that are handled side by side; messages of one key stay in one part and in order.
        partitions: u16 = 1 => restart, in 1..=64;
        /// Messages that wait for a `live` binding.
        queue_messages: usize = 10_000 => restart, in 1..=1_000_000, hit "causeway_dispatch_dropped_total";
        /// How far ahead of its reception a row may say that it is and still replace older ones.
        max_skew: Duration = Duration::from_secs(300) => restart, in Duration::ZERO..=Duration::from_secs(7 * 86_400);
        /// How many messages one call gets.
        batch: BatchConfig = BatchConfig::default() => restart;
        /// How effects are committed.
        commit: CommitConfig = CommitConfig::default() => restart;
        /// When a plugin traps too often.
        traps: TrapsConfig = TrapsConfig::default() => restart;
        /// When a version that has just taken over gives way to the one before, although it does not trap.
        trial: TrialConfig = TrialConfig::default() => restart;
        /// How often the plugin is asked again about a message that it calls unavailable; the pauses double from 50 ms up to 5 s.
        retries: u32 = 5 => restart, in 0..=20, hit "causeway_dispatch_dead_letters_total";
        /// Plugins that a message may pass through, one by publishing to the next, before it counts as a loop.
        max_hops: u32 = 8 => restart, in 1..=64, hit "causeway_dispatch_dead_letters_total";
        /// What one call of the plugin may use.
        limits: LimitsConfig = LimitsConfig::default() => restart;
        /// How far a durable binding may fall behind.
        budget: BudgetConfig = BudgetConfig::default() => restart;
        /// A second version of the plugin, which is watched and has no effect.
        canary: Option<CanaryConfig> = None => live;
        /// Handed to the plugin.
        config: Free = Free::default() => restart;
    }
}

/// What the built-in telemetry plugin handles. It knows update jobs as well, but whoever may publish those is believed
/// about every vehicle: an operator names that topic.
pub const TELEMETRY_FILTERS: [&str; 6] = [
    "dt/cvra/+/cardata",
    "dt/cvra/+/dtc",
    "dt/cvra/+/trip",
    "dt/cvra/+/event",
    "cdf/assetlibrary/events/devices/#",
    "cdf/assetlibrary/events/groups/#",
];

section! {
    /// Where devices that update their firmware report, and where they are told. `{device}` is the device: the sender, or a child of the sender, which is `{gateway}` then.
    DfuTopicsConfig {
        /// Where a device reports: a template with `{device}`.
        status: String = String::new() => restart, required "\"dfu/{device}/status\"";
        /// Where it is told what to do: a template with variables of `status`.
        command: String = String::new() => restart, required "\"dfu/{device}/command\"";
        /// Where its progress is told: a template with variables of `status`. Without it, nowhere.
        progress: Option<String> = None => restart;
    }
}

section! {
    /// How many messages one call gets. It never waits for more.
    BatchConfig {
        /// Messages.
        messages: usize = 64 => restart, in 1..=1024, hit "causeway_dispatch_full_total";
        /// Bytes of payload; a larger message is a call of its own.
        bytes: Size = Size::kib(256) => restart, in Size::kib(1)..=Size::mib(16), hit "causeway_dispatch_full_total";
    }
}

section! {
    /// How effects are committed: together with the binding's place in the journal, many in one transaction.
    CommitConfig {
        /// Rows of one transaction, and four times as many while the binding lags.
        rows: usize = 256 => restart, in 1..=10_000, hit "causeway_dispatch_full_total";
        /// How long an effect waits for others.
        linger: Duration = Duration::from_millis(50) => restart, in Duration::from_millis(1)..=Duration::from_secs(5);
    }
}

section! {
    /// When a plugin traps too often: more than it answers, and so many times in so much time.
    TrapsConfig {
        /// Calls that are stopped.
        most: usize = 20 => restart, in 1..=10_000, hit "causeway_dispatch_parked";
        /// The time over which they are counted.
        window: Duration = Duration::from_secs(60) => restart, in Duration::from_secs(1)..=Duration::from_secs(86_400);
    }
}

section! {
    /// When a version that has just taken over fails too often: so many of its messages, in so much time. It gives way to the version before.
    TrialConfig {
        /// How long it is watched.
        period: Duration = Duration::from_secs(600) => restart, in Duration::ZERO..=Duration::from_secs(30 * 86_400), hit "causeway_dispatch_state";
        /// Messages without which nothing is said.
        inputs: u64 = 100 => restart, in 1..=1_000_000, hit "causeway_dispatch_state";
        /// Messages of a hundred that may become dead letters; with 100 it is not watched.
        failures: u16 = 10 => restart, in 0..=100, hit "causeway_dispatch_state";
    }
}

section! {
    /// What one call of the plugin may use. A call beyond a limit is stopped and its instance replaced.
    LimitsConfig {
        /// Memory of one instance.
        memory: Size = Size::mib(32) => restart, in Size::mib(1)..=Size::gib(4), hit "causeway_dispatch_traps_total";
        /// Time of one call.
        deadline: Duration = Duration::from_millis(500) => restart, in Duration::from_millis(1)..=Duration::from_secs(60), hit "causeway_dispatch_traps_total";
        /// Bytes that one call may return, that it may pass to one call of an import, and that it may read of firmware.
        output: Size = Size::mib(4) => restart, in Size::kib(1)..=Size::mib(256), hit "causeway_dispatch_traps_total";
        /// Bytes that one call may log.
        log: Size = Size::kib(16) => restart, in Size(0)..=Size::mib(1), hit "causeway_dispatch_log_dropped_total";
        /// Bytes of one log line; the rest is cut off.
        log_line: Size = Size::kib(1) => restart, in Size(64)..=Size::kib(64), hit "causeway_dispatch_log_cut_total";
        /// Effects that one message may have.
        effects: usize = 64 => restart, in 1..=10_000, hit "causeway_dispatch_traps_total";
        /// Calls of imports (`log`, `state`, `records`, `firmware`) in one call.
        host_calls: usize = 10_000 => restart, in 1..=10_000_000, hit "causeway_dispatch_traps_total";
        /// Bytes of all values that the plugin remembers for one key.
        state: Size = Size::kib(16) => restart, in Size(0)..=Size::mib(16), hit "causeway_dispatch_dead_letters_total";
        /// Elements of all tables of one instance.
        table_elements: usize = 20_000 => restart, in 1..=10_000_000, hit "causeway_dispatch_traps_total";
        /// Live handles of resources of one instance.
        handles: usize = 1_000 => restart, in 1..=100_000, hit "causeway_dispatch_traps_total";
        /// Core instances that the component may consist of.
        instances: usize = 200 => restart, in 1..=10_000, hit "causeway_dispatch_traps_total";
        /// Memories that the component may consist of.
        memories: usize = 50 => restart, in 1..=1_000, hit "causeway_dispatch_traps_total";
        /// Tables that the component may consist of.
        tables: usize = 200 => restart, in 1..=10_000, hit "causeway_dispatch_traps_total";
    }
}

section! {
    /// How far a durable binding may fall behind in the journal.
    BudgetConfig {
        /// Bytes of the journal that wait for it.
        bytes: Size = Size::mib(256) => restart, in Size::mib(1)..=Size::gib(1 << 14), hit "causeway_mqtt_no_room_total";
        /// Age of the oldest message that waits for it.
        age: Duration = Duration::from_secs(7 * 86_400) => restart, in Duration::from_secs(1)..=Duration::from_secs(3_650 * 86_400), hit "causeway_mqtt_no_room_total";
        /// What happens beyond either: `refuse` new messages for this binding, or `drop-oldest`, or `park` the oldest as dead letters.
        overflow: Overflow = Overflow::Refuse => restart;
    }
}

choice! {
    /// A kind of plugin.
    PluginKind {
        /// Turns messages into rows and further messages.
        Telemetry = "telemetry",
        /// Speaks with devices that update their firmware.
        Dfu = "dfu",
    }
}

impl PluginKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Telemetry, Self::Dfu];
}

impl FromStr for PluginKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.word() == word);
        known.ok_or_else(|| format!("there is {}", Self::ALL.map(Self::word).join(", ")))
    }
}

choice! {
    /// How messages reach a plugin.
    Delivery {
        /// Through the journal.
        Durable = "durable",
        /// From memory.
        Live = "live",
    }
}

choice! {
    /// What happens when a reader of the journal is over its budget.
    Overflow {
        /// New messages for it are refused.
        Refuse = "refuse",
        /// Its oldest messages are skipped and counted.
        DropOldest = "drop-oldest",
        /// Its oldest messages become dead letters.
        Park = "park",
    }
}
