//! Reads a listener's four files and makes a TLS configuration of them, or says everything that is wrong.
//!
//! Nothing here changes a running listener: [`super::Tls`] swaps the result in only when there is no problem.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::gateway_time::GatewayTime;
use super::revocation::Lists;
use super::verifier::DeviceVerifier;
use super::watch::{Stamp, stamps};
use crate::config::{Problem, TlsConfig};

/// Largest file that is read; a revocation list of a million serials fits.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// One good state of a listener's files.
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) verifier: Arc<DeviceVerifier>,
    /// Which state of the files this is.
    pub(super) stamps: Vec<Option<Stamp>>,
    /// The time that certificates are judged by as long as this state is the current one.
    pub(super) time: GatewayTime,
    /// What is not wrong enough to refuse: a list past its next update, a certificate that expired.
    pub(super) warnings: Vec<Problem>,
    /// The subject common name of the server certificate.
    pub(super) server_name: Option<String>,
    /// The end of the server certificate, in Unix milliseconds.
    pub(super) not_after_ms: u64,
    /// The earliest next update among the revocation lists, in Unix milliseconds.
    pub(super) next_update_ms: Option<u64>,
}

/// Reads and checks everything; all problems are reported, not only the first.
pub(super) fn load(config: &TlsConfig, time: &GatewayTime) -> Result<Loaded, Vec<Problem>> {
    // Looked at before the files are read: what changes meanwhile is seen as a change.
    let stamps = stamps(config);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut problems = Vec::new();
    let key = certified_key(config, &provider, &mut problems);
    let authorities = authorities(&config.client_ca, &mut problems);
    let lists = match &config.crl {
        Some(file) => revocation_lists(file, &authorities, &mut problems),
        None => Lists::default(),
    };
    let (Some(key), true) = (key, problems.is_empty()) else { return Err(problems) };
    let time = time.knowing(first_days(&key, &authorities).chain(lists.this_updates()));
    let mut warnings = lists.warnings(config.crl.as_deref(), time.now_seconds());
    let (server_name, not_after_ms) = server_facts(config, &key, time.now_seconds(), &mut warnings);
    let next_update_ms = lists.next_update_ms();
    let assembled = roots(&authorities)
        .and_then(|roots| {
            DeviceVerifier::new(roots, lists.into_der(), config.identity.clone(), Arc::clone(&provider))
                .map_err(|error| error.to_string())
        })
        .and_then(|verifier| assemble(key, Arc::new(verifier), provider, time.clone()));
    match assembled {
        Ok((server, verifier)) => Ok(Loaded {
            server: Arc::new(server),
            verifier,
            stamps,
            time,
            warnings,
            server_name,
            not_after_ms,
            next_update_ms,
        }),
        Err(message) => Err(vec![problem(&config.client_ca, message, "replace the file with a valid one")]),
    }
}

type Assembled = (ServerConfig, Arc<DeviceVerifier>);

fn assemble(
    key: CertifiedKey,
    verifier: Arc<DeviceVerifier>,
    provider: Arc<CryptoProvider>,
    time: GatewayTime,
) -> Result<Assembled, String> {
    let mut server = ServerConfig::builder_with_details(provider, Arc::new(time))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(Arc::clone(&verifier) as _)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    // No resumption: a resumed session does not show its certificate again, so a revoked device would come
    // back in. It also keeps session state and tickets out of memory.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;
    Ok((server, verifier))
}

fn certified_key(config: &TlsConfig, provider: &CryptoProvider, problems: &mut Vec<Problem>) -> Option<CertifiedKey> {
    let chain = certificates(&config.certificate, problems);
    let key = private_key(&config.key, provider, problems)?;
    let chain = chain.filter(|chain| !chain.is_empty())?;
    let key = CertifiedKey::new(chain, key);
    if let Err(error) = key.keys_match() {
        let message = format!("the key does not belong to the certificate {}: {error}", config.certificate.display());
        problems.push(problem(&config.key, message, "put the key and the certificate that were made together"));
        return None;
    }
    Some(key)
}

fn private_key(
    file: &Path,
    provider: &CryptoProvider,
    problems: &mut Vec<Problem>,
) -> Option<Arc<dyn rustls::sign::SigningKey>> {
    let bytes = read(file, problems)?;
    let remedy = "put an unencrypted PEM private key there: ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more";
    let key = match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => key,
        Err(error) => {
            problems.push(problem(file, format!("there is no private key in it: {error}"), remedy));
            return None;
        }
    };
    match provider.key_provider.load_private_key(key) {
        Ok(key) => Some(key),
        Err(error) => {
            problems.push(problem(file, format!("the private key cannot be used: {error}"), remedy));
            None
        }
    }
}

fn certificates(file: &Path, problems: &mut Vec<Problem>) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = read(file, problems)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let message = match found {
        Ok(found) if found.is_empty() => "there is no certificate in it".to_owned(),
        Ok(found) => match found.iter().position(|der| !is_certificate(der)) {
            None => return Some(found),
            Some(index) => format!("certificate {} in it is damaged", index.saturating_add(1)),
        },
        Err(error) => format!("it is not PEM: {error}"),
    };
    problems.push(problem(file, message, "put PEM certificates there (`-----BEGIN CERTIFICATE-----`)"));
    None
}

fn is_certificate(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// The authorities of the bundle. One that is none is a mistake that would otherwise show up as
/// "unknown issuer" at each device.
fn authorities(file: &Path, problems: &mut Vec<Problem>) -> Vec<CertificateDer<'static>> {
    let Some(found) = certificates(file, problems) else { return Vec::new() };
    for der in &found {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
        if !certificate.is_ca() {
            let message = format!("{} is not a certificate authority", certificate.subject());
            problems.push(problem(file, message, "put only certificates with CA:TRUE there"));
        }
    }
    found
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for der in authorities {
        roots.add(der.clone()).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn revocation_lists(file: &Path, authorities: &[CertificateDer<'_>], problems: &mut Vec<Problem>) -> Lists {
    let Some(bytes) = read(file, problems) else { return Lists::default() };
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Lists::check(file, found, authorities, problems),
        other => {
            let message = match other {
                Err(error) => format!("it is not PEM: {error}"),
                Ok(_) => "there is no revocation list in it".to_owned(),
            };
            problems.push(problem(file, message, "put PEM revocation lists there (`-----BEGIN X509 CRL-----`)"));
            Lists::default()
        }
    }
}

/// The first days of all our own certificates.
fn first_days<'a>(
    key: &'a CertifiedKey,
    authorities: &'a [CertificateDer<'static>],
) -> impl Iterator<Item = i64> + use<'a> {
    let certificates = key.cert.iter().chain(authorities);
    certificates.filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1.validity().not_before.timestamp()))
}

/// Name and end of the server certificate; what devices would refuse becomes a warning.
fn server_facts(
    config: &TlsConfig,
    key: &CertifiedKey,
    now: i64,
    warnings: &mut Vec<Problem>,
) -> (Option<String>, u64) {
    let Some(Ok((_, certificate))) = key.cert.first().map(|der| X509Certificate::from_der(der)) else {
        return (None, 0);
    };
    let validity = certificate.validity();
    let mut warn = |message: String| {
        warnings.push(problem(
            &config.certificate,
            message,
            "make a new server certificate; it is loaded without a restart",
        ));
    };
    if validity.not_after.timestamp() < now {
        warn(format!("the server certificate expired on {}; devices will refuse it", validity.not_after));
    } else if validity.not_before.timestamp() > now {
        warn(format!("the server certificate is only valid from {}; is the clock right?", validity.not_before));
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        warn("the server certificate is not made for servers; devices will refuse it".to_owned());
    }
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let end = u64::try_from(validity.not_after.timestamp()).unwrap_or(0).saturating_mul(1_000);
    (name.map(str::to_owned), end)
}

fn read(file: &Path, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = fs::File::open(file).and_then(|open| open.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    match result {
        Ok(length) if (length as u64) < MAX_FILE_BYTES => Some(bytes),
        Ok(_) => {
            problems.push(problem(file, format!("it is larger than {MAX_FILE_BYTES} bytes"), "is it the right file?"));
            None
        }
        Err(error) => {
            let remedy =
                "create the file (`causeway certs init` makes a complete set) or let the gateway's user read it";
            problems.push(problem(file, format!("it cannot be read: {error}"), remedy));
            None
        }
    }
}

pub(super) fn problem(file: &Path, message: impl Into<String>, remedy: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: None,
        key: String::new(),
        value: String::new(),
        message: message.into(),
        remedy: remedy.to_owned(),
    }
}
