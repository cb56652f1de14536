//! What is in a PEM file of certificates, signing requests and revocation lists, in words.

use std::path::Path;

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::{CertsError, files};
use crate::config::TlsConfig;
use crate::mqtt::identity::{Certificate, hexadecimal, printable};

/// Longest text of one field.
const MAX_TEXT: usize = 512;

/// Most serial numbers of a list that are written out.
const MAX_SERIALS: usize = 1_000;

/// One object of a file: what it is, and its fields in the order in which they are best read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `certificate`, `signing request`, `revocation list` or `private key`.
    pub kind: &'static str,
    /// Names and values. Private keys have none.
    pub fields: Vec<(&'static str, String)>,
}

/// Describes all objects of a PEM file.
pub fn describe(file: &Path) -> Result<Vec<Description>, CertsError> {
    let bytes = files::read(file)?;
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let (kind, der) = section.map_err(|error| CertsError::damaged(file, error))?;
        let described = match kind {
            SectionKind::Certificate => certificate(&der),
            SectionKind::Csr => request(&der),
            SectionKind::Crl => list(&der),
            _ => Some(Description { kind: "private key", fields: Vec::new() }),
        };
        found.push(described.ok_or_else(|| CertsError::damaged(file, "one of its objects is damaged"))?);
    }
    if found.is_empty() {
        return Err(CertsError::damaged(file, "there is no PEM object in it"));
    }
    Ok(found)
}

fn certificate(der: &[u8]) -> Option<Description> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let identity = match Certificate::read(&[CertificateDer::from(der)], &TlsConfig::default().identity) {
        Ok(read) => read.name.to_string(),
        Err(error) => format!("none: {error}"),
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter().map(name).collect::<Vec<_>>().join(", "));
    let validity = certificate.validity();
    let mut fields = vec![
        ("subject", text(&certificate.subject().to_string())),
        ("identity", text(&identity)),
        ("names", text(&names.unwrap_or_default())),
        ("issuer", text(&certificate.issuer().to_string())),
        ("serial", hexadecimal(certificate.raw_serial())),
        ("not before", date(validity.not_before)),
        ("not after", date(validity.not_after)),
        ("use", uses(&certificate)),
        ("sha256", hexadecimal_all(digest(&SHA256, der).as_ref())),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    Some(Description { kind: "certificate", fields })
}

fn uses(certificate: &X509Certificate<'_>) -> String {
    let mut uses = Vec::new();
    if certificate.is_ca() {
        uses.push("authority");
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        uses.extend(usage.value.server_auth.then_some("server"));
        uses.extend(usage.value.client_auth.then_some("client"));
    }
    uses.join(", ")
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(dns) => format!("DNS:{dns}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => format!("IP:{}", std::net::Ipv4Addr::from(v4)),
            (_, Ok(v6)) => format!("IP:{}", std::net::Ipv6Addr::from(v6)),
            _ => "IP:damaged".to_owned(),
        },
        other => format!("{other:?}"),
    }
}

fn request(der: &[u8]) -> Option<Description> {
    let (_, request) = X509CertificationRequest::from_der(der).ok()?;
    let proved = if request.verify_signature().is_ok() { "good" } else { "bad" };
    let subject = text(&request.certification_request_info.subject.to_string());
    Some(Description { kind: "signing request", fields: vec![("subject", subject), ("signature", proved.to_owned())] })
}

fn list(der: &[u8]) -> Option<Description> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let revoked: Vec<String> =
        list.iter_revoked_certificates().take(MAX_SERIALS).map(|entry| hexadecimal(entry.raw_serial())).collect();
    let fields = vec![
        ("issuer", text(&list.issuer().to_string())),
        ("number", list.crl_number().map(ToString::to_string).unwrap_or_default()),
        ("this update", date(list.last_update())),
        ("next update", list.next_update().map(date).unwrap_or_default()),
        ("revoked", list.iter_revoked_certificates().count().to_string()),
        ("serials", revoked.join(", ")),
    ];
    Some(Description { kind: "revocation list", fields })
}

fn text(text: &str) -> String {
    printable(text, MAX_TEXT)
}

fn date(time: ASN1Time) -> String {
    let time = OffsetDateTime::from_unix_timestamp(time.timestamp()).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "out of range".to_owned())
}

fn hexadecimal_all(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
