//! Bad certificates: each is refused in the handshake with its reason counted and logged, and a good client gets in
//! afterwards.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    NameConstraints, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;

use super::*;
use crate::mqtt::tls::pki::{Ca, Credentials, ca, ca_params, credentials, intermediate, issue, leaf, signing, valid};

/// One way to be refused.
#[derive(Clone)]
struct Bad {
    what: &'static str,
    reason: RefusalReason,
    credentials: Option<Credentials>,
}

fn bad(what: &'static str, reason: RefusalReason, credentials: Credentials) -> Bad {
    Bad { what, reason, credentials: Some(credentials) }
}

/// A device's certificate with something changed, signed by the right authority.
fn changed(pki: &Pki, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
    let mut params = leaf("d1");
    change(&mut params);
    issue(&params, &pki.ca, &[])
}

/// A device's certificate from an intermediate made of `params`.
fn by_intermediate(pki: &Pki, params: CertificateParams, device: &CertificateParams) -> Credentials {
    let between = intermediate(params, &pki.ca);
    issue(device, &between, &[&between])
}

fn times(pki: &Pki) -> Vec<Bad> {
    let expired = changed(pki, |params| valid(params, -60, -1));
    let future = changed(pki, |params| valid(params, 10, 60));
    let backwards = changed(pki, |params| valid(params, 10, -10));
    let mut params = ca_params("Old CA", BasicConstraints::Unconstrained);
    valid(&mut params, -60, -1);
    vec![
        bad("expired", RefusalReason::Expired, expired),
        bad("not yet valid", RefusalReason::NotYetValid, future),
        bad("ends before it starts", RefusalReason::Expired, backwards),
        bad("intermediate expired", RefusalReason::Expired, by_intermediate(pki, params, &leaf("d1"))),
    ]
}

fn chains(pki: &Pki, unlisted: &Ca) -> Vec<Bad> {
    let (foreign, namesake) =
        (ca("Foreign CA", BasicConstraints::Unconstrained), ca("Test CA", BasicConstraints::Unconstrained));
    let key = KeyPair::generate().unwrap();
    let itself = credentials(vec![leaf("d1").self_signed(&key).unwrap().der().clone()], &key);
    let between = intermediate(ca_params("Between CA", BasicConstraints::Unconstrained), &pki.ca);
    let mut no_authority = ca_params("No CA", BasicConstraints::Unconstrained);
    no_authority.is_ca = IsCa::ExplicitNoCa;
    let ends = intermediate(ca_params("Ends CA", BasicConstraints::Constrained(0)), &pki.ca);
    let beyond = intermediate(ca_params("Beyond CA", BasicConstraints::Unconstrained), &ends);
    let many: Vec<&Ca> = std::iter::repeat_n(&between, 8).collect();
    vec![
        bad("foreign authority", RefusalReason::UnknownIssuer, issue(&leaf("d1"), &foreign, &[])),
        bad("foreign authority, shown", RefusalReason::UnknownIssuer, issue(&leaf("d1"), &foreign, &[&foreign])),
        bad("foreign authority of the same name", RefusalReason::BadSignature, issue(&leaf("d1"), &namesake, &[])),
        bad("signed by itself", RefusalReason::UnknownIssuer, itself),
        bad("intermediate missing", RefusalReason::UnknownIssuer, issue(&leaf("d1"), &between, &[])),
        bad("another intermediate", RefusalReason::UnknownIssuer, issue(&leaf("d1"), &between, &[&foreign])),
        bad("intermediate is no authority", RefusalReason::WrongUsage, by_intermediate(pki, no_authority, &leaf("d1"))),
        bad("path too long", RefusalReason::Constraint, issue(&leaf("d1"), &beyond, &[&beyond, &ends])),
        bad("too many certificates", RefusalReason::ChainTooLong, issue(&leaf("d1"), &between, &many)),
        bad("intermediate without a list", RefusalReason::RevocationUnknown, issue(&leaf("d1"), unlisted, &[unlisted])),
    ]
}

fn revoked(pki: &Pki, between: &Ca) -> Vec<Bad> {
    let device = changed(pki, |params| params.serial_number = Some(SerialNumber::from_slice(&[0x42])));
    vec![
        bad("revoked", RefusalReason::Revoked, device),
        bad("intermediate revoked", RefusalReason::Revoked, issue(&leaf("d1"), between, &[between])),
    ]
}

fn usages(pki: &Pki, outside: &Ca) -> Vec<Bad> {
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| changed(pki, |params| params.extended_key_usages = usages);
    let empty = changed(pki, |params| {
        params.extended_key_usages = vec![];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 37], vec![0x30, 0])];
    });
    let critical = changed(pki, |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    let authority = changed(pki, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let mut other_name = leaf("d1");
    other_name.subject_alt_names = vec![SanType::DnsName("d1.elsewhere.example".try_into().unwrap())];
    vec![
        bad("for servers only", RefusalReason::WrongUsage, usage(vec![ExtendedKeyUsagePurpose::ServerAuth])),
        bad("for signing code", RefusalReason::WrongUsage, usage(vec![ExtendedKeyUsagePurpose::CodeSigning])),
        bad("for nothing", RefusalReason::WrongUsage, empty),
        bad("an authority as a device", RefusalReason::WrongUsage, authority),
        bad("unknown critical extension", RefusalReason::Unsupported, critical),
        bad("outside the name constraints", RefusalReason::Constraint, issue(&other_name, outside, &[outside])),
    ]
}

fn names(pki: &Pki) -> Vec<Bad> {
    let common = |name: &str| changed(pki, |params| params.distinguished_name = pki::named(name));
    let none = changed(pki, |params| params.distinguished_name = rcgen::DistinguishedName::new());
    let uris = changed(pki, |params| {
        params.subject_alt_names = ["urn:a", "urn:b"].map(|uri| SanType::URI(uri.try_into().unwrap())).to_vec();
    });
    [
        ("no name", none),
        ("two URIs", uris),
        ("NUL in the name", common("d1\0x")),
        ("line feed in the name", common("d1\nx")),
        ("escape sequence in the name", common("d1\u{1b}[2J")),
        ("direction override in the name", common("d1\u{202e}x")),
        ("wildcard in the name", common("d/+")),
        ("blank name", common("  ")),
        ("very long name", common(&"x".repeat(300))),
    ]
    .map(|(what, credentials)| bad(what, RefusalReason::NoIdentity, credentials))
    .to_vec()
}

fn keys(pki: &Pki) -> Vec<Bad> {
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let chain = |public: &KeyPair| vec![leaf("d1").signed_by(public, &pki.ca).unwrap().der().clone()];
    let small = SubjectPublicKeyInfo::from_der(&rsa_1024()).unwrap();
    let small = vec![leaf("d1").signed_by(&small, &pki.ca).unwrap().der().clone()];
    let mut damaged = chain(&own);
    damaged[0] = CertificateDer::from(vec![0x30, 3, 2, 1, 0]);
    vec![
        bad("somebody else's certificate", RefusalReason::BadSignature, credentials(chain(&own), &other)),
        bad("RSA key of 1024 bits", RefusalReason::BadSignature, signing(small, Arc::new(Nonsense))),
        bad("damaged certificate", RefusalReason::Malformed, credentials(damaged, &own)),
        Bad { what: "no certificate", reason: RefusalReason::NoCertificate, credentials: None },
    ]
}

/// A public key of RSA with 1024 bits, which this project's libraries refuse to make.
fn rsa_1024() -> Vec<u8> {
    let mut modulus = vec![0x02, 0x81, 0x81, 0x00];
    modulus.extend([0xc5; 128]);
    let mut key = vec![0x30, 0x81, 0x89];
    key.extend(modulus);
    key.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let mut info = vec![0x30, 0x81, 0x9f];
    info.extend(algorithm);
    info.extend([0x03, 0x81, 0x8d, 0x00]);
    info.extend(key);
    info
}

/// Signs everything with the same bytes.
#[derive(Debug)]
struct Nonsense;

impl SigningKey for Nonsense {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Self))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Nonsense {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![1; 128])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

/// Tries one bad client and then a good one.
async fn check(front: &Front, log: &Log, pki: &Pki, bad: &Bad, version: &'static rustls::SupportedProtocolVersion) {
    let before = front.metrics.handshakes_refused(bad.reason);
    let attempt = async {
        let mut client = pki::connect(front.address, bad.credentials.clone(), version).await?;
        pki::echo(&mut client).await
    };
    let refused = attempt.await.expect_err(bad.what);
    let told = refused.to_string();
    assert!(told.contains("alert") || told.contains("AlertReceived"), "{}: the client is told: {told}", bad.what);
    let counted = || front.metrics.handshakes_refused(bad.reason) == before + 1;
    until(&format!("{} counts as {}", bad.what, bad.reason.as_str()), counted).await;
    let line = log.take();
    let expected = format!("reason=\"{}\"", bad.reason.as_str());
    assert!(line.contains(&expected) && line.contains("peer=127.0.0.1:"), "{}: {line}", bad.what);
    assert_eq!(line.lines().count(), 1, "{}: {line}", bad.what);
    front.good(pki, "good").await;
}

#[tokio::test]
async fn every_bad_certificate_is_refused_with_its_reason_and_harms_nobody() {
    let pki = Pki::new();
    let listed = intermediate(ca_params("Listed CA", BasicConstraints::Unconstrained), &pki.ca);
    let unlisted = intermediate(ca_params("Unlisted CA", BasicConstraints::Unconstrained), &pki.ca);
    let mut revoked_params = ca_params("Revoked CA", BasicConstraints::Unconstrained);
    revoked_params.serial_number = Some(SerialNumber::from_slice(&[0x43]));
    let revoked_ca = intermediate(revoked_params, &pki.ca);
    let mut outside_params = ca_params("Constrained CA", BasicConstraints::Unconstrained);
    let permitted_subtrees = vec![GeneralSubtree::DnsName("here.example".into())];
    outside_params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    let outside = intermediate(outside_params, &pki.ca);
    let lists: [(&Ca, &[&[u8]]); 3] = [(&listed, &[]), (&revoked_ca, &[]), (&outside, &[])];
    pki.revoke_with(&[&[0x42], &[0x43]], &lists);

    let matrix: Vec<Bad> = [
        times(&pki),
        chains(&pki, &unlisted),
        revoked(&pki, &revoked_ca),
        usages(&pki, &outside),
        names(&pki),
        keys(&pki),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(matrix.len() >= 30, "{}", matrix.len());

    let (log, _guard) = Log::start();
    let front = Front::start(&pki, &MqttConfig::default());
    // The control: what the matrix varies is good when nothing is wrong with it.
    let control = issue(&leaf("d1"), &listed, &[&listed]);
    for version in [&TLS12, &TLS13] {
        let mut client = pki::connect(front.address, Some(control.clone()), version).await.unwrap();
        pki::echo(&mut client).await.unwrap();
        for bad in &matrix {
            check(&front, &log, &pki, bad, version).await;
        }
    }
    front.stop().await;
}

/// Bytes that are no acceptable TLS, and what they are refused as.
async fn check_bytes(bytes: &[u8], reason: RefusalReason) {
    let pki = Pki::new();
    let (log, _guard) = Log::start();
    let front = Front::start(&pki, &MqttConfig::default());
    let mut socket = TcpStream::connect(front.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let _ = socket.read_to_end(&mut Vec::new()).await;
    until("it is counted", || front.metrics.handshakes_refused(reason) == 1).await;
    assert!(log.take().contains(reason.as_str()));
    front.good(&pki, "good").await;
    front.stop().await;
}

#[tokio::test]
async fn plain_mqtt_on_a_tls_port_is_refused() {
    check_bytes(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1", RefusalReason::NotTls).await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused() {
    check_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", RefusalReason::NotTls).await;
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    // No session id, one cipher suite of TLS 1.1 (TLS_RSA_WITH_AES_128_CBC_SHA), no compression.
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    let mut record = vec![0x16, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    check_bytes(&record, RefusalReason::Version).await;
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_handshake_is_counted() {
    let pki = Pki::new();
    let front = Front::start(&pki, &MqttConfig::default());
    drop(TcpStream::connect(front.address).await.unwrap());
    until("it is counted", || front.metrics.handshakes_refused(RefusalReason::PeerClosed) == 1).await;
    front.stop().await;
}
