//! Bad certificates against the running gateway: each is refused in the handshake with its reason in the log and in the
//! metrics, and a good client gets in afterwards.

use crate::setup;
use causeway_tests::pki::forged::{
    Authority, Credentials, authority_params, client, credentials, device, intermediate, issue, revocation_list,
    signing, valid,
};
use causeway_tests::pki::{authority, named};
use causeway_tests::wire::Wire;
use causeway_tests::{Connect, Gateway, Packet, Pki, Version, wait};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    NameConstraints, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::sign::{Signer, SigningKey};
use rustls::version::{TLS12, TLS13};
use rustls::{SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// One way to be refused.
#[derive(Clone)]
struct Bad {
    what: &'static str,
    reason: &'static str,
    credentials: Option<Credentials>,
}

fn bad(what: &'static str, reason: &'static str, credentials: Credentials) -> Bad {
    Bad { what, reason, credentials: Some(credentials) }
}

/// A device's certificate with something changed, signed by the right authority.
fn changed(pki: &Pki, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
    let mut params = device("d1");
    change(&mut params);
    issue(&params, pki.authority(), &[])
}

/// A device's certificate from an intermediate made of `params`.
fn by_intermediate(pki: &Pki, params: CertificateParams, device: &CertificateParams) -> Credentials {
    let between = intermediate(params, pki.authority());
    issue(device, &between, &[&between])
}

fn times(pki: &Pki) -> Vec<Bad> {
    let expired = changed(pki, |params| valid(params, -60, -1));
    let future = changed(pki, |params| valid(params, 10, 60));
    let backwards = changed(pki, |params| valid(params, 10, -10));
    let mut params = authority_params("Old CA", BasicConstraints::Unconstrained);
    valid(&mut params, -60, -1);
    vec![
        bad("expired", "expired", expired),
        bad("not yet valid", "not_yet_valid", future),
        bad("ends before it starts", "expired", backwards),
        bad("intermediate expired", "expired", by_intermediate(pki, params, &device("d1"))),
    ]
}

fn chains(pki: &Pki, unlisted: &Authority) -> Vec<Bad> {
    let (foreign, namesake) = (authority("Foreign CA"), authority("Test authority"));
    let key = KeyPair::generate().unwrap();
    let itself = credentials(vec![device("d1").self_signed(&key).unwrap().der().clone()], &key);
    let between = intermediate(authority_params("Between CA", BasicConstraints::Unconstrained), pki.authority());
    let mut no_authority = authority_params("No CA", BasicConstraints::Unconstrained);
    no_authority.is_ca = IsCa::ExplicitNoCa;
    let ends = intermediate(authority_params("Ends CA", BasicConstraints::Constrained(0)), pki.authority());
    let beyond = intermediate(authority_params("Beyond CA", BasicConstraints::Unconstrained), &ends);
    let many: Vec<&Authority> = std::iter::repeat_n(&between, 8).collect();
    vec![
        bad("foreign authority", "unknown_issuer", issue(&device("d1"), &foreign, &[])),
        bad("foreign authority, shown", "unknown_issuer", issue(&device("d1"), &foreign, &[&foreign])),
        bad("foreign authority of the same name", "bad_signature", issue(&device("d1"), &namesake, &[])),
        bad("signed by itself", "unknown_issuer", itself),
        bad("intermediate missing", "unknown_issuer", issue(&device("d1"), &between, &[])),
        bad("another intermediate", "unknown_issuer", issue(&device("d1"), &between, &[&foreign])),
        bad("intermediate is no authority", "wrong_usage", by_intermediate(pki, no_authority, &device("d1"))),
        bad("path too long", "constraint", issue(&device("d1"), &beyond, &[&beyond, &ends])),
        bad("too many certificates", "chain_too_long", issue(&device("d1"), &between, &many)),
        bad("intermediate without a list", "revocation_unknown", issue(&device("d1"), unlisted, &[unlisted])),
    ]
}

fn revoked(pki: &Pki, between: &Authority) -> Vec<Bad> {
    let revoked = changed(pki, |params| params.serial_number = Some(SerialNumber::from_slice(&[0x42])));
    vec![
        bad("revoked", "revoked", revoked),
        bad("intermediate revoked", "revoked", issue(&device("d1"), between, &[between])),
    ]
}

fn usages(pki: &Pki, outside: &Authority) -> Vec<Bad> {
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
    let mut other_name = device("d1");
    other_name.subject_alt_names = vec![SanType::DnsName("d1.elsewhere.example".try_into().unwrap())];
    vec![
        bad("for servers only", "wrong_usage", usage(vec![ExtendedKeyUsagePurpose::ServerAuth])),
        bad("for signing code", "wrong_usage", usage(vec![ExtendedKeyUsagePurpose::CodeSigning])),
        bad("for nothing", "wrong_usage", empty),
        bad("an authority as a device", "wrong_usage", authority),
        bad("unknown critical extension", "unsupported", critical),
        bad("outside the name constraints", "constraint", issue(&other_name, outside, &[outside])),
    ]
}

fn names(pki: &Pki) -> Vec<Bad> {
    let common = |name: &str| changed(pki, |params| params.distinguished_name = named(name));
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
    .map(|(what, credentials)| bad(what, "no_identity", credentials))
    .to_vec()
}

fn keys(pki: &Pki) -> Vec<Bad> {
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let chain = |public: &KeyPair| vec![device("d1").signed_by(public, pki.authority()).unwrap().der().clone()];
    let small = SubjectPublicKeyInfo::from_der(&rsa_1024()).unwrap();
    let small = vec![device("d1").signed_by(&small, pki.authority()).unwrap().der().clone()];
    let mut damaged = chain(&own);
    damaged[0] = CertificateDer::from(vec![0x30, 3, 2, 1, 0]);
    vec![
        bad("somebody else's certificate", "bad_signature", credentials(chain(&own), &other)),
        bad("RSA key of 1024 bits", "bad_signature", signing(small, Arc::new(Nonsense))),
        bad("damaged certificate", "malformed", credentials(damaged, &own)),
        Bad { what: "no certificate", reason: "no_certificate", credentials: None },
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

/// Whether a client of these credentials gets a CONNACK.
async fn is_served(
    gateway: &Gateway,
    credentials: Option<&Credentials>,
    version: &'static SupportedProtocolVersion,
) -> bool {
    let client = client(&gateway.setup().pki().authority_file(), credentials.cloned(), version);
    let stream = causeway_tests::wire::tcp(gateway.address(8883), None).await.unwrap();
    let Ok(stream) = causeway_tests::wire::secure(stream, client).await else { return false };
    let mut wire = Wire::over(stream, Version::V5);
    let sent = wire.send(&Connect::new(Version::V5, "d1").bytes()).await;
    sent.is_ok() && matches!(wire.receive().await, Some(Packet::ConnAck { code: 0, .. }))
}

/// Tries one bad client and then a good one.
async fn check(gateway: &Gateway, bad: &Bad, good: &Credentials, version: &'static SupportedProtocolVersion) {
    let before = gateway.log().len();
    assert!(!is_served(gateway, bad.credentials.as_ref(), version).await, "{}", bad.what);
    let expected = format!("reason=\"{}\"", bad.reason);
    let line = wait::until(&format!("{} is logged as {expected}", bad.what), async || {
        let log = gateway.log();
        let (whole, _) = log.get(before..)?.rsplit_once('\n')?;
        whole.lines().find(|line| line.contains("reason=")).map(str::to_owned)
    })
    .await;
    assert!(line.contains(&expected) && line.contains("peer=127."), "{}: {line}", bad.what);
    assert!(is_served(gateway, Some(good), version).await, "a good client after: {}", bad.what);
}

#[tokio::test]
async fn every_bad_certificate_is_refused_with_its_reason_and_harms_nobody() {
    // One address is the peer of them all.
    let setup = setup().set("log", serde_json::json!({ "max_warnings_per_peer": 10_000 }));
    let setup = setup.set("listeners.0.tls.crl", "pki/ca-crl.pem".into());
    let pki = setup.pki();
    let own = pki.authority();
    let below = |name: &str| intermediate(authority_params(name, BasicConstraints::Unconstrained), own);
    let (listed, unlisted) = (below("Listed CA"), below("Unlisted CA"));
    let mut revoked_params = authority_params("Revoked CA", BasicConstraints::Unconstrained);
    revoked_params.serial_number = Some(SerialNumber::from_slice(&[0x43]));
    let revoked_ca = intermediate(revoked_params, own);
    let mut outside_params = authority_params("Constrained CA", BasicConstraints::Unconstrained);
    let permitted_subtrees = vec![GeneralSubtree::DnsName("here.example".into())];
    outside_params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    let outside = intermediate(outside_params, own);
    let lists = [&listed, &revoked_ca, &outside].map(|authority| revocation_list(authority, &[]));
    std::fs::write(pki.path("ca-crl.pem"), revocation_list(own, &[&[0x42], &[0x43]]) + &lists.concat()).unwrap();

    let matrix: Vec<Bad> =
        [times(pki), chains(pki, &unlisted), revoked(pki, &revoked_ca), usages(pki, &outside), names(pki), keys(pki)]
            .into_iter()
            .flatten()
            .collect();
    assert!(matrix.len() >= 30, "{}", matrix.len());
    // The control: what the matrix varies is good when nothing is wrong with it.
    let control = issue(&device("d1"), &listed, &[&listed]);
    let gateway = setup.start().await;
    for version in [&TLS12, &TLS13] {
        assert!(is_served(&gateway, Some(&control), version).await);
        for bad in &matrix {
            check(&gateway, bad, &control, version).await;
        }
    }
    println!("{} kinds of bad certificates, each over TLS 1.2 and 1.3", matrix.len());
    gateway.assert_well().await;
}
