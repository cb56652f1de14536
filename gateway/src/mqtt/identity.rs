//! Who is at the other end: the certificate's name, or what a plain listener takes everybody for.
//!
//! [`Certificate::read`] is total on hostile input and strict: a certificate from which no single,
//! printable name follows is an error, never a guess. Whether the certificate may be trusted is the
//! question of [`super::tls`]; whether the name may connect is the question of the device registry.

use std::net::SocketAddr;
use std::sync::Arc;

use bytestring::ByteString;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::config::{CLIENT_ID, IdentitySource, PlainIdentity};

/// Longest identity in bytes; a URI with two UUIDs fits four times.
pub const MAX_NAME_BYTES: usize = 256;

/// Longest text of an issuer that is kept and logged.
const MAX_ISSUER_CHARS: usize = 256;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// Who it is.
    pub identity: Identity,
}

/// Who a peer is, and how that is known.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A client certificate that was verified in the handshake.
    Certificate(Arc<Certificate>),
    /// A plain listener's rule; nobody verified anything.
    Plain(PlainIdentity),
}

impl Identity {
    /// The identity's name. `client_id` is only used by a plain listener's rule that asks for it.
    pub fn name(&self, client_id: &str) -> Result<ByteString, IdentityError> {
        match self {
            Self::Certificate(certificate) => Ok(certificate.name.clone()),
            Self::Plain(PlainIdentity::Fixed(name)) => checked(name),
            Self::Plain(PlainIdentity::ClientId(text)) => checked(&text.replace(CLIENT_ID, client_id)),
        }
    }

    /// The certificate, if there is one.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::Plain(_) => None,
        }
    }
}

/// What is kept of a client certificate for the life of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The identity: the first configured source that the certificate has.
    pub name: ByteString,
    /// The serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// The issuer's distinguished name, printable and shortened.
    pub issuer: String,
    /// The last moment of validity, in Unix milliseconds.
    pub not_after_ms: u64,
    /// The certificate and the intermediates that came with it, so that [`super::tls::Tls::standing`]
    /// can ask the same question again as the handshake did.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Why no identity follows from a certificate, or from a plain listener's rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The bytes are not one X.509 certificate.
    #[error("the certificate is not valid DER")]
    Malformed,
    /// None of the configured names is there.
    #[error("the certificate has none of the names {0}")]
    Missing(String),
    /// There is more than one name where one device has one.
    #[error("the certificate has {count} different {source_name} names; which one is the device is not clear")]
    Ambiguous {
        /// Which kind of name.
        source_name: &'static str,
        /// How many of them.
        count: usize,
    },
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error("the name has {0} bytes, more than {MAX_NAME_BYTES}")]
    TooLong(usize),
    /// The name has a character that could deceive a reader or be taken for a wildcard.
    #[error("the name has the character U+{:04X}", *.0 as u32)]
    Character(char),
    /// The name's text is in an encoding that is not supported.
    #[error("the common name is not in a supported text encoding")]
    Encoding,
}

impl Certificate {
    /// Reads the identity out of `chain`, whose first entry is the device's own certificate.
    pub fn read(chain: &[CertificateDer<'_>], order: &[IdentitySource]) -> Result<Self, IdentityError> {
        let der = chain.first().ok_or(IdentityError::Malformed)?;
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
        if !rest.is_empty() {
            return Err(IdentityError::Malformed);
        }
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        Ok(Self {
            name: name(&parsed, order)?,
            serial: hexadecimal(parsed.raw_serial()),
            issuer: printable(&parsed.issuer().to_string(), MAX_ISSUER_CHARS),
            not_after_ms: seconds.saturating_mul(1_000),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
        })
    }
}

/// The name of the first source in `order` that the certificate has.
fn name(certificate: &X509Certificate<'_>, order: &[IdentitySource]) -> Result<ByteString, IdentityError> {
    for source in order {
        let mut names = names(certificate, *source)?;
        names.sort_unstable();
        names.dedup();
        match names.as_slice() {
            [] => {}
            [name] => return checked(name),
            more => return Err(IdentityError::Ambiguous { source_name: label(*source), count: more.len() }),
        }
    }
    let sources: Vec<&str> = order.iter().map(|source| label(*source)).collect();
    Err(IdentityError::Missing(sources.join(", ")))
}

fn names<'a>(certificate: &'a X509Certificate<'_>, source: IdentitySource) -> Result<Vec<&'a str>, IdentityError> {
    if source == IdentitySource::Cn {
        let subject = certificate.subject();
        return subject.iter_common_name().map(|name| name.as_str().map_err(|_| IdentityError::Encoding)).collect();
    }
    let extension = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
    let Some(extension) = extension else { return Ok(Vec::new()) };
    let pick = |name: &'a GeneralName<'_>| match (name, source) {
        (GeneralName::URI(uri), IdentitySource::Uri) => Some(*uri),
        (GeneralName::DNSName(dns), IdentitySource::Dns) => Some(*dns),
        _ => None,
    };
    Ok(extension.value.general_names.iter().filter_map(pick).collect())
}

fn label(source: IdentitySource) -> &'static str {
    match source {
        IdentitySource::Uri => "URI",
        IdentitySource::Dns => "DNS",
        IdentitySource::Cn => "common",
    }
}

/// Accepts a name that is short, visible and free of MQTT's wildcards.
///
/// The same text is compared, logged and written into policies and topics, so what a person reads
/// must be what the machine compares.
fn checked(name: &str) -> Result<ByteString, IdentityError> {
    if name.trim().is_empty() {
        return Err(IdentityError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(IdentityError::TooLong(name.len()));
    }
    let edge = |c: &char| c.is_whitespace() && (name.starts_with(*c) || name.ends_with(*c));
    match name.chars().find(|c| deceptive(*c) || matches!(c, '+' | '#' | '*') || edge(c)) {
        Some(character) => Err(IdentityError::Character(character)),
        None => Ok(ByteString::from(name)),
    }
}

/// Control characters, line separators, and the invisible or direction-changing format characters.
fn deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}')
}

/// At most `limit` characters of `text`, with every deceptive character replaced.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if deceptive(c) { '?' } else { c }).collect()
}

/// A serial number as `openssl x509 -serial` prints it, in lower case.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or_else(|| bytes.len().saturating_sub(1));
    bytes.iter().skip(start).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
