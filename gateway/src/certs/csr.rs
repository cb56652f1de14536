//! Reads signing requests of devices that keep their private key to themselves.

use std::path::Path;

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::{CertsError, files};

/// Smallest RSA key that a signing request may bring: the TLS stack accepts no smaller one.
const MIN_RSA_BITS: usize = 2_048;

/// The key of a signing request whose sender has proved to hold it.
pub(super) fn public_key(file: &Path) -> Result<SubjectPublicKeyInfo, CertsError> {
    with(file, |csr| {
        let key = &csr.certification_request_info.subject_pki;
        if let Ok(PublicKey::RSA(rsa)) = key.parsed()
            && rsa.key_size() < MIN_RSA_BITS
        {
            return Err("its RSA key has less than 2048 bits; the gateway would refuse it");
        }
        csr.verify_signature().map_err(|_| "it is not signed with its own key")?;
        SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| "its kind of key is not supported")
    })
}

/// The common name that the request asks for.
pub(super) fn requested_name(file: &Path) -> Result<String, CertsError> {
    with(file, |csr| {
        let mut names = csr.certification_request_info.subject.iter_common_name();
        match (names.next().map(|name| name.as_str()), names.next()) {
            (Some(Ok(name)), None) => Ok(name.to_owned()),
            _ => Err("it does not have one common name; say which device it is with --name"),
        }
    })
}

fn with<T>(
    file: &Path,
    read: impl FnOnce(&X509CertificationRequest<'_>) -> Result<T, &'static str>,
) -> Result<T, CertsError> {
    let refuse = |message: &str| CertsError::Request { file: file.to_owned(), message: message.to_owned() };
    let der = CertificateSigningRequestDer::from_pem_slice(&files::read(file)?)
        .map_err(|_| refuse("it is not a PEM signing request (`-----BEGIN CERTIFICATE REQUEST-----`)"))?;
    match X509CertificationRequest::from_der(&der) {
        Ok(([], csr)) => read(&csr).map_err(refuse),
        _ => Err(refuse("it is not a valid signing request")),
    }
}
