//! What may be asked of the authority, and the certificate that follows from it.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, RevocationReason, SanType, SerialNumber, SignatureAlgorithm,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::DnsName;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::CertsError;
use crate::mqtt::identity::printable;

/// How far certificates reach back, for devices whose clock is behind.
const BACK: Duration = Duration::hours(1);

/// Longest common name (X.520, ub-common-name).
const MAX_NAME: usize = 64;

/// The kind of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KeyKind {
    /// ECDSA on P-256: small, fast, understood by every TLS stack.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    pub(super) fn generate(self) -> Result<KeyPair, CertsError> {
        let algorithm: &'static SignatureAlgorithm = match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// Why a certificate is revoked (RFC 5280 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No reason is given.
    #[default]
    Unspecified,
    /// Somebody else may have the private key.
    KeyCompromise,
    /// A newer certificate takes its place.
    Superseded,
    /// The device is out of use.
    CessationOfOperation,
}

impl Reason {
    /// `None` for "unspecified", which RFC 5280 asks to leave out.
    pub(super) fn code(self) -> Option<RevocationReason> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Self::Superseded => Some(RevocationReason::Superseded),
            Self::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        }
    }
}

/// A device's certificate. Its identity is `name`, unless a URI or DNS name takes precedence.
#[derive(Debug, Clone)]
pub struct DeviceRequest {
    /// The common name, and the stem of the files.
    pub name: String,
    /// A URI as subject alternative name, which is the identity in the default order.
    pub uri: Option<String>,
    /// A DNS name as subject alternative name, which is the identity when there is no URI.
    pub dns: Option<String>,
    /// How long it is valid.
    pub days: u32,
    /// The kind of key, if one is made.
    pub key: KeyKind,
    /// Replace the files that are there.
    pub force: bool,
}

impl DeviceRequest {
    /// A device that is known by its common name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), uri: None, dns: None, days: 825, key: KeyKind::P256, force: false }
    }

    pub(super) fn params(&self) -> Result<CertificateParams, CertsError> {
        check_name(&self.name)?;
        let mut params = leaf(&self.name, self.days, ExtendedKeyUsagePurpose::ClientAuth);
        if let Some(uri) = &self.uri {
            if !uri.contains(':') {
                return Err(wrong(uri, "is not a URI: it has no scheme, as in `urn:example:d1`"));
            }
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        if let Some(dns) = &self.dns {
            params.subject_alt_names.push(subject_alt_name(dns)?);
        }
        Ok(params)
    }
}

/// The gateway's own certificate.
#[derive(Debug, Clone)]
pub struct ServerRequest {
    /// The common name, which is the default of the gateway's id.
    pub name: String,
    /// DNS names and IP addresses that devices use, besides `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
    /// How long it is valid.
    pub days: u32,
    /// The kind of key.
    pub key: KeyKind,
}

impl Default for ServerRequest {
    fn default() -> Self {
        Self { name: "causeway".to_owned(), names: Vec::new(), days: 825, key: KeyKind::P256 }
    }
}

impl ServerRequest {
    pub(super) fn params(&self) -> Result<CertificateParams, CertsError> {
        check_name(&self.name)?;
        let mut params = leaf(&self.name, self.days, ExtendedKeyUsagePurpose::ServerAuth);
        let local = ["localhost", "127.0.0.1", "::1"];
        for name in local.into_iter().chain(self.names.iter().map(String::as_str)) {
            let name = subject_alt_name(name)?;
            if !params.subject_alt_names.contains(&name) {
                params.subject_alt_names.push(name);
            }
        }
        Ok(params)
    }
}

/// The authority's own certificate.
pub(super) fn authority(name: Option<&str>, days: u32) -> Result<CertificateParams, CertsError> {
    let name = match name {
        Some(name) if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) => {
            return Err(wrong(name, "is not 1 to 64 printable characters"));
        }
        Some(name) => name.to_owned(),
        None => {
            let mut unique = [0; 4];
            fill(&mut unique)?;
            format!("Causeway CA {:08x}", u32::from_be_bytes(unique))
        }
    };
    let mut params = base(&name, days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(name: &str, days: u32, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = base(name, days);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn base(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now.saturating_sub(BACK);
    params.not_after = now.saturating_add(Duration::days(i64::from(days)));
    params
}

/// A new serial number: 16 random bytes, positive and without leading zeros.
pub(super) fn serial() -> Result<SerialNumber, CertsError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), CertsError> {
    SystemRandom::new().fill(bytes).map_err(|_| CertsError::Random)
}

fn subject_alt_name(name: &str) -> Result<SanType, CertsError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    DnsName::try_from(name).map_err(|_| wrong(name, "is neither a DNS name nor an IP address"))?;
    Ok(SanType::DnsName(name.try_into()?))
}

/// A name that is a common name, a file's stem and a topic level at once.
pub(super) fn check_name(name: &str) -> Result<(), CertsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(wrong(name, "is not 1 to 64 letters, digits, `.`, `_` and `-`"));
    }
    if name.starts_with(['.', '-']) {
        return Err(wrong(name, "starts with `.` or `-`"));
    }
    Ok(())
}

pub(super) fn wrong(name: &str, why: &'static str) -> CertsError {
    CertsError::Name { name: printable(name, MAX_NAME), why }
}
