//! The way to the gateway: a status goes out on one topic, its command comes in on another.
//!
//! A request that is given up, by the updater's time-out or by a lost connection, takes its connection with it: what
//! the gateway still answers to it never meets the next request, which has no other way to tell answers apart.

use crate::{Form, Options, say};
use embedded_update::{Command, Status, UpdateService};
use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, NetworkOptions, QoS, SubscribeReasonCode, TlsConfiguration,
    Transport,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The most bytes of a packet: a block, its command and its topic.
const MAX_PACKET: usize = 64 * 1024;

/// What is handed on between the connection and the updater, which asks one thing at a time.
const QUEUE: usize = 4;

/// How long the way back takes after a connection was lost.
const RECONNECT: Duration = Duration::from_millis(100);

/// Why there is no gateway to ask.
#[derive(Debug, Error)]
pub(crate) enum SetupError {
    #[error("{0:?} is not HOST:PORT")]
    Address(String),
    #[error("{0:?}: {1}")]
    Pem(PathBuf, #[source] pem::Error),
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a status got no command.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("no connection: {0}")]
    Lost(String),
    #[error("a command that is not CBOR of this protocol: {0}")]
    Command(#[from] serde_cbor::Error),
}

/// The gateway, as one device sees it.
pub(crate) struct Gateway {
    name: String,
    options: MqttOptions,
    form: Form,
    topics: Topics,
    connection: Option<Connection>,
    /// The command of the last request, which its caller still looks at.
    command: Vec<u8>,
    cut_at: Option<u32>,
    /// What was said last about a connection that cannot be made: the updater tries again in silence, and for ever.
    said: String,
}

/// Where a status goes, and where its command comes from.
#[derive(Clone)]
struct Topics {
    status: String,
    command: String,
}

/// What a connection hands on: a command, or why there are no more.
type Received = Result<Vec<u8>, String>;

/// One connection; it ends when this is dropped.
struct Connection {
    client: AsyncClient,
    commands: mpsc::Receiver<Received>,
    task: JoinHandle<()>,
}

impl Gateway {
    /// Reads certificates, and connects with the first request.
    pub(crate) fn new(name: &str, options: &Options) -> Result<Self, SetupError> {
        let bad = || SetupError::Address(options.gateway.clone());
        let (host, port) = options.gateway.rsplit_once(':').ok_or_else(bad)?;
        let mut mqtt = MqttOptions::new(name, host, port.parse().map_err(|_| bad())?);
        let identity = options.parent.as_deref().unwrap_or(name);
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls(&options.certs, identity)?)));
        mqtt.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        mqtt.set_keep_alive(Duration::from_secs(30));
        let base =
            options.parent.as_ref().map_or_else(|| format!("dfu/{name}"), |parent| format!("dfu/{parent}/{name}"));
        Ok(Self {
            name: name.into(),
            options: mqtt,
            form: options.form,
            topics: Topics { status: format!("{base}/status"), command: format!("{base}/command") },
            connection: None,
            command: Vec::new(),
            cut_at: options.cut_at,
            said: String::new(),
        })
    }

    async fn connected(&mut self) -> Result<Connection, RequestError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let opened = Connection::open(self.options.clone(), self.topics.command.clone()).await;
        let problem = opened.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if !problem.is_empty() && problem != self.said {
            say(&self.name, format_args!("{problem}"));
        }
        self.said = problem;
        opened
    }

    /// Whether the connection is to be lost with this status.
    fn is_cut(&mut self, status: &Status<'_>) -> bool {
        let stored = status.update.as_ref().map_or(0, |update| update.offset);
        let cut = self.cut_at.is_some_and(|at| stored >= at);
        if cut {
            self.cut_at = None;
            say(&self.name, format_args!("loses its connection with {stored} bytes stored"));
        }
        cut
    }
}

impl UpdateService for Gateway {
    type Error = RequestError;

    async fn request<'m>(&'m mut self, status: &'m Status<'m>) -> Result<Command<'m>, RequestError> {
        let payload = match self.form {
            Form::Named => serde_cbor::to_vec(status)?,
            Form::Packed => serde_cbor::ser::to_vec_packed(status)?,
        };
        let mut connection = self.connected().await?;
        let sent = connection.client.publish(&self.topics.status, QoS::AtLeastOnce, false, payload).await;
        sent.map_err(|error| RequestError::Lost(error.to_string()))?;
        let command = connection.next().await;
        if self.is_cut(status) {
            return Err(RequestError::Lost("the test cut it".into()));
        }
        self.command = command?;
        self.connection = Some(connection);
        let command = serde_cbor::from_slice(&self.command)?;
        if let Command::Wait { poll, .. } = &command {
            say(&self.name, format_args!("waits {} s", poll.unwrap_or_default()));
        }
        Ok(command)
    }
}

impl Connection {
    /// Connects and subscribes: when this returns, a command would be received.
    async fn open(options: MqttOptions, topic: String) -> Result<Self, RequestError> {
        let (client, mut events) = AsyncClient::new(options, QUEUE);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let (sender, commands) = mpsc::channel(QUEUE);
        let task = tokio::task::spawn_local(async move {
            let mut is_open = true;
            while is_open {
                let received = received(&mut events).await;
                is_open = received.is_ok();
                is_open &= sender.send(received).await.is_ok();
            }
        });
        let mut connection = Self { client, commands, task };
        let subscribed = connection.client.subscribe(topic, QoS::AtLeastOnce).await;
        subscribed.map_err(|error| RequestError::Lost(error.to_string()))?;
        // The word that the subscription stands comes first, as a command without bytes.
        let opened = connection.next().await;
        if opened.is_err() {
            tokio::time::sleep(RECONNECT).await;
        }
        opened.map(|_| connection)
    }

    async fn next(&mut self) -> Result<Vec<u8>, RequestError> {
        let received = self.commands.recv().await.unwrap_or_else(|| Err("it has ended".into()));
        received.map_err(RequestError::Lost)
    }
}

/// The next of what happens on a connection that matters here.
async fn received(events: &mut EventLoop) -> Received {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::Publish(publish))) => return Ok(publish.payload.to_vec()),
            Ok(Event::Incoming(Incoming::SubAck(answer))) => {
                let is_refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                return if is_refused { Err("its commands may not be received".into()) } else { Ok(Vec::new()) };
            }
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How the device proves who it is, and knows the gateway.
fn tls(certs: &Path, identity: &str) -> Result<Arc<rustls::ClientConfig>, SetupError> {
    let chain = |file: &str| {
        let path = certs.join(file);
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        read.map_err(|error| SetupError::Pem(path, error))
    };
    let mut roots = RootCertStore::empty();
    for authority in chain("ca.pem")? {
        roots.add(authority)?;
    }
    let key = certs.join(format!("{identity}-key.pem"));
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| SetupError::Pem(key, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(&format!("{identity}.pem"))?, key)?;
    Ok(Arc::new(config))
}
