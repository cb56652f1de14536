//! Decides in the handshake whether a client certificate is good: chain, usage, revocation, and a name.
//!
//! Everything about chains is webpki's. Added here: a bound on what a client may send, and the rule that a
//! certificate without a usable identity is refused while the client can still be told so.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use thiserror::Error as ThisError;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::config::IdentitySource;
use crate::mqtt::identity::{Certificate, hexadecimal, printable};

/// Most certificates in a client's chain, its own included.
pub(super) const MAX_CHAIN: usize = 8;

/// Most bytes in a client's chain. It is kept for the life of the connection.
pub(super) const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// Longest subject of a refused certificate in the log.
const MAX_CLAIM_CHARS: usize = 128;

/// A chain over [`MAX_CHAIN`] or [`MAX_CHAIN_BYTES`].
#[derive(Debug, ThisError)]
#[error("the chain has {certificates} certificates in {bytes} bytes, more than {MAX_CHAIN} or {MAX_CHAIN_BYTES}")]
pub(super) struct ChainTooLong {
    certificates: usize,
    bytes: usize,
}

/// The verifier of one listener and one state of its files.
#[derive(Debug)]
pub(super) struct DeviceVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    order: Vec<IdentitySource>,
}

impl DeviceVerifier {
    /// Builds the verifier.
    ///
    /// With a revocation list, *every* certificate of the chain must be covered by one: an authority without a
    /// list could otherwise not revoke anything, and nobody would notice. Lists past their next update still
    /// count, because a gateway that works alone must not lock its whole fleet out when a file is late.
    pub(super) fn new(
        roots: RootCertStore,
        crls: Vec<CertificateRevocationListDer<'static>>,
        order: Vec<IdentitySource>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(crls).build()?;
        Ok(Self { chains, order })
    }

    /// The identity of a chain that was verified before.
    pub(super) fn certificate(&self, chain: &[CertificateDer<'_>]) -> Result<Certificate, Error> {
        Certificate::read(chain, &self.order).map_err(other)
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn check_size(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
    let certificates = intermediates.len().saturating_add(1);
    let bytes = intermediates.iter().fold(end_entity.len(), |sum, der| sum.saturating_add(der.len()));
    if certificates > MAX_CHAIN || bytes > MAX_CHAIN_BYTES {
        return Err(other(ChainTooLong { certificates, bytes }));
    }
    Ok(())
}

/// Subject and serial number that a certificate claims, printable.
fn claimed(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return String::new() };
    let subject = printable(&certificate.subject().to_string(), MAX_CLAIM_CHARS);
    format!("{subject} {}", hexadecimal(certificate.raw_serial().get(..20).unwrap_or_default()))
}

impl ClientCertVerifier for DeviceVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = check_size(end_entity, intermediates)
            .and_then(|()| self.chains.verify_client_cert(end_entity, intermediates, now))
            .and_then(|verified| self.certificate(std::slice::from_ref(end_entity)).map(|_| verified));
        if let Err(error) = &verified
            && tracing::enabled!(tracing::Level::DEBUG)
        {
            // What an unverified certificate says of itself is only a claim.
            tracing::debug!(claimed = claimed(end_entity), %error, "certificate refused");
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
