//! Pictures of the parts in motion, for operators: the parts know no JSON and the admin API does not know the parts.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value as Json;
use tokio::sync::oneshot;

use crate::admin::{
    BindingView, CanaryBrief, CanaryOrder, CanaryView, ConnectionView, CursorView, DifferenceView, JournalView,
    ListenerView, Orders, PluginOrder, SessionView, Shadowing, Swapped, Swapping, Views,
};
use crate::dispatch::{
    Binding, BindingStatus, Canaries, CanaryStatus, Chosen, ChosenCanary, Difference, Dispatch, State, TookOver,
};
use crate::journal::{CursorStatus, Journal, JournalState};
use crate::metrics::Alarms;
use crate::mqtt::broker::Broker;
use crate::mqtt::listener::Probes;
use crate::mqtt::session::{Live, Session};
use crate::mqtt::wire::Version;

/// A listener as it was bound.
#[derive(Clone)]
pub(super) struct Listening {
    pub(super) name: String,
    pub(super) address: std::net::SocketAddr,
    pub(super) tls: bool,
    pub(super) probes: Probes,
}

/// The pictures that `causeway status` and its kin show.
pub(super) fn views(
    broker: &Arc<Broker>,
    listeners: Vec<Listening>,
    dispatch: &Dispatch,
    configuration: Arc<ArcSwap<Json>>,
) -> Views {
    let (bindings, canaries, one) =
        (dispatch.bindings().to_vec(), dispatch.canaries().clone(), dispatch.canaries().clone());
    let (sessions, connected, journal) = (broker.clone(), broker.clone(), broker.journal.clone());
    Views {
        configuration: Box::new(move || Json::clone(&configuration.load())),
        sessions: Box::new(move || sessions.sessions.all().iter().map(|session| view(session)).collect()),
        listeners: Box::new(move || listeners.iter().map(|listener| listening(listener, &connected)).collect()),
        bindings: Box::new(move || bindings.iter().map(|binding| binding_view(binding.status(), &canaries)).collect()),
        canary: Box::new(move |binding| one.status(binding).map(canary_view)),
        journal: Box::new(move || journal_view(&journal)),
    }
}

/// What operators can tell bindings.
pub(super) fn orders(bindings: &[Arc<Binding>], canaries: &Canaries) -> Orders {
    let (all, others, shadowed) = (bindings.to_vec(), bindings.to_vec(), bindings.to_vec());
    let find = |all: &[Arc<Binding>], name: &str| all.iter().find(|binding| binding.name() == name).cloned();
    let replay = move |name: &str| find(&all, name).map(|binding| binding.replay()).is_some();
    let swap = move |name: &str, order| Some(swapping(find(&others, name)?, order));
    let canaries = canaries.clone();
    let shadow = move |name: &str, order| Some(shadowing(find(&shadowed, name)?.name(), &canaries, order));
    Orders { replay: Box::new(replay), swap: Box::new(swap), shadow: Box::new(shadow) }
}

fn shadowing(binding: &str, canaries: &Canaries, order: Option<CanaryOrder>) -> Shadowing {
    let (name, canaries) = (binding.to_owned(), canaries.clone());
    preparing(binding, move || {
        let chosen = order.map(|CanaryOrder { reference, signed_as }| ChosenCanary { reference, signed_as });
        canaries.choose(&name, chosen).map_err(|problem| {
            tracing::warn!(binding = name, %problem, "the canary of a binding stays what it was");
            problem.to_string()
        })
    })
}

fn swapping(binding: Arc<Binding>, order: PluginOrder) -> Swapping {
    let name = binding.name().to_owned();
    preparing(&name, move || {
        let took_over = match order {
            PluginOrder::Resume => binding.resume(),
            PluginOrder::Set { reference, signed_as, allow_downgrade } => {
                binding.set(&Chosen { reference, signed_as, allow_downgrade })
            }
        };
        let swapped =
            took_over.map(|TookOver { digest, number, changed }| Swapped { digest, decision: number, changed });
        swapped.map_err(|problem| problem.to_string())
    })
}

/// Prepares a version on a thread of its own: that may take minutes, and outlives whoever asked.
fn preparing<T: Send + 'static>(
    binding: &str,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<T, String>> + Send>> {
    let (done, prepared) = oneshot::channel();
    let work = move || {
        // Whoever asked may have gone away.
        let _ = done.send(work());
    };
    let started = std::thread::Builder::new().name(format!("prepare-{binding}")).spawn(work);
    Box::pin(async move {
        started.map_err(|error| error.to_string())?;
        prepared.await.unwrap_or_else(|_| Err("the version was not prepared; the log says why".to_owned()))
    })
}

/// The bindings that do not run as they are configured.
pub(super) fn alarms(bindings: Vec<Arc<Binding>>) -> Alarms {
    Arc::new(move || {
        let states = bindings.iter().map(|binding| binding.status());
        let alarming = states.filter(|status| status.state != State::Running);
        alarming.map(|status| format!("binding {}: {}", status.name, status.state.word())).collect()
    })
}

fn view(session: &Session) -> SessionView {
    let inner = session.lock();
    let mut subscriptions: Vec<String> = inner.subscriptions.keys().map(ToString::to_string).collect();
    subscriptions.sort_unstable();
    SessionView {
        device: session.key.device.to_string(),
        client: session.key.client.to_string(),
        connection: inner.live.as_ref().map(connection),
        offline_since_ms: inner.offline_since_ms,
        subscriptions,
        inflight: inner.inflight.len(),
        queued: inner.queue.len() + inner.retained.len(),
        dropped: inner.dropped,
    }
}

fn connection(live: &Live) -> ConnectionView {
    ConnectionView {
        listener: live.listener.to_string(),
        address: live.peer.address.to_string(),
        version: match live.version {
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        },
        since_ms: live.since_ms,
    }
}

fn listening(listener: &Listening, broker: &Broker) -> ListenerView {
    let here =
        |session: &Arc<Session>| session.lock().live.as_ref().is_some_and(|live| *live.listener == *listener.name);
    ListenerView {
        name: listener.name.clone(),
        address: listener.address.to_string(),
        security: if listener.tls { "tls" } else { "plain" },
        connections: broker.sessions.all().iter().filter(|session| here(session)).count(),
    }
}

fn binding_view(status: BindingStatus, canaries: &Canaries) -> BindingView {
    BindingView {
        canary: canaries.status(&status.name).as_ref().map(canary_brief),
        name: status.name,
        kind: status.kind,
        plugin: format!("{} {}", status.plugin, status.digest).trim_end().to_owned(),
        version: status.version,
        signer: status.signer,
        chosen: status.chosen,
        problem: status.problem,
        state: match status.state {
            State::Running => "running".to_owned(),
            State::Parked(reason) => format!("parked: {reason}"),
            State::RolledBack(reason) => format!("rolled back: {reason}"),
            State::Stuck(reason) => format!("stuck: {reason}"),
        },
        delivery: if status.durable { "durable" } else { "live" },
        lag_bytes: status.lag_bytes,
        lag_ms: millis(status.lag),
        handled: status.handled,
        dead_letters: status.dead_letters,
        traps: status.traps,
        decisions: status.decisions,
    }
}

fn canary_brief(status: &CanaryStatus) -> CanaryBrief {
    CanaryBrief {
        plugin: status.plugin.clone(),
        chosen: status.chosen,
        state: status.state.word(),
        inputs: status.counts.inputs(),
        differing: status.counts.different + status.counts.trapped,
    }
}

fn canary_view(status: CanaryStatus) -> CanaryView {
    CanaryView {
        state: status.state.word(),
        reason: status.state.reason().cloned(),
        plugin: status.plugin,
        chosen: status.chosen,
        digest: status.digest,
        against: status.against,
        since_ms: status.since_ms,
        inputs: status.counts.inputs(),
        equal: status.counts.equal,
        different: status.counts.different,
        not_comparable: status.counts.not_comparable,
        trapped: status.counts.trapped,
        dropped: status.dropped,
        waiting: status.waiting,
        state_bytes: status.state_bytes,
        differences: status.differences.into_iter().map(difference).collect(),
    }
}

fn difference(difference: Difference) -> DifferenceView {
    let (binding, canary) = difference.outcomes.unzip();
    DifferenceView {
        input: difference.number,
        topic: difference.topic,
        sender: difference.sender,
        key: difference.key,
        received_ms: difference.received_ms,
        what: difference.what,
        binding,
        canary,
    }
}

fn journal_view(journal: &Journal) -> JournalView {
    let status = journal.status();
    JournalView {
        state: match status.state {
            JournalState::Open => "open",
            JournalState::DiskFull => "disk full",
            JournalState::Failed => "failed",
        },
        damaged: status.damaged,
        vanished: status.vanished,
        bytes: status.bytes,
        segments: status.segments,
        oldest_ms: status.oldest_ms,
        first: status.first,
        durable: status.durable,
        cursors: status.cursors.into_iter().map(cursor).collect(),
    }
}

fn cursor(status: CursorStatus) -> CursorView {
    CursorView {
        name: status.name,
        position: status.position,
        lag_bytes: status.lag.bytes,
        lag_ms: millis(status.lag.age),
        over_budget: status.over_budget,
        gap: status.gap,
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
