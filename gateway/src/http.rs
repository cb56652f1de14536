//! Serves HTTP on one listener within limits: connections, header and request time, size, life time.
//!
//! Admin and metrics servers are the callers. Who the peer is and what it may ask is theirs to say:
//! they turn an accepted stream into a stream and a router in `open`, which may take its time (a TLS
//! handshake) without holding up the next connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What one server allows.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) max_body_bytes: usize,
    /// For one request, from its head to the end of its answer's head.
    pub(crate) request_timeout: Duration,
    /// Counts connections that wait for another to end.
    pub(crate) waits: Counter,
    /// Counts requests that took too long.
    pub(crate) timeouts: Counter,
}

/// Time for the head of a request, and so also for the pause between two of them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 32 << 10;
/// A connection lives for so many request timeouts: a peer that reads its answers too slowly is let go.
const LIFETIME_REQUESTS: u32 = 10;
/// Pause after an accept that failed, which is for want of file descriptors: they come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that connections come from.
pub(crate) trait Listener: Send + 'static {
    type Stream: Send + 'static;

    /// Waits for the next connection; safe to cancel.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Accepts and serves until `stop`; returns when the last connection has had its answer.
pub(crate) async fn serve<L, S, O, F>(listener: L, limits: Limits, stop: CancellationToken, open: O)
where
    L: Listener,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: Fn(L::Stream) -> F,
    F: Future<Output = Option<(S, Router)>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &permits, &limits.waits) => accepted,
        };
        let Some((permit, stream)) = accepted else { continue };
        let (limits, stop, opened) = (limits.clone(), stop.clone(), open(stream));
        tasks.spawn(async move {
            if let Ok(Some((stream, router))) = tokio::time::timeout(HEAD_TIMEOUT, opened).await {
                connection(stream, router, &limits, stop).await;
            }
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Takes a permit first: connections beyond the limit wait in the kernel's backlog.
async fn next<L: Listener>(
    listener: &L,
    permits: &Arc<Semaphore>,
    waits: &Counter,
) -> Option<(tokio::sync::OwnedSemaphorePermit, L::Stream)> {
    if permits.available_permits() == 0 {
        waits.inc();
    }
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok(stream) => Some((permit, stream)),
        Err(error) => {
            tracing::warn!(%error, "an HTTP connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection to its end, to its time limit, or to the end of the request at `stop`.
async fn connection<S>(stream: S, router: Router, limits: &Limits, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router.layer(DefaultBodyLimit::max(limits.max_body_bytes)));
    let (deadline, timeouts) = (limits.request_timeout, limits.timeouts.clone());
    let answer = service_fn(move |request: Request<Incoming>| {
        let (answer, timeouts) = (router.call(request), timeouts.clone());
        async move {
            match tokio::time::timeout(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    timeouts.inc();
                    Ok::<Response, std::convert::Infallible>(StatusCode::REQUEST_TIMEOUT.into_response())
                }
            }
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = std::pin::pin!(served);
    let lifetime = tokio::time::sleep(deadline.saturating_mul(LIFETIME_REQUESTS));
    tokio::select! {
        // What a peer does wrong in HTTP is answered by hyper and of no interest to the operator.
        _ = served.as_mut() => return,
        () = lifetime => return,
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(deadline, served).await;
}
