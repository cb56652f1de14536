//! Certificates that no sensible authority makes, and clients that show them.

use super::named;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ClientConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// An authority, or one between an authority and its devices.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// What a client shows, and how it signs; the two need not belong together.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<CertifiedKey>);

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The contents of an authority's certificate.
#[must_use]
pub fn authority_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, -60, 60);
    params
}

/// The contents of an ordinary device's certificate.
#[must_use]
pub fn device(name: &str) -> CertificateParams {
    let mut params = super::leaf(name, ExtendedKeyUsagePurpose::ClientAuth);
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

/// Makes a certificate valid from and to so many minutes from now.
pub fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now + time::Duration::minutes(from);
    params.not_after = now + time::Duration::minutes(to);
}

/// An authority below another one.
#[must_use]
pub fn intermediate(params: CertificateParams, parent: &Authority) -> Authority {
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), parent).unwrap()
}

/// A certificate of any contents with what is shown beside it.
#[must_use]
pub fn issue(params: &CertificateParams, authority: &Authority, beside: &[&Authority]) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let mut chain = vec![params.signed_by(&key, authority).unwrap().der().clone()];
    chain.extend(beside.iter().map(|authority| authority.der().clone()));
    credentials(chain, &key)
}

/// Any chain, signed for with any key.
#[must_use]
pub fn credentials(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Credentials {
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    signing(chain, rustls::crypto::ring::sign::any_supported_type(&der).unwrap())
}

/// Any chain, signed for in any way.
#[must_use]
pub fn signing(chain: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Credentials {
    Credentials(Arc::new(CertifiedKey::new(chain, key)))
}

/// A client of one TLS version; without credentials it shows no certificate.
#[must_use]
pub fn client(
    authority: &Path,
    own: Option<Credentials>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(super::roots(authority));
    Arc::new(match own {
        Some(credentials) => builder.with_client_cert_resolver(Arc::new(credentials)),
        None => builder.with_no_client_auth(),
    })
}

/// The revocation list of an authority, as PEM.
#[must_use]
pub fn revocation_list(authority: &Authority, serials: &[&[u8]]) -> String {
    let now = time::OffsetDateTime::now_utc();
    let this_update = now - time::Duration::days(1);
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: this_update,
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update,
        next_update: now + time::Duration::days(1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).unwrap().pem().unwrap()
}
