//! `bindings:` which plugin handles which messages.

use std::time::Duration;

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
        /// Where the plugin comes from: `builtin:telemetry`, or the path of a component file.
        plugin: String = "builtin:telemetry".to_owned() => restart;
        /// The topics it handles, as MQTT filters.
        filters: Vec<String> = TELEMETRY_FILTERS.map(str::to_owned).to_vec() => restart;
        /// `durable`: QoS 1 and 2 messages are journalled before they are acknowledged, and handled exactly once; `live`: messages are handled as they come, and dropped when there is no room.
        delivery: Delivery = Delivery::Durable => restart;
        /// Parts that are handled side by side; messages of one device stay in one part and in order.
        partitions: u16 = 1 => restart, in 1..=64;
        /// Messages that wait for a `live` binding.
        queue_messages: usize = 10_000 => restart, in 1..=1_000_000, hit "causeway_dispatch_dropped_total";
        /// How far ahead of its reception a row may say that it is and still replace older ones.
        max_skew: Duration = Duration::from_secs(300) => restart, in Duration::ZERO..=Duration::from_secs(7 * 86_400);
        /// What one call of the plugin may use.
        limits: LimitsConfig = LimitsConfig::default() => restart;
        /// How far a durable binding may fall behind.
        budget: BudgetConfig = BudgetConfig::default() => restart;
        /// Handed to the plugin.
        config: Free = Free::default() => restart;
    }
}

/// What the built-in telemetry plugin handles.
pub const TELEMETRY_FILTERS: [&str; 4] = ["dt/cvra/+/cardata", "dt/cvra/+/dtc", "dt/cvra/+/trip", "dt/cvra/+/event"];

section! {
    /// What one call of the plugin may use. A call beyond a limit is stopped and its instance replaced.
    LimitsConfig {
        /// Memory of one instance.
        memory: Size = Size::mib(32) => restart, in Size::mib(1)..=Size::gib(4), hit "causeway_dispatch_traps_total";
        /// Time of one call.
        deadline: Duration = Duration::from_millis(500) => restart, in Duration::from_millis(1)..=Duration::from_secs(60), hit "causeway_dispatch_traps_total";
        /// Bytes that one call may return, and that it may pass to one call of an import.
        output: Size = Size::mib(4) => restart, in Size::kib(1)..=Size::mib(256), hit "causeway_dispatch_traps_total";
        /// Bytes that one call may log.
        log: Size = Size::kib(16) => restart, in Size(0)..=Size::mib(1), hit "causeway_dispatch_log_dropped_total";
        /// Bytes of one log line; the rest is cut off.
        log_line: Size = Size::kib(1) => restart, in Size(64)..=Size::kib(64), hit "causeway_dispatch_log_cut_total";
        /// Effects that one message may have.
        effects: usize = 64 => restart, in 1..=10_000, hit "causeway_dispatch_traps_total";
        /// Calls of imports (`log`, `state`, `records`) in one call.
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
