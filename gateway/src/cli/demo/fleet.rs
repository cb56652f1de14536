//! The connections of the vehicles and of the asset library: MQTT 3.1.1 clients with certificates of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, EventLoop, MqttOptions, QoS, TlsConfiguration, Transport};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use tracing::warn;

use super::vehicle::{Report, Vehicle};
use crate::certs::CA;
use crate::cli::{Exit, Failure};

/// Requests of one vehicle that wait for its connection.
const QUEUE: usize = 64;

/// A vehicle with its certificate.
pub(super) struct Driver {
    vehicle: Vehicle,
    client: Certified,
}

impl Driver {
    /// Reads the certificate and the key of the vehicle.
    pub(super) fn new(vehicle: Vehicle, pki: &Path) -> Result<Self, Failure> {
        let client = Certified::new(&vehicle.id, pki)?;
        Ok(Self { vehicle, client })
    }

    /// Connects and reports once each `step`, until it is aborted.
    pub(super) async fn drive(self, address: SocketAddr, step: Duration) {
        let (client, events) = self.client.connect(address);
        tokio::join!(self.report(&client, step), keep_connected(events, step));
    }

    async fn report(&self, client: &AsyncClient, step: Duration) {
        let mut tick = tokio::time::interval(step);
        for at in 0.. {
            tick.tick().await;
            publish(client, &self.vehicle.id, self.vehicle.reports(at, OffsetDateTime::now_utc())).await;
        }
    }
}

/// The asset library: it says once what the vehicles are.
pub(super) struct Library {
    reports: Vec<Report>,
    client: Certified,
}

impl Library {
    /// Reads the certificate and the key of the client `id`.
    pub(super) fn new(id: &str, reports: Vec<Report>, pki: &Path) -> Result<Self, Failure> {
        Ok(Self { reports, client: Certified::new(id, pki)? })
    }

    /// Connects, says what it has to say, and stays until it is aborted.
    pub(super) async fn speak(self, address: SocketAddr, step: Duration) {
        let (client, events) = self.client.connect(address);
        tokio::join!(publish(&client, &self.client.id, self.reports), keep_connected(events, step));
    }
}

async fn publish(client: &AsyncClient, device: &str, reports: Vec<Report>) {
    for report in reports {
        let sent = client.publish(report.topic, QoS::AtLeastOnce, false, report.payload.to_string());
        if let Err(error) = sent.await {
            warn!(device, %error, "a report was not sent");
        }
    }
}

/// A client with its certificate.
struct Certified {
    id: String,
    tls: Arc<rustls::ClientConfig>,
}

impl Certified {
    fn new(id: &str, pki: &Path) -> Result<Self, Failure> {
        let tls = client_config(pki, id);
        let tls = tls.map_err(|error| Failure::new(Exit::Internal, format!("{id}: {error}")))?;
        Ok(Self { id: id.to_owned(), tls: Arc::new(tls) })
    }

    fn connect(&self, address: SocketAddr) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(&self.id, address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(30));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&self.tls))));
        AsyncClient::new(options, QUEUE)
    }
}

/// The client reconnects by itself at the next poll; a pause keeps a refused one from spinning.
async fn keep_connected(mut events: EventLoop, pause: Duration) {
    loop {
        if let Err(error) = events.poll().await {
            warn!(%error, "a vehicle lost its connection");
            tokio::time::sleep(pause).await;
        }
    }
}

fn client_config(pki: &Path, id: &str) -> Result<rustls::ClientConfig, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.join(CA))?)?;
    let certificate = CertificateDer::from_pem_file(pki.join(format!("{id}.pem")))?;
    let key = PrivateKeyDer::from_pem_file(pki.join(format!("{id}-key.pem")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?)
}
