//! The vehicles' connections: MQTT 3.1.1 clients of their own with their own certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, EventLoop, MqttOptions, QoS, TlsConfiguration, Transport};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use tracing::warn;

use super::vehicle::Vehicle;
use crate::certs::CA;
use crate::cli::{Exit, Failure};

/// Requests of one vehicle that wait for its connection.
const QUEUE: usize = 64;

/// A vehicle with its certificate.
pub(super) struct Driver {
    vehicle: Vehicle,
    tls: Arc<rustls::ClientConfig>,
}

impl Driver {
    /// Reads the certificate and the key of the vehicle.
    pub(super) fn new(vehicle: Vehicle, pki: &Path) -> Result<Self, Failure> {
        let tls = client_config(pki, &vehicle.id);
        let tls = tls.map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", vehicle.id)))?;
        Ok(Self { vehicle, tls: Arc::new(tls) })
    }

    /// Connects and reports once each `step`, until it is aborted.
    pub(super) async fn drive(self, address: SocketAddr, step: Duration) {
        let (client, events) = self.connect(address);
        tokio::join!(self.report(&client, step), keep_connected(events, step));
    }

    fn connect(&self, address: SocketAddr) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(&self.vehicle.id, address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(30));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&self.tls))));
        AsyncClient::new(options, QUEUE)
    }

    async fn report(&self, client: &AsyncClient, step: Duration) {
        let mut tick = tokio::time::interval(step);
        for at in 0.. {
            tick.tick().await;
            for report in self.vehicle.reports(at, OffsetDateTime::now_utc()) {
                let sent = client.publish(report.topic, QoS::AtLeastOnce, false, report.payload.to_string());
                if let Err(error) = sent.await {
                    warn!(device = self.vehicle.id, %error, "a report was not sent");
                }
            }
        }
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
