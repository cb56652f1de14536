//! The authority: a directory with its key, its certificate, what it has issued and what it has revoked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, PublicKeyData, RevokedCertParams,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::files::{self, Readers};
use super::index::{Entry, INDEX, Index, Revocation};
use super::request::{self, DeviceRequest, Reason, ServerRequest};
use super::{CertsError, InitRequest, csr};
use crate::mqtt::identity::hexadecimal;

/// The authority's certificate: `client_ca` of a listener, `--cafile` of a client.
pub const CA: &str = "ca.pem";
/// The revocation list: `crl` of a listener.
pub const CRL: &str = "ca-crl.pem";
/// The gateway's certificate.
pub const SERVER: &str = "server.pem";
/// The gateway's private key.
pub const SERVER_KEY: &str = "server-key.pem";

const CA_KEY: &str = "ca-key.pem";

/// How long a revocation list is good. A gateway goes on using a late list and warns; see `docs/certificates.md`.
const CRL_DAYS: i64 = 365;

/// An authority in its directory, which no other process can change meanwhile.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    not_after: OffsetDateTime,
    index: Index,
    _lock: File,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its common name.
    pub name: String,
    /// Its serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, unless the device keeps its own.
    pub key: Option<PathBuf>,
    /// Its end.
    pub not_after: OffsetDateTime,
}

/// One certificate of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its common name.
    pub name: &'a str,
    /// Its serial number in lower-case hexadecimal digits.
    pub serial: &'a str,
    /// Its end.
    pub not_after: Option<OffsetDateTime>,
    /// Why it does not count any more, if it was revoked.
    pub revoked: Option<Reason>,
}

/// One certificate on the revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its common name.
    pub name: String,
    /// Its serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// It was on the list before.
    pub already: bool,
}

impl Authority {
    /// Makes a new authority with the gateway's certificate and an empty revocation list.
    pub fn init(directory: &Path, request: &InitRequest) -> Result<Self, CertsError> {
        fs::create_dir_all(directory).map_err(CertsError::io(directory))?;
        let lock = files::lock(directory)?;
        let made = [CA, CA_KEY, SERVER, SERVER_KEY, CRL, INDEX];
        if let Some(file) = made.into_iter().find(|file| !request.force && directory.join(file).exists()) {
            return Err(CertsError::Exists(directory.join(file)));
        }
        let mut params = request::authority(request.name.as_deref(), request.days)?;
        params.serial_number = Some(request::serial()?);
        // Refuse a bad name before the first file is written.
        request.server.params()?;
        let key = request.key.generate()?;
        let certificate = params.self_signed(&key)?;
        files::write(&directory.join(CA_KEY), key.serialize_pem().as_bytes(), Readers::Owner)?;
        files::write(&directory.join(CA), certificate.pem().as_bytes(), Readers::All)?;
        let mut authority = Self {
            directory: directory.to_owned(),
            certificate: certificate.der().clone(),
            not_after: params.not_after,
            issuer: Issuer::new(params, key),
            index: Index::default(),
            _lock: lock,
        };
        authority.publish()?;
        authority.issue_server(&request.server, true)?;
        Ok(authority)
    }

    /// Opens the authority of a directory.
    pub fn open(directory: &Path) -> Result<Self, CertsError> {
        let (ca, ca_key) = (directory.join(CA), directory.join(CA_KEY));
        if !ca.exists() || !ca_key.exists() {
            return Err(CertsError::NoAuthority(directory.to_owned()));
        }
        let lock = files::lock(directory)?;
        let text = String::from_utf8_lossy(&files::read(&ca_key)?).into_owned();
        let key = KeyPair::from_pem(&text).map_err(|error| CertsError::damaged(&ca_key, error))?;
        let certificate =
            CertificateDer::from_pem_slice(&files::read(&ca)?).map_err(|error| CertsError::damaged(&ca, error))?;
        let not_after = check_authority(&ca, &certificate, &key)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| CertsError::damaged(&ca, error))?;
        let index = Index::read(directory)?;
        Ok(Self { directory: directory.to_owned(), issuer, certificate, not_after, index, _lock: lock })
    }

    /// Makes a key and a certificate for a device.
    pub fn issue(&mut self, request: &DeviceRequest) -> Result<Issued, CertsError> {
        self.check_device_name(&request.name)?;
        let key = request.key.generate()?;
        let stem = request.name.clone();
        self.certify(request.params()?, &stem, &key, Some(&key), request.force)
    }

    /// Makes a key and a certificate for the gateway itself.
    pub fn issue_server(&mut self, request: &ServerRequest, force: bool) -> Result<Issued, CertsError> {
        let key = request.key.generate()?;
        self.certify(request.params()?, "server", &key, Some(&key), force)
    }

    /// Signs a device's own key. Of the request only the key counts: name, usage and lifetime are the operator's.
    pub fn sign(&mut self, csr: &Path, request: &DeviceRequest) -> Result<Issued, CertsError> {
        self.check_device_name(&request.name)?;
        let key = csr::public_key(csr)?;
        let stem = request.name.clone();
        self.certify(request.params()?, &stem, &key, None, request.force)
    }

    /// Revokes all certificates of a device, or one by its serial number or its file, and publishes the list.
    pub fn revoke(&mut self, target: &str, reason: Reason) -> Result<Vec<Revoked>, CertsError> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let serial = self.serial_of(target)?;
        let mut revoked = Vec::new();
        for entry in &mut self.index.issued {
            if !(entry.serial == serial || entry.name == target) {
                continue;
            }
            let already = entry.revoked.is_some();
            if !already {
                entry.revoked = Some(Revocation { at_s: now, reason });
            }
            revoked.push(Revoked { name: entry.name.clone(), serial: entry.serial.clone(), already });
        }
        if revoked.is_empty() {
            return Err(CertsError::NotIssued(target.to_owned()));
        }
        // Published even if all were revoked before: the last attempt may have died between index and list.
        self.publish()?;
        Ok(revoked)
    }

    /// Writes the revocation list, newer than the last one.
    pub fn publish(&mut self) -> Result<PathBuf, CertsError> {
        self.index.crl_number = self.index.crl_number.saturating_add(1);
        self.index.write(&self.directory)?;
        let now = OffsetDateTime::now_utc();
        let unexpired = self.index.issued.iter().filter(|entry| entry.not_after_s >= now.unix_timestamp());
        let list = CertificateRevocationListParams {
            this_update: now.saturating_sub(Duration::hours(1)),
            next_update: now.saturating_add(Duration::days(CRL_DAYS)),
            crl_number: SerialNumber::from(self.index.crl_number),
            issuing_distribution_point: None,
            revoked_certs: unexpired.filter_map(revoked_entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.directory.join(CRL);
        files::write(&file, list.signed_by(&self.issuer)?.pem()?.as_bytes(), Readers::All)?;
        Ok(file)
    }

    /// All certificates that were issued, oldest first.
    pub fn issued(&self) -> impl Iterator<Item = Listed<'_>> {
        self.index.issued.iter().map(|entry| Listed {
            name: &entry.name,
            serial: &entry.serial,
            not_after: OffsetDateTime::from_unix_timestamp(entry.not_after_s).ok(),
            revoked: entry.revoked.as_ref().map(|revocation| revocation.reason),
        })
    }

    /// The name that a signing request asks for, to be used when the operator gives none.
    pub fn requested_name(csr: &Path) -> Result<String, CertsError> {
        csr::requested_name(csr)
    }

    fn certify(
        &mut self,
        mut params: CertificateParams,
        stem: &str,
        public: &impl PublicKeyData,
        key: Option<&KeyPair>,
        force: bool,
    ) -> Result<Issued, CertsError> {
        let (file, key_file) =
            (self.directory.join(format!("{stem}.pem")), self.directory.join(format!("{stem}-key.pem")));
        let made = [Some(&file), key.map(|_| &key_file)];
        if let Some(there) = made.into_iter().flatten().find(|made| !force && made.exists()) {
            return Err(CertsError::Exists(there.clone()));
        }
        let serial = request::serial()?;
        if self.not_after <= OffsetDateTime::now_utc() {
            return Err(CertsError::AuthorityExpired(self.directory.clone()));
        }
        // What outlives its authority is not valid then, so it does not claim to be.
        params.not_after = params.not_after.min(self.not_after);
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(public, &self.issuer)?;
        let entry = Entry {
            serial: hexadecimal(&serial.to_bytes()),
            name: stem.to_owned(),
            not_after_s: params.not_after.unix_timestamp(),
            revoked: None,
        };
        let issued = Issued {
            name: stem.to_owned(),
            serial: entry.serial.clone(),
            certificate: file,
            key: key.map(|_| key_file),
            not_after: params.not_after,
        };
        // The index comes first: what exists can be revoked, even if the rest is lost.
        self.index.issued.push(entry);
        self.index.write(&self.directory)?;
        if let (Some(key), Some(file)) = (key, &issued.key) {
            files::write(file, key.serialize_pem().as_bytes(), Readers::Owner)?;
        }
        files::write(&issued.certificate, certificate.pem().as_bytes(), Readers::All)?;
        Ok(issued)
    }

    /// Refuses names whose files would be another's.
    fn check_device_name(&self, name: &str) -> Result<(), CertsError> {
        request::check_name(name)?;
        if matches!(name, "ca" | "ca-crl" | "server") || name.ends_with("-key") {
            return Err(request::wrong(name, "is taken for the authority's own files"));
        }
        Ok(())
    }

    /// The serial number that `target` stands for, if it is a certificate's file or a serial number.
    fn serial_of(&mut self, target: &str) -> Result<String, CertsError> {
        let file = Path::new(target);
        if !file.is_file() {
            return Ok(target.replace(':', "").trim_start_matches('0').to_ascii_lowercase());
        }
        let der =
            CertificateDer::from_pem_slice(&files::read(file)?).map_err(|error| CertsError::damaged(file, error))?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| CertsError::damaged(file, error))?;
        let (_, own) =
            X509Certificate::from_der(&self.certificate).map_err(|error| CertsError::damaged(file, error))?;
        if certificate.verify_signature(Some(own.public_key())).is_err() {
            return Err(CertsError::NotIssued(target.to_owned()));
        }
        let serial = hexadecimal(certificate.raw_serial());
        if !self.index.issued.iter().any(|entry| entry.serial == serial) {
            // Signed with the authority's key by another program: from now on it is known.
            let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let not_after_s = certificate.validity().not_after.timestamp();
            self.index.issued.push(Entry { serial: serial.clone(), name, not_after_s, revoked: None });
        }
        Ok(serial)
    }
}

/// The end of the authority, if it is one and the key is its own.
fn check_authority(file: &Path, der: &CertificateDer<'_>, key: &KeyPair) -> Result<OffsetDateTime, CertsError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| CertsError::damaged(file, error))?;
    if !certificate.is_ca() {
        return Err(CertsError::damaged(file, "it is not a certificate authority"));
    }
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err(CertsError::damaged(file, format!("it does not belong to {CA_KEY}")));
    }
    let end = certificate.validity().not_after.timestamp();
    OffsetDateTime::from_unix_timestamp(end).map_err(|error| CertsError::damaged(file, error))
}

fn revoked_entry(entry: &Entry) -> Option<RevokedCertParams> {
    let revocation = entry.revoked.as_ref()?;
    Some(RevokedCertParams {
        serial_number: SerialNumber::from(bytes(&entry.serial)),
        revocation_time: OffsetDateTime::from_unix_timestamp(revocation.at_s).ok()?,
        reason_code: revocation.reason.code(),
        invalidity_date: None,
    })
}

/// The bytes of hexadecimal digits that [`hexadecimal`] wrote.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_default()).collect()
}
