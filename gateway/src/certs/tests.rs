//! The authority as an operator uses it, checked by `x509-parser` and, where it is installed, by OpenSSL.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;

fn authority() -> (TempDir, Authority) {
    let dir = TempDir::new().unwrap();
    let authority = Authority::init(dir.path(), &InitRequest::default()).unwrap();
    (dir, authority)
}

fn field(file: &Path, name: &str) -> String {
    let described = describe(file).unwrap();
    let fields = described.into_iter().next().unwrap().fields;
    fields.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value).unwrap_or_default()
}

fn crl(dir: &TempDir, name: &str) -> String {
    field(&dir.path().join(CRL), name)
}

/// What OpenSSL says about a certificate and the list, or nothing where it is not installed.
fn openssl_verifies(dir: &TempDir, file: &Path) -> Option<bool> {
    let file_of = |name: &str| dir.path().join(name);
    let mut command = Command::new("openssl");
    command.args(["verify", "-crl_check", "-CAfile"]).arg(file_of(CA)).arg("-CRLfile").arg(file_of(CRL)).arg(file);
    Some(command.output().ok()?.status.success())
}

#[test]
fn a_device_is_known_by_the_name_it_was_issued_for() {
    let (_dir, mut authority) = authority();
    let issued = authority.issue(&DeviceRequest::new("d1")).unwrap();
    assert_eq!(field(&issued.certificate, "identity"), "d1");
    assert_eq!(field(&issued.certificate, "serial"), issued.serial);
    assert_eq!(field(&issued.certificate, "use"), "client");
}

#[test]
fn a_uri_takes_precedence_over_the_name() {
    let (_dir, mut authority) = authority();
    let uri = Some("urn:example:vehicle:7".to_owned());
    let issued = authority.issue(&DeviceRequest { uri, ..DeviceRequest::new("d1") }).unwrap();
    assert_eq!(field(&issued.certificate, "identity"), "urn:example:vehicle:7");
}

#[test]
fn the_server_certificate_names_this_machine_and_what_was_asked_for() {
    let dir = TempDir::new().unwrap();
    let names = vec!["gw.example".to_owned(), "192.0.2.7".to_owned(), "localhost".to_owned()];
    let server = ServerRequest { name: "edge-1".to_owned(), names, ..ServerRequest::default() };
    Authority::init(dir.path(), &InitRequest { server, ..InitRequest::default() }).unwrap();
    let file = dir.path().join(SERVER);
    assert_eq!(field(&file, "names"), "DNS:localhost, IP:127.0.0.1, IP:::1, DNS:gw.example, IP:192.0.2.7");
    assert_eq!((field(&file, "subject"), field(&file, "use")), ("CN=edge-1".to_owned(), "server".to_owned()));
}

#[test]
fn private_keys_are_for_the_owner_alone() {
    let (dir, mut authority) = authority();
    authority.issue(&DeviceRequest::new("d1")).unwrap();
    for key in ["ca-key.pem", SERVER_KEY, "d1-key.pem"] {
        let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn nothing_is_overwritten_without_force() {
    let (dir, mut authority) = authority();
    let first = authority.issue(&DeviceRequest::new("d1")).unwrap();
    let key = fs::read(dir.path().join("d1-key.pem")).unwrap();
    assert!(matches!(authority.issue(&DeviceRequest::new("d1")), Err(CertsError::Exists(_))));
    assert_eq!(fs::read(dir.path().join("d1-key.pem")).unwrap(), key);
    let second = authority.issue(&DeviceRequest { force: true, ..DeviceRequest::new("d1") }).unwrap();
    assert_ne!(first.serial, second.serial);
    drop(authority);
    assert!(matches!(Authority::init(dir.path(), &InitRequest::default()), Err(CertsError::Exists(_))));
    Authority::init(dir.path(), &InitRequest { force: true, ..InitRequest::default() }).unwrap();
}

#[test]
fn revoking_a_device_puts_all_its_certificates_on_a_newer_list() {
    let (dir, mut authority) = authority();
    let first = authority.issue(&DeviceRequest::new("d1")).unwrap();
    let second = authority.issue(&DeviceRequest { force: true, ..DeviceRequest::new("d1") }).unwrap();
    let other = authority.issue(&DeviceRequest::new("d2")).unwrap();
    assert_eq!((crl(&dir, "number"), crl(&dir, "revoked")), ("1".to_owned(), "0".to_owned()));
    let revoked = authority.revoke("d1", Reason::KeyCompromise).unwrap();
    assert_eq!(revoked.len(), 2);
    assert_eq!(crl(&dir, "number"), "2");
    assert_eq!(crl(&dir, "serials"), format!("{}, {}", first.serial, second.serial));
    for (file, good) in [(&second.certificate, false), (&other.certificate, true)] {
        assert!(openssl_verifies(&dir, file).is_none_or(|verified| verified == good), "{}", file.display());
    }
}

#[test]
fn one_certificate_is_revoked_by_its_serial_number_or_its_file() {
    let (dir, mut authority) = authority();
    let first = authority.issue(&DeviceRequest::new("d1")).unwrap();
    let second = authority.issue(&DeviceRequest::new("d2")).unwrap();
    authority.revoke(&first.serial.to_uppercase(), Reason::Superseded).unwrap();
    authority.revoke(second.certificate.to_str().unwrap(), Reason::Unspecified).unwrap();
    assert!(authority.revoke(&first.serial, Reason::Unspecified).unwrap()[0].already);
    assert_eq!(crl(&dir, "serials"), format!("{}, {}", first.serial, second.serial));
    assert!(matches!(authority.revoke("d3", Reason::Unspecified), Err(CertsError::NotIssued(_))));
}

#[test]
fn a_certificate_of_another_authority_is_not_revoked() {
    let ((_dir, mut authority), (_other_dir, mut other)) = (authority(), authority());
    let foreign = other.issue(&DeviceRequest::new("d1")).unwrap();
    let refused = authority.revoke(foreign.certificate.to_str().unwrap(), Reason::Unspecified);
    assert!(matches!(refused, Err(CertsError::NotIssued(_))));
}

#[test]
fn the_authority_goes_on_after_it_was_closed() {
    let (dir, mut authority) = authority();
    authority.issue(&DeviceRequest::new("d1")).unwrap();
    authority.revoke("d1", Reason::Unspecified).unwrap();
    assert!(matches!(Authority::open(dir.path()), Err(CertsError::Locked(_))));
    drop(authority);
    let mut authority = Authority::open(dir.path()).unwrap();
    let issued = authority.issue(&DeviceRequest::new("d2")).unwrap();
    authority.publish().unwrap();
    assert_eq!((crl(&dir, "number"), crl(&dir, "revoked")), ("3".to_owned(), "1".to_owned()));
    assert!(openssl_verifies(&dir, &issued.certificate).unwrap_or(true));
}

#[test]
fn a_signing_request_brings_its_key_and_nothing_else() {
    let (dir, mut authority) = authority();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut asked = rcgen::CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    asked.distinguished_name = rcgen::DistinguishedName::new();
    asked.distinguished_name.push(rcgen::DnType::CommonName, "d1");
    asked.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = dir.path().join("d1.csr");
    fs::write(&csr, asked.serialize_request(&key).unwrap().pem().unwrap()).unwrap();
    assert_eq!(Authority::requested_name(&csr).unwrap(), "d1");
    let issued = authority.sign(&csr, &DeviceRequest::new("d7")).unwrap();
    assert_eq!(issued.key, None);
    assert_eq!(field(&issued.certificate, "identity"), "d7");
    assert_eq!(field(&issued.certificate, "use"), "client");
    assert_eq!(field(&issued.certificate, "names"), "");
}

#[test]
fn a_damaged_signing_request_is_refused() {
    let (dir, mut authority) = authority();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let mut der = request.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let label = "CERTIFICATE REQUEST";
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let csr = dir.path().join("bad.csr");
    fs::write(&csr, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")).unwrap();
    assert!(matches!(authority.sign(&csr, &DeviceRequest::new("d1")), Err(CertsError::Request { .. })));
    fs::write(&csr, "nothing").unwrap();
    assert!(matches!(authority.sign(&csr, &DeviceRequest::new("d1")), Err(CertsError::Request { .. })));
}

#[test]
fn names_that_leave_the_directory_or_hide_another_file_are_refused() {
    let (_dir, mut authority) = authority();
    let long = "x".repeat(65);
    for name in ["", "../d1", "a/b", ".hidden", "-d", "ca", "ca-crl", "server", "d1-key", "d 1", "d\n1", "dé", &long] {
        let refused = authority.issue(&DeviceRequest::new(name));
        assert!(matches!(refused, Err(CertsError::Name { .. })), "{name}");
    }
}

#[test]
fn a_device_does_not_outlive_its_authority() {
    let dir = TempDir::new().unwrap();
    let mut authority = Authority::init(dir.path(), &InitRequest { days: 10, ..InitRequest::default() }).unwrap();
    let issued = authority.issue(&DeviceRequest::new("d1")).unwrap();
    assert_eq!(field(&issued.certificate, "not after"), field(&dir.path().join(CA), "not after"));
}

#[test]
fn a_key_that_is_not_the_authoritys_is_found_at_once() {
    let ((dir, one), (other_dir, other)) = (authority(), authority());
    drop((one, other));
    fs::copy(other_dir.path().join("ca-key.pem"), dir.path().join("ca-key.pem")).unwrap();
    assert!(matches!(Authority::open(dir.path()), Err(CertsError::Damaged { .. })));
}

#[test]
fn an_index_of_a_newer_format_is_left_alone() {
    let (dir, authority) = authority();
    drop(authority);
    let index = dir.path().join("index.json");
    fs::write(&index, r#"{"format": 2, "crl_number": 1, "issued": []}"#).unwrap();
    assert!(matches!(Authority::open(dir.path()), Err(CertsError::Damaged { .. })));
}
