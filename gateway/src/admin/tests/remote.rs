//! HTTPS: certificates and tokens.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Trusts the server and, with a name, presents a certificate of its own.
    fn client(&self, name: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// A gateway with an operator `anna` by certificate and a program `ci` by the token `abc`, both viewers.
async fn start(pki: &Pki) -> (Fixture, std::net::SocketAddr, CancellationToken) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let (certificate, key) = pki.issue("edge-1", ExtendedKeyUsagePurpose::ServerAuth);
    let certificate = file("server.pem", certificate.pem());
    let key = file("server-key.pem", key.serialize_pem());
    let authority = file("ca.pem", pki.issuer.pem());
    let fixture = fixture_with(&format!(
        "{CONFIG}
admin:
  https:
    bind: 127.0.0.1:0
    certificate: {certificate}
    key: {key}
    client_ca: {authority}
    users: {{anna: viewer}}
    tokens: {{ci: {{role: viewer, sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}}}}
    max_failures_per_minute: 2
"
    ));
    let https = Https::bind(fixture.context.config.admin.https.as_ref().unwrap()).await.unwrap();
    let address = https.address().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(https.run(fixture.context.clone(), stop.clone()));
    (fixture, address, stop)
}

async fn get(client: &TlsConnector, address: std::net::SocketAddr, token: Option<&str>) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET /v1/status HTTP/1.1\r\nhost: x\r\n{token}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).chars().take(12).collect()
}

#[tokio::test]
async fn a_certificate_or_a_token_lets_an_operator_in() {
    let pki = Pki::new();
    let (_fixture, address, stop) = start(&pki).await;
    assert_eq!(get(&pki.client(Some("anna")), address, None).await, "HTTP/1.1 200");
    assert_eq!(get(&pki.client(Some("mallory")), address, None).await, "HTTP/1.1 403");
    assert_eq!(get(&pki.client(None), address, Some("abc")).await, "HTTP/1.1 200");
    stop.cancel();
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let pki = Pki::new();
    let (_fixture, address, stop) = start(&pki).await;
    assert_eq!(get(&pki.client(None), address, None).await, "HTTP/1.1 401");
    assert_eq!(get(&pki.client(None), address, Some("wrong")).await, "HTTP/1.1 401");
    assert_eq!(get(&pki.client(None), address, Some("abc")).await, "HTTP/1.1 429");
    // Certificates are not guessed, so their owners are not locked out.
    assert_eq!(get(&pki.client(Some("anna")), address, None).await, "HTTP/1.1 200");
    stop.cancel();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
    let path = |name: &str| folder.path().join(name);
    let config = crate::config::HttpsConfig {
        certificate: path("server.pem"),
        key: path("key.pem"),
        client_ca: Some(path("ca.pem")),
        ..Default::default()
    };
    assert_eq!(load_https(&config).unwrap_err().len(), 3);
}
