//! A throw-away PKI for the tests of the handshake, able to make what no sensible authority makes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::TlsConfig;

pub(in crate::mqtt) type Ca = CertifiedIssuer<'static, KeyPair>;

pub(in crate::mqtt) struct Pki {
    dir: TempDir,
    pub(in crate::mqtt) ca: Ca,
}

/// What a client shows, and how it signs.
#[derive(Debug, Clone)]
pub(in crate::mqtt) struct Credentials(pub(in crate::mqtt) Arc<CertifiedKey>);

impl Pki {
    pub(in crate::mqtt) fn new() -> Self {
        let pki = Self { dir: TempDir::new().unwrap(), ca: ca("Test CA", BasicConstraints::Unconstrained) };
        pki.write("ca.pem", &pki.ca.pem());
        pki.write_server("gateway-1");
        pki.revoke(&[]);
        pki
    }

    pub(in crate::mqtt) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(in crate::mqtt) fn write(&self, file: &str, content: &str) {
        let temporary = self.path("new");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.path(file)).unwrap();
    }

    pub(in crate::mqtt) fn write_server(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
        self.write("server.pem", &params.signed_by(&key, &self.ca).unwrap().pem());
        self.write("server-key.pem", &key.serialize_pem());
    }

    /// Writes the list of the CA, and of `more` authorities.
    pub(in crate::mqtt) fn revoke_with(&self, serials: &[&[u8]], more: &[(&Ca, &[&[u8]])]) {
        let mut text = crl(&self.ca, serials);
        for (ca, serials) in more {
            text.push_str(&crl(ca, serials));
        }
        self.write("ca-crl.pem", &text);
    }

    pub(in crate::mqtt) fn revoke(&self, serials: &[&[u8]]) {
        self.revoke_with(serials, &[]);
    }

    pub(in crate::mqtt) fn config(&self) -> TlsConfig {
        TlsConfig {
            certificate: self.path("server.pem"),
            key: self.path("server-key.pem"),
            client_ca: self.path("ca.pem"),
            crl: Some(self.path("ca-crl.pem")),
            ..TlsConfig::default()
        }
    }

    /// A good device.
    pub(in crate::mqtt) fn device(&self, name: &str) -> Credentials {
        issue(&leaf(name), &self.ca, &[])
    }
}

pub(in crate::mqtt) fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

pub(in crate::mqtt) fn ca_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, -60, 60);
    params
}

pub(in crate::mqtt) fn ca(name: &str, constraints: BasicConstraints) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name, constraints), KeyPair::generate().unwrap()).unwrap()
}

/// An ordinary device's certificate.
pub(in crate::mqtt) fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    valid(&mut params, -60, 60);
    params
}

/// Valid from and to so many minutes from now.
pub(in crate::mqtt) fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now + Duration::minutes(from);
    params.not_after = now + Duration::minutes(to);
}

pub(in crate::mqtt) fn issue(params: &CertificateParams, ca: &Ca, intermediates: &[&Ca]) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let mut chain = vec![params.signed_by(&key, ca).unwrap().der().clone()];
    chain.extend(intermediates.iter().map(|ca| ca.der().clone()));
    credentials(chain, &key)
}

pub(in crate::mqtt) fn credentials(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Credentials {
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    signing(chain, rustls::crypto::ring::sign::any_supported_type(&der).unwrap())
}

pub(in crate::mqtt) fn signing(chain: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Credentials {
    Credentials(Arc::new(CertifiedKey::new(chain, key)))
}

pub(in crate::mqtt) fn crl(ca: &Ca, serials: &[&[u8]]) -> String {
    let now = OffsetDateTime::now_utc();
    crl_until(ca, serials, 1, now + Duration::days(1))
}

pub(in crate::mqtt) fn crl_until(ca: &Ca, serials: &[&[u8]], number: u64, next_update: OffsetDateTime) -> String {
    let this_update = next_update - Duration::days(10);
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: this_update,
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update,
        next_update,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(ca).unwrap().pem().unwrap()
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Clients in these tests are asked about, not asked: they accept every server.
#[derive(Debug)]
struct AnyServer(rustls::crypto::CryptoProvider);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub(in crate::mqtt) type Client = TlsStream<TcpStream>;

/// Connects with one TLS version; without credentials the client shows no certificate.
pub(in crate::mqtt) async fn connect(
    address: SocketAddr,
    credentials: Option<Credentials>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<Client> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(credentials)),
        None => builder.with_no_client_auth(),
    };
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), socket).await
}

/// Sends a byte to the echoing listener and waits for it: only then has the gateway let the client in.
pub(in crate::mqtt) async fn echo(client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> std::io::Result<()> {
    client.write_all(b"x").await?;
    client.flush().await?;
    let mut byte = [0];
    client.read_exact(&mut byte).await?;
    Ok(())
}
