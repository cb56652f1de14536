//! A listener on a real socket that echoes what its clients send.

mod caps;
mod certificates;

use std::io::Write;
use std::sync::Mutex;

use prometheus_client::registry::Registry;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::clock::Clock;
use crate::config::{MqttConfig, PlainConfig, PlainIdentity};
use crate::log::PeerWarnings;
use crate::mqtt::tls::Standing;
use crate::mqtt::tls::pki::{self, Pki};

/// A running listener.
struct Front {
    address: SocketAddr,
    metrics: ListenerMetrics,
    tls: Option<Tls>,
    probes: Probes,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    running: tokio::task::JoinHandle<()>,
    /// What a session learned when its peer lost its standing.
    lost: Arc<Mutex<Vec<(String, Standing)>>>,
}

impl Front {
    fn start(pki: &Pki, config: &MqttConfig) -> Self {
        let listener = ListenerConfig { tls: Some(pki.config()), ..ListenerConfig::default() };
        Self::start_with(listener, Some(Tls::load(pki.config(), Clock::new(0)).unwrap()), config)
    }

    fn start_plain(config: &MqttConfig) -> Self {
        let plain = Some(PlainConfig { identity: PlainIdentity::Fixed("legacy".into()) });
        Self::start_with(ListenerConfig { plain, ..ListenerConfig::default() }, None, config)
    }

    fn start_with(listener: ListenerConfig, tls: Option<Tls>, config: &MqttConfig) -> Self {
        let mut registry = Registry::default();
        let metrics = ListenerMetrics::new(&mut registry);
        let warnings = PeerWarnings::new(u32::MAX, &mut registry);
        let admission = Admission::new(config, metrics.clone(), warnings);
        let bind = ([127, 0, 0, 1], 0).into();
        let listener = Arc::new(ListenerConfig { name: "devices".into(), bind, ..listener });
        let listener = Listener::bind(listener, tls.clone(), admission, config.handshake_timeout).unwrap();
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let lost = Arc::<Mutex<Vec<_>>>::default();
        let (address, probes) = (listener.local_addr().unwrap(), listener.probes());
        let sessions = Arc::clone(&lost);
        let stopped: CancellationToken = shutdown.clone();
        let serve = move |accepted| {
            let (sessions, stopped) = (Arc::clone(&sessions), stopped.clone());
            async move { stopped.run_until_cancelled(session(accepted, sessions)).await.unwrap_or_default() }
        };
        let running = tokio::spawn(listener.run(serve, tasks.clone(), shutdown.clone()));
        Self { address, metrics, tls, probes, shutdown, tasks, running, lost }
    }

    /// A client that is let in.
    async fn good(&self, pki: &Pki, name: &str) -> pki::Client {
        let mut client = pki::connect(self.address, Some(pki.device(name)), &TLS13).await.unwrap();
        pki::echo(&mut client).await.unwrap();
        client
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.tasks.close();
        until("no session is left", || self.tasks.is_empty()).await;
    }
}

/// Echoes until the client goes or loses its standing. Like MQTT, it takes the first bytes for a CONNECT.
async fn session(accepted: Accepted, lost: Arc<Mutex<Vec<(String, Standing)>>>) {
    let Accepted { mut stream, peer, mut welcome, mut permit, .. } = accepted;
    let name = peer.identity.name("c1").unwrap();
    let mut bytes = [0; 64];
    loop {
        let count = tokio::select! {
            standing = welcome.ends(&peer) => return lost.lock().unwrap().push((name.to_string(), standing)),
            () = permit.evicted() => return,
            read = stream.read(&mut bytes) => match read {
                Ok(count) if count > 0 => count,
                _ => return,
            },
        };
        if !permit.claim(&name) {
            return;
        }
        permit.established();
        if stream.write_all(&bytes[..count]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Waits until something is true, for ten seconds at most.
async fn until(what: &str, is_true: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_true() {
        assert!(Instant::now() < end, "not within ten seconds: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// What was logged on this thread, which in these tests is the one that runs all tasks.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn good_clients_get_in_with_both_versions_of_tls() {
    let pki = Pki::new();
    let front = Front::start(&pki, &MqttConfig::default());
    for version in [&TLS12, &TLS13] {
        let mut client = pki::connect(front.address, Some(pki.device("d1")), version).await.unwrap();
        pki::echo(&mut client).await.unwrap();
    }
    drop(front.good(&pki, "d2").await);
    until("every slot came back", || front.metrics.connections.get() == 0).await;
    front.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let front = Front::start_plain(&MqttConfig::default());
    let mut registry = Registry::default();
    let metrics = ListenerMetrics::new(&mut registry);
    let admission = Admission::new(&MqttConfig::default(), metrics, PeerWarnings::new(1, &mut registry));
    let config = ListenerConfig { name: "devices".into(), bind: front.address, ..ListenerConfig::default() };
    let error = Listener::bind(Arc::new(config), None, admission, Duration::from_secs(1)).err().unwrap();
    let expected = format!("listener devices: {} is in use; stop the other program or change `bind`", front.address);
    assert_eq!(error.to_string(), expected);
    front.stop().await;
}

#[tokio::test]
async fn a_new_server_certificate_is_shown_without_dropping_anybody() {
    let pki = Pki::new();
    let front = Front::start(&pki, &MqttConfig::default());
    let mut before = front.good(&pki, "d1").await;
    pki.write_server("gateway-2");
    front.tls.as_ref().unwrap().reload().unwrap();
    let mut after = front.good(&pki, "d2").await;
    let shown = |client: &pki::Client| client.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_ne!(shown(&before), shown(&after));
    pki::echo(&mut before).await.unwrap();
    pki::echo(&mut after).await.unwrap();
    front.stop().await;
}

#[tokio::test]
async fn a_hundred_reloads_drop_no_good_client_and_a_revoked_one_at_once() {
    let pki = Pki::new();
    let front = Front::start(&pki, &MqttConfig::default());
    let (mut good, mut bad) = (front.good(&pki, "good").await, front.good(&pki, "bad").await);
    for round in 0..100 {
        pki.write_server(&format!("gateway-{round}"));
        front.tls.as_ref().unwrap().reload().unwrap();
        pki::echo(&mut good).await.unwrap();
        pki::echo(&mut bad).await.unwrap();
    }
    let mut params = pki::leaf("bad");
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x42]));
    let credentials = pki::issue(&params, &pki.ca, &[]);
    let mut revoked = pki::connect(front.address, Some(credentials), &TLS13).await.unwrap();
    pki::echo(&mut revoked).await.unwrap();
    pki.revoke(&[&[0x42]]);
    front.tls.as_ref().unwrap().reload().unwrap();
    until("the revoked session ends", || !front.lost.lock().unwrap().is_empty()).await;
    assert_eq!(*front.lost.lock().unwrap(), [("bad".to_owned(), Standing::Revoked)]);
    assert!(pki::echo(&mut revoked).await.is_err());
    pki::echo(&mut good).await.unwrap();
    pki::echo(&mut bad).await.unwrap();
    front.stop().await;
}

#[tokio::test]
async fn no_session_is_resumed() {
    let pki = Pki::new();
    let front = Front::start(&pki, &MqttConfig::default());
    let client = front.good(&pki, "d1").await;
    assert_eq!(client.get_ref().1.tls13_tickets_received(), 0);
    front.stop().await;
}

#[tokio::test]
async fn shutdown_stops_accepting() {
    let front = Front::start_plain(&MqttConfig::default());
    let address = front.address;
    front.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
