//! Why a handshake ended without a connection, as a closed set for metrics and a text for the log.

use std::io;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use rustls::{CertificateError, Error};

use super::verifier::ChainTooLong;
use crate::mqtt::identity::IdentityError;

/// The reason of a refused handshake; the label of `causeway_tls_handshakes_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the documentation; docs/certificates.md explains each")]
pub enum RefusalReason {
    NoCertificate,
    Expired,
    NotYetValid,
    Revoked,
    RevocationUnknown,
    UnknownIssuer,
    WrongUsage,
    BadSignature,
    Unsupported,
    Constraint,
    NoIdentity,
    ChainTooLong,
    Malformed,
    NotTls,
    Version,
    PeerAlert,
    PeerClosed,
    Timeout,
    Evicted,
    Other,
}

impl RefusalReason {
    /// Sorts an error of the handshake.
    pub fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => of_tls(error),
            None => Self::PeerClosed,
        }
    }

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongUsage => "wrong_usage",
            Self::BadSignature => "bad_signature",
            Self::Unsupported => "unsupported",
            Self::Constraint => "constraint",
            Self::NoIdentity => "no_identity",
            Self::ChainTooLong => "chain_too_long",
            Self::Malformed => "malformed",
            Self::NotTls => "not_tls",
            Self::Version => "version",
            Self::PeerAlert => "peer_alert",
            Self::PeerClosed => "peer_closed",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
            Self::Other => "other",
        }
    }
}

impl EncodeLabelValue for RefusalReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

fn of_tls(error: &Error) -> RefusalReason {
    match error {
        Error::NoCertificatesPresented => RefusalReason::NoCertificate,
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::InvalidCertRevocationList(_) => RefusalReason::RevocationUnknown,
        Error::PeerIncompatible(rustls::PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            RefusalReason::Unsupported
        }
        Error::PeerIncompatible(_) => RefusalReason::Version,
        Error::AlertReceived(_) => RefusalReason::PeerAlert,
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => RefusalReason::NotTls,
        Error::PeerMisbehaved(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
            RefusalReason::Unsupported
        }
        _ => RefusalReason::Other,
    }
}

fn of_certificate(error: &CertificateError) -> RefusalReason {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => RefusalReason::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => RefusalReason::NotYetValid,
        E::Revoked => RefusalReason::Revoked,
        E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            RefusalReason::RevocationUnknown
        }
        E::UnknownIssuer => RefusalReason::UnknownIssuer,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => RefusalReason::WrongUsage,
        E::BadSignature => RefusalReason::BadSignature,
        E::UnhandledCriticalExtension
        | E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => RefusalReason::Unsupported,
        E::BadEncoding => RefusalReason::Malformed,
        E::Other(other) if other.0.is::<IdentityError>() => RefusalReason::NoIdentity,
        E::Other(other) if other.0.is::<ChainTooLong>() => RefusalReason::ChainTooLong,
        E::Other(other) => of_chain(&other.0.to_string()),
        _ => RefusalReason::Other,
    }
}

/// webpki's own error type is not ours to name: rustls hands it on as an opaque cause, whose text is the
/// variant's name.
fn of_chain(variant: &str) -> RefusalReason {
    match variant {
        "UnsupportedCriticalExtension" | "UnsupportedCertVersion" | "UnsupportedNameType" => RefusalReason::Unsupported,
        "CaUsedAsEndEntity" | "EndEntityUsedAsCa" | "EmptyEkuExtension" => RefusalReason::WrongUsage,
        "NameConstraintViolation" | "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => {
            RefusalReason::Constraint
        }
        name if name.starts_with("Maximum") => RefusalReason::Constraint,
        name if name.starts_with("Malformed") || name.ends_with("Invalid") || name.starts_with("Invalid") => {
            RefusalReason::Malformed
        }
        _ => RefusalReason::Other,
    }
}
