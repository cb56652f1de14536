//! HTTPS for operators on other machines: a client certificate, or a bearer token, or either.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::{Extension, Router};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Context;
use super::caller::{Access, Caller};
use super::gate;
use super::tokens::Tokens;
use crate::config::{HttpsConfig, Problem};
use crate::http::serve;

/// A port that is open, with all that is needed to serve it.
pub struct Https {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    tokens: Arc<Tokens>,
    config: HttpsConfig,
}

impl Https {
    /// Reads the certificates and opens the port.
    pub async fn bind(config: &HttpsConfig) -> Result<Self, Vec<Problem>> {
        let server = load(config)?;
        let listener = TcpListener::bind(config.bind).await.map_err(|error| {
            let remedy = "choose another `admin.https.bind`, or stop what listens there";
            vec![Problem {
                key: "admin.https.bind".to_owned(),
                ..problem(Path::new(""), format!("{}: {error}", config.bind), remedy)
            }]
        })?;
        let tokens = Arc::new(Tokens::new(config));
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(server)), tokens, config: config.clone() })
    }

    /// The address that is listened on.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    pub(super) async fn run(self, context: Context, stop: CancellationToken) {
        let router = gate::router(&context);
        let (tokens, config) = (self.tokens, Arc::new(self.config));
        serve(self.listener, context.limits(), stop, |stream| {
            let tokens = Arc::clone(&tokens);
            open(stream, self.acceptor.clone(), tokens, Arc::clone(&config), router.clone())
        })
        .await;
    }
}

/// Reads what the port needs; `causeway check` calls it too.
pub fn load(config: &HttpsConfig) -> Result<ServerConfig, Vec<Problem>> {
    let mut problems = Vec::new();
    let chain = certificates(&config.certificate, &mut problems);
    let authorities = config.client_ca.as_ref().map(|file| (file, certificates(file, &mut problems)));
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| {
        problems.push(problem(
            &config.key,
            format!("no private key can be read from it: {error}"),
            "put a PEM private key there",
        ));
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let (Ok(key), Ok(builder), true) = (key, builder, problems.is_empty()) else { return Err(problems) };
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some((file, authorities)) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(authorities);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            // Without a certificate a token is asked for; there may be none that is known.
            let verifier = verifier.allow_unauthenticated().build();
            let wrong = |error| {
                vec![problem(file, format!("{error}"), "put the certificates of your operators' authority there")]
            };
            builder.with_client_cert_verifier(verifier.map_err(wrong)?)
        }
    };
    let wrong = |error: rustls::Error| {
        vec![problem(&config.key, error.to_string(), "put the key and the certificate that were made together")]
    };
    let mut server = builder.with_single_cert(chain, key).map_err(wrong)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

fn certificates(file: &Path, problems: &mut Vec<Problem>) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(read) if !read.is_empty() => read,
        Ok(_) => {
            problems.push(problem(file, "there is no certificate in it".to_owned(), "put PEM certificates there"));
            Vec::new()
        }
        Err(error) => {
            let message = format!("no certificate can be read from it: {error}");
            problems.push(problem(file, message, "check the path and its permissions"));
            Vec::new()
        }
    }
}

fn problem(file: &Path, message: String, remedy: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        key: String::new(),
        value: String::new(),
        message,
        remedy: remedy.to_owned(),
    }
}

async fn open(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    tokens: Arc<Tokens>,
    config: Arc<HttpsConfig>,
    router: Router,
) -> Option<(TlsStream<TcpStream>, Router)> {
    let address = stream.peer_addr().ok()?.ip();
    let stream = acceptor.accept(stream).await.ok()?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let access = access(certificate, tokens, &config, address);
    Some((stream, router.layer(Extension(access))))
}

/// A certificate outweighs a token. Its owner without an entry has no role, and so nothing is permitted.
fn access(
    certificate: Option<&CertificateDer<'_>>,
    tokens: Arc<Tokens>,
    config: &HttpsConfig,
    address: IpAddr,
) -> Access {
    match certificate.and_then(common_name) {
        Some(name) => {
            let roles = config.users.get(&name).copied().into_iter().collect();
            Access::Proven(Caller { name, roles, via: "certificate" })
        }
        None => Access::Token { tokens, address },
    }
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}
