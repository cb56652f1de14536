//! What operators see of the parts that are always in motion.
//!
//! The parts do not know JSON and this API does not know their insides: the composition root translates.

use std::pin::Pin;

use serde::Serialize;

/// Takes a picture of each part when asked.
pub struct Views {
    /// Every key of the configuration as it applies since the last reload, without secrets.
    pub configuration: View<serde_json::Value>,
    /// All sessions, those without a connection too.
    pub sessions: View<Vec<SessionView>>,
    /// All listeners.
    pub listeners: View<Vec<ListenerView>>,
    /// All bindings.
    pub bindings: View<Vec<BindingView>>,
    /// The canary of a binding, by its name.
    pub canary: Look<CanaryView>,
    /// The journal.
    pub journal: View<JournalView>,
}

/// Takes one picture; it must not block.
pub type View<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Takes a picture of what has this name, if there is one; it must not block.
pub type Look<T> = Box<dyn Fn(&str) -> Option<T> + Send + Sync>;

/// What bindings can be told.
pub struct Orders {
    /// Dead letters wait for the binding.
    pub replay: Order,
    /// Another version of its plugin is to run.
    pub swap: Swap,
    /// Another version of its plugin is to be its canary, or none.
    pub shadow: Shadow,
}

/// Tells the binding of a name, without waiting for what comes of it; `false` if there is none.
pub type Order = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Tells the binding of a name which version to run; none if there is no such binding. What comes of it can be waited
/// for; it goes on when nobody does.
pub type Swap = Box<dyn Fn(&str, PluginOrder) -> Option<Swapping> + Send + Sync>;

/// Tells the binding of a name which canary to have; none if there is no such binding. What comes of it can be waited for.
pub type Shadow = Box<dyn Fn(&str, Option<CanaryOrder>) -> Option<Shadowing> + Send + Sync>;

/// What comes of telling a binding which canary to have.
pub type Shadowing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Which canary a binding is to have, until the configuration names another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryOrder {
    /// Where its version comes from.
    pub reference: String,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
}

/// What comes of telling a binding which version to run.
pub type Swapping = Pin<Box<dyn Future<Output = Result<Swapped, String>> + Send>>;

/// Which version of its plugin a binding is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginOrder {
    /// The one that it is to run already, looked up anew.
    Resume,
    /// Another, until the configuration names another.
    Set {
        /// Where it comes from.
        reference: String,
        /// The repository that its signature is to be about, if that is another than the reference's.
        signed_as: Option<String>,
        /// Whether it may be older than what ran before.
        allow_downgrade: bool,
    },
}

/// A version that a binding is to run from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// Its digest.
    pub digest: String,
    /// The binding runs it when it has obeyed so many decisions.
    pub decision: u64,
    /// Whether another version ran before.
    pub changed: bool,
}

/// A session.
#[derive(Debug, Clone, Serialize)]
pub struct SessionView {
    /// The device's id.
    pub device: String,
    /// The MQTT client id.
    pub client: String,
    /// Its connection, if it has one.
    pub connection: Option<ConnectionView>,
    /// Since when it has none, Unix ms.
    pub offline_since_ms: Option<u64>,
    /// The filters that it subscribed to.
    pub subscriptions: Vec<String>,
    /// Messages that were sent and not acknowledged.
    pub inflight: usize,
    /// Messages that wait.
    pub queued: usize,
    /// Messages that found no room.
    pub dropped: u64,
}

/// The connection of a session.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionView {
    /// The listener's name.
    pub listener: String,
    /// The peer's address and port.
    pub address: String,
    /// `3.1.1` or `5`.
    pub version: &'static str,
    /// Since when, Unix ms.
    pub since_ms: u64,
}

/// A listener.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// The address it listens on.
    pub address: String,
    /// `tls` or `plain`.
    pub security: &'static str,
    /// Open connections, those without a session too.
    pub connections: usize,
}

/// A binding.
#[derive(Debug, Clone, Serialize)]
pub struct BindingView {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where its plugin came from, and its digest.
    pub plugin: String,
    /// The version that its plugin says it is.
    pub version: Option<String>,
    /// The id of the key that signed its plugin.
    pub signer: Option<String>,
    /// Whether an operator chose the plugin over that of the configuration.
    pub chosen: bool,
    /// `running`, or why it is not.
    pub state: String,
    /// Why the plugin that is asked for does not run, although another version does.
    pub problem: Option<String>,
    /// `durable` or `live`.
    pub delivery: &'static str,
    /// Bytes of the journal that wait for it.
    pub lag_bytes: u64,
    /// Age of the oldest message that waits for it, in milliseconds.
    pub lag_ms: u64,
    /// Messages handled since the start.
    pub handled: u64,
    /// Dead letters since the start.
    pub dead_letters: u64,
    /// Calls that were stopped since the start.
    pub traps: u64,
    /// How many decisions on the version of its plugin it has obeyed since the start.
    pub decisions: u64,
    /// The second version that it is compared with, if there is one.
    pub canary: Option<CanaryBrief>,
}

/// A canary in a few words.
#[derive(Debug, Clone, Serialize)]
pub struct CanaryBrief {
    /// Where its version came from.
    pub plugin: String,
    /// Whether an operator chose it, or its end, over what the configuration says.
    pub chosen: bool,
    /// `preparing`, `running`, `refused` or `ended`.
    pub state: &'static str,
    /// Messages that it was compared by.
    pub inputs: u64,
    /// Those of which it did not make the same.
    pub differing: u64,
}

/// A canary.
#[derive(Debug, Clone, Serialize)]
pub struct CanaryView {
    /// Where its version came from.
    pub plugin: String,
    /// Whether an operator chose it, or its end, over what the configuration says.
    pub chosen: bool,
    /// The digest of its version, once it is known.
    pub digest: Option<String>,
    /// `preparing`, `running`, `refused` or `ended`.
    pub state: &'static str,
    /// Why it was refused or ended.
    pub reason: Option<String>,
    /// The digest of the version that it is compared with, once there was a message.
    pub against: Option<String>,
    /// Since when it is compared with that, Unix ms.
    pub since_ms: u64,
    /// Messages that it was compared by since then.
    pub inputs: u64,
    /// Those of which both made the same.
    pub equal: u64,
    /// Those of which it made something else.
    pub different: u64,
    /// Those about which it asked what the other version had not asked.
    pub not_comparable: u64,
    /// Those at which only it trapped.
    pub trapped: u64,
    /// Messages that it did not see because it was too slow, since it began.
    pub dropped: u64,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Bytes that it remembers otherwise than its binding.
    pub state_bytes: usize,
    /// The last messages of which it did not make the same.
    pub differences: Vec<DifferenceView>,
}

/// A message of which two versions did not make the same.
#[derive(Debug, Clone, Serialize)]
pub struct DifferenceView {
    /// Its number since the counting began, from 1.
    pub input: u64,
    /// Its topic.
    pub topic: String,
    /// Its sender.
    pub sender: String,
    /// The unit of order that it belongs to.
    pub key: String,
    /// When it was received, Unix ms.
    pub received_ms: u64,
    /// What differs, without values.
    pub what: Vec<String>,
    /// What the binding's version made of it, if the configuration wants it kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<serde_json::Value>,
    /// What the canary made of it, if the configuration wants it kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<serde_json::Value>,
}

/// The journal.
#[derive(Debug, Clone, Serialize)]
pub struct JournalView {
    /// `open`, `disk full` or `failed`.
    pub state: &'static str,
    /// Records that were on disk and could not be read, since the start.
    pub damaged: u64,
    /// Positions that a reader had seen and that were gone at the start.
    pub vanished: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Their number.
    pub segments: usize,
    /// When the oldest record was written, Unix ms.
    pub oldest_ms: Option<u64>,
    /// The lowest position that is kept.
    pub first: u64,
    /// The highest position that is on disk.
    pub durable: u64,
    /// Who reads it.
    pub cursors: Vec<CursorView>,
}

/// A reader of the journal.
#[derive(Debug, Clone, Serialize)]
pub struct CursorView {
    /// Its name.
    pub name: String,
    /// Up to where it is done.
    pub position: u64,
    /// Bytes that wait for it.
    pub lag_bytes: u64,
    /// Age of the oldest record that waits for it, in milliseconds.
    pub lag_ms: u64,
    /// Whether it is beyond its budget.
    pub over_budget: bool,
    /// Records that it lost.
    pub gap: u64,
}
