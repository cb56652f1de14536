//! The order in which the parts are built: what can be wrong first, then state, then work, then sockets.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use super::recovery::{Recovered, recover};
use super::reload::Again;
use super::views::{Listening, alarms, orders, views};
use super::{App, StartError, Tasks, dfu, health};
use crate::admin::{self, AdminMetrics, Context, Https, Parts, Reloads, What};
use crate::artifacts::{self, Artifacts, ArtifactsMetrics, Settings};
use crate::clock::Clock;
use crate::config::{Config, ListenerConfig};
use crate::devices::{Devices, DevicesMetrics};
use crate::dfu::Ground;
use crate::dispatch::{self, Dispatch, DispatchMetrics};
use crate::journal::{Budget, Cursor, Journal, JournalMetrics, Kind, Overflow, Position};
use crate::log::PeerWarnings;
use crate::metrics::{self, Readiness, Watched};
use crate::mqtt::broker::Broker;
use crate::mqtt::interest::{DurableInterest, Interest, LiveInterest};
use crate::mqtt::listener::{Admission, Listener, ListenerMetrics};
use crate::mqtt::metrics::MqttMetrics;
use crate::mqtt::pressure::Pressure;
use crate::mqtt::retained::{self, Retained, RetainedMetrics};
use crate::mqtt::session::QueueLimits;
use crate::mqtt::sessions::{SessionLimits, Sessions};
use crate::mqtt::tls::Tls;
use crate::mqtt::will::Wills;
use crate::mqtt::{checkpoint, connection, review};
use crate::plugins::{self, Plugins, PluginsMetrics};
use crate::policy::{self, Policies};
use crate::recording::{RecordingMetrics, Recordings};
use crate::router::{Limits, Router, RouterMetrics};
use crate::store::{Store, StoreMetrics, collections, retention};
use crate::telemetry;

/// The front door's own cursors never refuse: sessions and retained messages bound themselves.
const UNBOUNDED: Budget = Budget { bytes: u64::MAX, age: Duration::MAX };

/// The name of a gateway without a server certificate and without a configured id.
const NAMELESS: &str = "causeway";

pub(super) async fn start(config: Config, file: Option<PathBuf>) -> Result<App, StartError> {
    let clock = Clock::new(0);
    let (policies, tls) = check(&config, &clock)?;
    let id = gateway_id(&config, &tls);
    let mut registry = metrics::registry(&id);
    let tasks = Tasks::default();

    let (state, recovered) = open_state(&config, &mut registry)?;
    let declared = collections::all(&config.collections, telemetry::collections().map_err(StartError::line)?);
    state.store.declare(declared.map_err(StartError::line)?).await.map_err(StartError::line)?;
    clock.not_before(recovered.latest_ms);
    let (sessions_at, retained_at, end) = (recovered.sessions_at, recovered.retained_at, recovered.end);
    policies.register(&mut registry);
    let counts = RecordingMetrics::new(&mut registry);
    let recordings = Recordings::new(&config.data_dir, config.recordings.clone(), clock.clone(), counts);
    let State { store, journal, devices, artifacts } = state;
    let updates = dfu::open(&config, &artifacts, &store, &devices, &clock, &mut registry)?;
    let dfu::Updates { firmware, desired, fleet } = updates;
    let parts = dispatch::Parts {
        gateway: id.clone(),
        journal: journal.clone(),
        store: store.clone(),
        policies: policies.clone(),
        devices: devices.clone(),
        clock: clock.clone(),
        recordings: recordings.clone(),
        updates: Ground { fleet: fleet.clone(), firmware: firmware.clone() },
        max_state: retention::Bounds::new(&config.storage, &config.journal).state_bytes,
        retry: config.artifacts.retry,
        metrics: DispatchMetrics::new(&mut registry),
    };
    let loading = PluginsMetrics::new(&mut registry);
    let mut dispatch = open_bindings(&config, &artifacts, loading, parts).await?;
    let router = Router::new(router_limits(&config), RouterMetrics::new(&mut registry));
    let retained = restore_retained(&config, &mut registry, recovered.retained, &recovered.newer);
    let limits = session_limits(&config);
    let sessions = Sessions::restore(limits, router.links(), journal.clone(), recovered.replay, clock.now_ms());
    let broker = Arc::new(Broker {
        config: config.mqtt.clone(),
        clock: clock.clone(),
        journal: journal.clone(),
        delivered: (0..router.links()).map(|_| AtomicU64::new(end)).collect(),
        router,
        sessions,
        retained,
        wills: Wills::default(),
        pressure: Pressure::default(),
        policies: policies.clone(),
        devices: devices.clone(),
        interest: interest(&dispatch),
        metrics: MqttMetrics::new(&mut registry),
        order: Mutex::new(end),
        assigned: AtomicU64::new(0),
    });
    let cursors = Cursors {
        sessions: sessions_cursor(&journal, sessions_at, &broker),
        retained: retained_cursor(&journal, retained_at),
    };
    journal.allow_trimming();

    let bindings = dispatch.bindings().to_vec();
    let canaries = dispatch.canaries().clone();
    let in_force = Arc::new(ArcSwap::from_pointee(config.effective()));
    let (own, shown) = (Arc::new(config.clone()), Arc::clone(&in_force));
    let (catalogue, desires) = (firmware.clone(), desired.clone());
    let again =
        Again { file, config: own, in_force, bindings, artifacts, canaries, firmware: catalogue, desired: desires };
    let configuration = Arc::new(move || again.run());
    let reloads = Reloads::new(clock.clone(), named(&config, &tls), policies.clone(), configuration);
    let bound = bind(&config, tls.clone(), &mut registry)?;
    let operators = bind_operators(&config).await?;
    let watching = bind_metrics(&config).await?;

    work(&broker, &store, cursors, &tasks);
    tasks.background.spawn(fleet.clone().run(tasks.parts.clone()));
    tasks.background.spawn(until(tasks.parts.clone(), desired.campaigns().clone().run(clock.clone())));
    dispatch.start(publish(&broker)).map_err(StartError::line)?;
    tasks.background.spawn(until(tasks.parts.clone(), devices.clone().run()));
    let (bounds, now) = (retention::Bounds::new(&config.storage, &config.journal), clock.clone());
    tasks.background.spawn(until(tasks.parts.clone(), retention::run(store.clone(), bounds, move || now.now_ms())));
    reload_on_change(&reloads, policies.clone(), &tasks)?;
    let listening = accept(bound, &broker, &reloads, &tasks);
    let listeners = listening.iter().map(|listening| (listening.name.clone(), listening.address)).collect();
    let context = Context::new(Parts {
        gateway_id: id.clone(),
        started_ms: clock.now_ms(),
        config: Arc::new(config.clone()),
        clock,
        policies,
        devices,
        desired,
        fleet,
        firmware,
        store: store.clone(),
        recordings: recordings.clone(),
        tls: named(&config, &tls),
        views: views(&broker, listening.clone(), &dispatch, shown),
        orders: orders(dispatch.bindings(), dispatch.canaries()),
        reloads,
        metrics: AdminMetrics::new(&mut registry),
        tasks: tasks.background.clone(),
    });
    tasks.background.spawn(admin::run(operators.0, operators.1, context, tasks.parts.clone()));
    let (readiness, ready) = watch::channel(Readiness::Ready);
    if let Some(watching) = watching {
        let (probe, probe_timeout) = (health::probe(listening), config.metrics.probe_timeout);
        let alarms = alarms(dispatch.bindings().to_vec());
        let watched = Watched { registry: Arc::new(registry), probe, probe_timeout, alarms, readiness: ready };
        tasks.background.spawn(metrics::run(watching, watched, tasks.parts.clone()));
    }
    info!(gateway = id, version = env!("CARGO_PKG_VERSION"), "started");
    Ok(App { broker, store, dispatch, listeners, tasks, readiness, grace: config.shutdown.grace })
}

/// The TLS state of each listener that has one, by the listener's name.
fn named(config: &Config, tls: &[Option<Tls>]) -> Vec<(String, Tls)> {
    let names = config.listeners.iter().map(|listener| listener.name.clone());
    names.zip(tls).filter_map(|(name, tls)| Some((name, tls.clone()?))).collect()
}

/// Certificates and policies are read again on SIGHUP, and when their files change: policies here, certificates with
/// their listener.
fn reload_on_change(reloads: &Reloads, policies: Policies, tasks: &Tasks) -> Result<(), StartError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::line)?;
    let (everything, stop) = (reloads.clone(), tasks.parts.clone());
    tasks.background.spawn(until(stop.clone(), async move {
        while hangup.recv().await.is_some() {
            everything.run(What::Everything).await;
        }
    }));
    tasks.background.spawn(policy::watch::watch(policies, stop, again(reloads, What::Policies)));
    Ok(())
}

/// What a watch of files calls.
fn again(reloads: &Reloads, what: What) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static {
    let reloads = reloads.clone();
    move || {
        let reloads = reloads.clone();
        Box::pin(async move {
            reloads.run(what).await;
        })
    }
}

async fn bind_operators(config: &Config) -> Result<(UnixListener, Option<Https>), StartError> {
    let socket = admin::bind_socket(&config.admin.socket, config.admin.socket_mode).map_err(StartError::line)?;
    let https = match &config.admin.https {
        Some(https) => Some(Https::bind(https).await.map_err(StartError::Problems)?),
        None => None,
    };
    Ok((socket, https))
}

/// Everything that is read before anything is opened; all problems at once.
fn check(config: &Config, clock: &Clock) -> Result<(Policies, Vec<Option<Tls>>), StartError> {
    let mut problems = Vec::new();
    let policies = Policies::load(config.policies.dir.as_deref()).map_err(|found| problems.extend(found));
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        match listener.tls.clone().map(|tls| Tls::load(tls, clock.clone())).transpose() {
            Ok(tls) => listeners.push(tls),
            Err(found) => problems.extend(found),
        }
    }
    match policies {
        Ok(policies) if problems.is_empty() => Ok((policies, listeners)),
        _ => Err(StartError::Problems(problems)),
    }
}

fn gateway_id(config: &Config, tls: &[Option<Tls>]) -> String {
    let named = tls.iter().flatten().find_map(Tls::server_name);
    config.gateway.id.clone().or(named).unwrap_or_else(|| NAMELESS.to_owned())
}

/// What is on the disk.
struct State {
    store: Store,
    journal: Journal,
    devices: Devices,
    artifacts: Artifacts,
}

fn open_state(config: &Config, registry: &mut Registry) -> Result<(State, Recovered), StartError> {
    let store = Store::open(&config.data_dir, &config.storage, StoreMetrics::new(registry));
    let store = store.map_err(StartError::line)?;
    let metrics = JournalMetrics::new(registry);
    let opened = Journal::open(&config.data_dir.join("journal"), &config.journal, metrics);
    let (journal, found) = opened.map_err(StartError::line)?;
    let devices = Devices::open(store.clone(), &config.devices, DevicesMetrics::new(registry));
    let devices = devices.map_err(StartError::line)?;
    let recovered = recover(&store, &journal, found.last).map_err(StartError::line)?;
    let metrics = ArtifactsMetrics::new(registry);
    let artifacts =
        Artifacts::open_counted(&Settings::of(config), Handle::current(), artifacts::Access::Gateway, metrics);
    let artifacts = artifacts.map_err(StartError::line)?;
    Ok((State { store, journal, devices, artifacts }, recovered))
}

/// Prepares the plugin bindings; compiling a plugin takes a while and belongs on a thread of its own.
async fn open_bindings(
    config: &Config,
    artifacts: &Artifacts,
    metrics: PluginsMetrics,
    parts: dispatch::Parts,
) -> Result<Dispatch, StartError> {
    let (bindings, data_dir) = (config.bindings.clone(), config.data_dir.clone());
    let (engine, artifacts) = (plugins::engine(&config.plugins), artifacts.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let plugins = Plugins::open(&data_dir, engine, artifacts, metrics).map_err(StartError::line)?;
        Dispatch::open(&bindings, &plugins, parts)
            .map_err(|errors| StartError::Line(errors.into_iter().map(StartError::text).collect::<Vec<_>>().join("\n")))
    });
    opened.await.map_err(StartError::line)?
}

/// What the bindings want, as the front door has to know it.
fn interest(dispatch: &Dispatch) -> Interest {
    let (mut durable, mut live) = (Vec::new(), Vec::new());
    for binding in dispatch.bindings() {
        if binding.durable() {
            let binding = binding.clone();
            let filters = binding.filters();
            durable.push(DurableInterest { filters, over_budget: Box::new(move || binding.over_budget()) });
        }
        // A durable binding gets QoS 0 messages this way too.
        let binding = binding.clone();
        let filters = binding.filters();
        live.push(LiveInterest { filters, offer: Box::new(move |message| binding.offer(message)) });
    }
    Interest::new(durable, live)
}

/// The way of a plugin's publications: the same as a device's.
fn publish(broker: &Arc<Broker>) -> dispatch::Publish {
    let broker = broker.clone();
    Arc::new(move |message| broker.publish(message).map_err(|error| Box::new(error) as dispatch::NotTaken))
}

fn router_limits(config: &Config) -> Limits {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let links = if config.router.links == 0 { processors.div_ceil(4).min(8) } else { config.router.links };
    Limits {
        links,
        window_messages: config.router.window_messages,
        window_bytes: config.router.window_bytes.in_memory(),
    }
}

fn session_limits(config: &Config) -> SessionLimits {
    let mqtt = &config.mqtt;
    SessionLimits {
        sessions: mqtt.max_sessions,
        per_device: mqtt.max_sessions_per_identity,
        subscriptions: mqtt.max_subscriptions,
        queue: QueueLimits {
            messages: mqtt.max_queue_messages,
            stored: mqtt.max_session_messages,
            bytes: mqtt.max_queue_bytes.in_memory(),
            total_bytes: mqtt.max_queue_bytes_total.in_memory(),
        },
    }
}

fn restore_retained(
    config: &Config,
    registry: &mut Registry,
    stored: Vec<crate::store::retained::Retained>,
    newer: &[causeway_core::message::Message],
) -> Arc<Retained> {
    let retained = Retained::restore(config.retained.clone(), RetainedMetrics::new(registry), stored);
    for message in newer {
        retained.put(message);
    }
    Arc::new(retained)
}

/// The front door's places in the journal.
struct Cursors {
    sessions: Cursor,
    retained: Cursor,
}

fn sessions_cursor(journal: &Journal, at: Position, broker: &Arc<Broker>) -> Cursor {
    let cursor = journal.cursor(checkpoint::CURSOR, Some(at), UNBOUNDED, Overflow::Refuse);
    let broker = Arc::downgrade(broker);
    cursor.wanting(move |kind, body| match (kind, broker.upgrade()) {
        (Kind::Publish, Some(broker)) => topic_of(body).is_none_or(|topic| broker.sessions.wants(&topic)),
        _ => true,
    })
}

fn retained_cursor(journal: &Journal, at: Position) -> Cursor {
    let cursor = journal.cursor(retained::CURSOR, Some(at), UNBOUNDED, Overflow::Refuse);
    cursor.wanting(|kind, body| {
        let message = causeway_core::message::Message::decode(body);
        kind == Kind::Publish && message.is_ok_and(|message| message.retain)
    })
}

fn topic_of(body: &bytes::Bytes) -> Option<bytestring::ByteString> {
    causeway_core::message::Message::decode(body).ok().map(|message| message.topic)
}

/// Starts what works for the sessions.
fn work(broker: &Arc<Broker>, store: &Store, cursors: Cursors, tasks: &Tasks) {
    let parts = &tasks.parts;
    let deliver = broker.clone();
    let deliver = move |link: usize, number: u64, payload: bytes::Bytes| deliver.deliver(link, number, payload);
    tasks.live.spawn(broker.router.clone().run(deliver, tasks.router.clone()));
    let background = &tasks.background;
    background.spawn(broker.clone().run_wills(parts.clone()));
    background.spawn(broker.clone().run_expiry(parts.clone()));
    background.spawn(review::run(broker.clone(), parts.clone()));
    background.spawn(checkpoint::run(broker.clone(), store.clone(), cursors.sessions, parts.clone()));
    let retained = broker.retained.clone();
    background.spawn(retained.run(store.clone(), broker.journal.clone(), cursors.retained, parts.clone()));
}

/// A listener that has its socket and does not accept yet.
struct Bound {
    name: String,
    address: std::net::SocketAddr,
    tls: Option<Tls>,
    listener: Listener,
}

fn bind(config: &Config, tls: Vec<Option<Tls>>, registry: &mut Registry) -> Result<Vec<Bound>, StartError> {
    let warnings = PeerWarnings::new(config.log.max_warnings_per_peer, registry);
    let admission = Admission::new(&config.mqtt, ListenerMetrics::new(registry), warnings);
    let mut bound = Vec::new();
    for (listener, tls) in config.listeners.iter().zip(tls) {
        let settings: Arc<ListenerConfig> = Arc::new(listener.clone());
        let timeout = config.mqtt.handshake_timeout;
        let listening = Listener::bind(settings, tls.clone(), admission.clone(), timeout).map_err(StartError::line)?;
        let address = listening.local_addr().map_err(StartError::line)?;
        bound.push(Bound { name: listener.name.clone(), address, tls, listener: listening });
    }
    Ok(bound)
}

async fn bind_metrics(config: &Config) -> Result<Option<TcpListener>, StartError> {
    if !config.metrics.enabled {
        return Ok(None);
    }
    let address = config.metrics.bind;
    let bound = TcpListener::bind(address).await;
    bound.map(Some).map_err(|error| StartError::Line(format!("metrics.bind: cannot listen on {address}: {error}")))
}

/// Starts the accept loops; each connection becomes a task of its own.
fn accept(bound: Vec<Bound>, broker: &Arc<Broker>, reloads: &Reloads, tasks: &Tasks) -> Vec<Listening> {
    let mut listening = Vec::new();
    for Bound { name, address, tls, listener } in bound {
        info!(listener = name, %address, tls = tls.is_some(), "listening");
        listening.push(Listening { name: name.clone(), address, tls: tls.is_some(), probes: listener.probes() });
        if let Some(tls) = tls {
            let reload = again(reloads, What::Certificates);
            tasks.background.spawn(tls.watch(name, tasks.parts.clone(), reload));
        }
        let (broker, sessions) = (broker.clone(), tasks.sessions.clone());
        let serve = move |accepted| connection::serve(accepted, broker.clone(), sessions.clone());
        tasks.background.spawn(listener.run(serve, tasks.connections.clone(), tasks.accepting.clone()));
    }
    listening
}

/// Runs a part that knows no end of its own.
async fn until(stop: tokio_util::sync::CancellationToken, part: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = part => {}
    }
}
