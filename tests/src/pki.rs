//! A throw-away PKI: one authority, the gateway's certificate and as many devices as a test wants.
//!
//! It is made with `rcgen` itself and not with `causeway certs`, so that a fault there cannot make its own tests pass.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod forged;

/// An authority and the folder with its files.
pub struct Pki {
    dir: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A device's certificate: as files for other programs and ready for a handshake.
#[derive(Clone)]
pub struct Identity {
    pub name: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client: Arc<rustls::ClientConfig>,
}

impl Pki {
    /// Makes an authority with the gateway's certificate for `localhost` and `address`, as PEM files in `dir`.
    #[must_use]
    pub fn create(dir: &Path, address: IpAddr) -> Self {
        fs::create_dir_all(dir).unwrap();
        let authority = authority("Test authority");
        fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
        let pki = Self { dir: dir.to_path_buf(), authority };
        pki.write("server", &server(address));
        pki
    }

    /// A certificate for the device `name`, which is its common name.
    #[must_use]
    pub fn device(&self, name: &str) -> Identity {
        self.device_with(name, &leaf(name, ExtendedKeyUsagePurpose::ClientAuth))
    }

    /// A certificate of any contents, signed by the authority.
    #[must_use]
    pub fn device_with(&self, name: &str, params: &CertificateParams) -> Identity {
        let file = name.replace(['/', ' '], "_");
        self.write(&file, params);
        let [certificate, key] = [self.path(&format!("{file}.pem")), self.path(&format!("{file}-key.pem"))];
        let client = client(&self.authority_file(), Some((&certificate, &key)));
        Identity { name: name.into(), certificate, key, client }
    }

    /// What a server with a certificate of any contents shows.
    #[must_use]
    pub fn server(&self, params: &CertificateParams) -> Arc<rustls::ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.authority).unwrap().der().clone()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// The authority itself.
    #[must_use]
    pub fn authority(&self) -> &forged::Authority {
        &self.authority
    }

    /// The authority's certificate.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file of this PKI.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    fn write(&self, file: &str, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{file}-key.pem")), key.serialize_pem()).unwrap();
    }
}

/// An authority that signs itself.
#[must_use]
pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The contents of an ordinary server's certificate, for `localhost` and `address`.
#[must_use]
pub fn server(address: IpAddr) -> CertificateParams {
    let mut server = leaf("gateway-under-test", ExtendedKeyUsagePurpose::ServerAuth);
    server.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress(address)];
    server
}

/// The contents of an ordinary certificate for one use.
#[must_use]
pub fn leaf(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(30);
    params
}

/// A name that is a common name alone.
#[must_use]
pub fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn roots(authority: &Path) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

/// How a device verifies the gateway and, with `own`, proves itself.
#[must_use]
pub fn client(authority: &Path, own: Option<(&Path, &Path)>) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(authority));
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    })
}
