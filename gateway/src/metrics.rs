//! The port for machines that watch: `/metrics` (Prometheus), `/healthz`, `/readyz`.
//!
//! Each part of the gateway defines its own metrics and registers them; this file only makes the
//! registry and serves it. There is no authentication here, so the port is on the loopback address
//! and shows nothing about single devices: label values are closed sets.

mod process;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::{Limits, serve};

/// Makes the registry that every part adds its metrics to; each metric names the gateway.
pub fn registry(gateway_id: &str) -> Registry {
    let label = (Cow::Borrowed("gateway"), Cow::Owned(gateway_id.to_owned()));
    let mut registry = Registry::with_labels([label].into_iter());
    registry.register_collector(Box::new(process::Process::new()));
    registry
}

/// Whether the gateway takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Parts are still being started.
    Starting,
    /// Every listener accepts.
    Ready,
    /// The gateway is ending.
    Draining,
}

impl Readiness {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// What one accept loop proved about itself.
#[derive(Debug, Clone)]
pub struct Health {
    /// The listener's name.
    pub listener: String,
    /// What failed; none when the loop answered end to end.
    pub failure: Option<String>,
}

/// Asks each accept loop to prove itself.
pub type Probe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<Health>> + Send>> + Send + Sync>;

/// Asks which parts need an operator.
pub type Alarms = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What the three routes answer from.
#[derive(Clone)]
pub struct Watched {
    /// The metrics of all parts.
    pub registry: Arc<Registry>,
    /// For `/healthz`.
    pub probe: Probe,
    /// How long `probe` may take.
    pub probe_timeout: Duration,
    /// What is to be said beside it: each a line about a part that needs an operator.
    pub alarms: Alarms,
    /// For `/readyz`.
    pub readiness: watch::Receiver<Readiness>,
}

fn limits() -> Limits {
    let request_timeout = Duration::from_secs(40);
    Limits {
        max_connections: 16,
        max_body_bytes: 0,
        request_timeout,
        waits: Counter::default(),
        timeouts: Counter::default(),
    }
}

/// Serves the three routes until `stop`.
pub async fn run(listener: TcpListener, watched: Watched, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(watched);
    serve(listener, limits(), stop, |stream| std::future::ready(Some((stream, router.clone())))).await;
}

async fn metrics(State(watched): State<Watched>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &watched.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthz(State(watched): State<Watched>) -> Response {
    let Ok(found) = tokio::time::timeout(watched.probe_timeout, (watched.probe)()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "failed: the probe took too long\n").into_response();
    };
    let lines: String = found
        .iter()
        .map(|health| match &health.failure {
            None => format!("{}: ok\n", health.listener),
            Some(failure) => format!("{}: failed: {failure}\n", health.listener),
        })
        .collect();
    let healthy = found.iter().all(|health| health.failure.is_none());
    (if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines).into_response()
}

async fn readyz(State(watched): State<Watched>) -> Response {
    let readiness = *watched.readiness.borrow();
    let status = if readiness == Readiness::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A part that needs an operator is no reason to take the whole gateway out of service.
    let alarms: String = (watched.alarms)().into_iter().map(|alarm| format!("{alarm}\n")).collect();
    (status, format!("{}\n{alarms}", readiness.word())).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Server {
        address: std::net::SocketAddr,
        readiness: watch::Sender<Readiness>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn start(probe: Probe) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, receiver) = watch::channel(Readiness::Starting);
        let registry = Arc::new(registry("edge-1"));
        let watched = Watched {
            registry,
            probe,
            probe_timeout: Duration::from_millis(50),
            alarms: Arc::new(Vec::new),
            readiness: receiver,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(listener, watched, stop.clone()));
        Server { address, readiness, stop, task }
    }

    fn found(failure: Option<&str>) -> Probe {
        let health = Health { listener: "devices".to_owned(), failure: failure.map(str::to_owned) };
        Arc::new(move || Box::pin(std::future::ready(vec![health.clone()])))
    }

    async fn get(server: &Server, path: &str) -> String {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_name_the_gateway_and_the_process() {
        let server = start(found(None)).await;
        let answer = get(&server, "/metrics").await;
        assert!(answer.contains("process_resident_memory_bytes{gateway=\"edge-1\"}"), "{answer}");
        assert!(answer.contains("causeway_build_info"), "{answer}");
    }

    #[tokio::test]
    async fn health_is_what_every_listener_proves() {
        let server = start(found(None)).await;
        assert!(get(&server, "/healthz").await.starts_with("HTTP/1.1 200"));
        let server = start(found(Some("no answer"))).await;
        let answer = get(&server, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("devices: failed: no answer"), "{answer}");
        let server = start(Arc::new(|| Box::pin(std::future::pending()))).await;
        assert!(get(&server, "/healthz").await.contains("too long"));
    }

    #[tokio::test]
    async fn readiness_follows_the_gateway() {
        let server = start(found(None)).await;
        assert!(get(&server, "/readyz").await.contains("503"));
        server.readiness.send(Readiness::Ready).unwrap();
        assert!(get(&server, "/readyz").await.contains("200"));
        server.readiness.send(Readiness::Draining).unwrap();
        assert!(get(&server, "/readyz").await.ends_with("draining\n"));
    }

    #[tokio::test]
    async fn a_silent_connection_does_not_hold_up_the_end() {
        let server = start(found(None)).await;
        let _silent = TcpStream::connect(server.address).await.unwrap();
        get(&server, "/readyz").await;
        server.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
    }
}
