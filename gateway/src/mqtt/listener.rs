//! Takes connections in: permits first, then a handshake with a deadline in a task of its own.
//!
//! The accept loop never waits for a peer. What comes out is an [`Accepted`]: a byte stream, who is at its
//! other end, and the slots it holds. What MQTT makes of it is [`super::session`]'s.

mod admission;
mod metrics;
mod probes;
mod stream;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::admission::{Admission, Permit};
pub use self::metrics::{ConnectionRefusal, ListenerMetrics};
pub use self::probes::{Announced, Probes};
pub use self::stream::Stream;

use crate::config::ListenerConfig;
use crate::mqtt::identity::{Identity, Peer};
use crate::mqtt::tls::{RefusalReason, Tls, Welcome};

/// Connections the kernel completes ahead of the accept loop; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4_096;

/// First and longest pause after a failed `accept`.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long, and how many bytes, a refused peer is listened to so that it gets to read the alert.
const LINGER: (Duration, u64) = (Duration::from_millis(250), 16 * 1024);

/// A connection whose handshake is done.
pub struct Accepted {
    /// Its bytes.
    pub stream: Stream,
    /// Who is at the other end.
    pub peer: Peer,
    /// The listener it came in by.
    pub listener: Arc<ListenerConfig>,
    /// Tells when the peer loses its standing: revoked, expired, or no longer trusted.
    pub welcome: Welcome,
    /// Its slots; they come back when this is dropped.
    pub permit: Permit,
}

/// Why a listener cannot start.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error("listener {name}: {address} is in use; stop the other program or change `bind`")]
    InUse {
        /// The listener.
        name: String,
        /// Its configured address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("listener {name}: cannot listen on {address}")]
    Other {
        /// The listener.
        name: String,
        /// Its configured address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// One listening socket.
pub struct Listener {
    socket: TcpListener,
    shared: Arc<Shared>,
}

/// What each connection task needs of its listener.
struct Shared {
    config: Arc<ListenerConfig>,
    tls: Option<Tls>,
    admission: Admission,
    handshake_timeout: Duration,
}

impl Listener {
    /// Listens on `config.bind`. `tls` is there exactly when the configuration asks for it.
    pub fn bind(
        config: Arc<ListenerConfig>,
        tls: Option<Tls>,
        admission: Admission,
        handshake_timeout: Duration,
    ) -> Result<Self, BindError> {
        let (name, address) = (config.name.clone(), config.bind);
        let socket = listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { name, address },
            _ => BindError::Other { name, address, source },
        })?;
        Ok(Self { socket, shared: Arc::new(Shared { config, tls, admission, handshake_timeout }) })
    }

    /// The address, with the port that the system chose if the configuration says 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Through which the gateway announces its connections to itself.
    pub fn probes(&self) -> Probes {
        self.shared.admission.probes().clone()
    }

    /// Accepts until `shutdown`; each good connection goes to `serve` in a task of `tasks`.
    pub async fn run<F, S>(self, serve: F, tasks: TaskTracker, shutdown: CancellationToken)
    where
        F: Fn(Accepted) -> S + Clone + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let mut pause = BACK_OFF.0;
        let mut files = self.shared.tls.as_ref().map(Tls::changed);
        self.shared.show_ends();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                () = changed(files.as_mut()) => {
                    self.shared.show_ends();
                    continue;
                }
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, address)) => {
                    pause = BACK_OFF.0;
                    self.shared.admission.metrics().accepted.inc();
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.admit(socket, address, serve.clone(), &tasks) => {}
                    }
                }
                Err(error) => {
                    self.accept_failed(&error, pause).await;
                    pause = pause.saturating_mul(2).min(BACK_OFF.1);
                }
            }
        }
    }

    async fn admit<F, S>(&self, socket: TcpStream, address: SocketAddr, serve: F, tasks: &TaskTracker)
    where
        F: Fn(Accepted) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let admitted = match shared.admission.probes().expects(address) {
            true => Ok(shared.admission.exempt()),
            false => shared.admission.admit(address.ip()).await,
        };
        match admitted {
            Ok(permit) => drop(tasks.spawn(async move {
                // The handshake's future is dropped before the session's starts, so an idle session does not
                // carry the room that the handshake needed.
                if let Some(accepted) = Box::pin(shared.open(socket, address, permit)).await {
                    serve(accepted).await;
                }
            })),
            Err(refusal) => {
                shared.admission.metrics().connection_refused(refusal);
                shared.log_refusal(address, refusal.as_str(), "");
            }
        }
    }

    /// A peer that is gone before it was accepted is nothing; running out of descriptors needs a pause.
    async fn accept_failed(&self, error: &io::Error, pause: Duration) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        self.shared.admission.metrics().accept_errors.inc();
        tracing::error!(listener = self.shared.config.name, %error, "cannot accept connections, trying again");
        sleep(pause).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Only lets a restarted gateway bind while old connections linger; a live listener still conflicts.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Completes when a listener's files were taken over; never for one without.
async fn changed(files: Option<&mut watch::Receiver<u64>>) {
    match files {
        // The sender lives as long as the listener, so this does not fail.
        Some(files) => drop(files.changed().await),
        None => std::future::pending().await,
    }
}

impl Shared {
    fn show_ends(&self) {
        if let Some(tls) = &self.tls {
            self.admission.metrics().tls_ends(&self.config.name, tls);
        }
    }

    /// The handshake, if there is one, within its deadline.
    async fn open(&self, socket: TcpStream, address: SocketAddr, permit: Permit) -> Option<Accepted> {
        // Small packets are the rule in MQTT; a connection that is gone already fails at the first read.
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.open_plain(socket, address, permit) };
        let started = Instant::now();
        let welcome = tls.welcome();
        let handshake = timeout(self.handshake_timeout, tls.acceptor().accept(socket).into_fallible());
        let refused = tokio::select! {
            () = permit.evicted() => (RefusalReason::Evicted, "others were waiting for its slot".to_owned()),
            done = handshake => match done {
                Ok(Ok(stream)) => {
                    self.admission.metrics().handshake_seconds.observe(started.elapsed().as_secs_f64());
                    return self.open_tls(tls, Box::new(stream), address, welcome, permit);
                }
                Ok(Err((error, socket))) => {
                    farewell(socket).await;
                    (RefusalReason::of(&error), error.to_string())
                }
                Err(_) => {
                    (RefusalReason::Timeout, format!("no handshake within {:?}", self.handshake_timeout))
                }
            },
        };
        if !permit.is_exempt() {
            self.refuse(address, refused.0, &refused.1);
        }
        None
    }

    fn open_plain(&self, socket: TcpStream, address: SocketAddr, permit: Permit) -> Option<Accepted> {
        let rule = self.config.plain.as_ref()?.identity.clone();
        let peer = Peer { address, identity: Identity::Plain(rule) };
        let listener = Arc::clone(&self.config);
        Some(Accepted { stream: Stream::Plain(socket), peer, listener, welcome: Welcome::forever(), permit })
    }

    fn open_tls(
        &self,
        tls: &Tls,
        stream: Box<tokio_rustls::server::TlsStream<TcpStream>>,
        address: SocketAddr,
        welcome: Welcome,
        permit: Permit,
    ) -> Option<Accepted> {
        // In TLS 1.3 the client speaks last, and what it sends next may wait (Nagle) for an acknowledgement that the
        // kernel would put off for 40 ms, because we have nothing to say before CONNECT.
        let _ = stream.get_ref().0.set_quickack(true);
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match tls.certificate(chain) {
            Ok(certificate) => {
                let peer = Peer { address, identity: Identity::Certificate(Arc::new(certificate)) };
                let listener = Arc::clone(&self.config);
                Some(Accepted { stream: Stream::Tls(stream), peer, listener, welcome, permit })
            }
            // The verifier has asked the same question, so this is not expected to happen.
            Err(error) => {
                self.refuse(address, RefusalReason::NoIdentity, &error.to_string());
                None
            }
        }
    }

    fn refuse(&self, peer: SocketAddr, reason: RefusalReason, detail: &str) {
        self.admission.metrics().handshake_refused(reason);
        if reason == RefusalReason::Timeout {
            self.admission.metrics().connection_refused(ConnectionRefusal::HandshakeTimeout);
        }
        if reason == RefusalReason::PeerClosed {
            // It went by itself, as those do that only look whether the port is open.
            return tracing::debug!(listener = self.config.name, %peer, detail, "left in the handshake");
        }
        self.log_refusal(peer, reason.as_str(), detail);
    }

    /// One address cannot fill the log, whatever it tries.
    fn log_refusal(&self, peer: SocketAddr, reason: &'static str, detail: &str) {
        let admitted = self.admission.warnings().admit((peer.ip(), reason), std::time::Instant::now());
        if let Some(suppressed) = admitted {
            tracing::warn!(listener = self.config.name, %peer, reason, detail, suppressed, "connection refused");
        }
    }
}

/// Lets a refused peer read the alert: closing with unread bytes in the buffer would reset the connection
/// and take the alert along.
async fn farewell(mut socket: TcpStream) {
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut socket).await;
    let (patience, bytes) = LINGER;
    let drain = async { tokio::io::copy(&mut (&mut socket).take(bytes), &mut tokio::io::sink()).await };
    let _ = timeout(patience, drain).await;
}

#[cfg(test)]
mod tests;
