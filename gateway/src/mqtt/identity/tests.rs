//! Names out of certificates, good and hostile.

use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::*;
use crate::config::TlsConfig;

/// The bytes of a certificate, in which every organization has become one more common name: `rcgen` writes each kind
/// of name once.
fn der(params: &CertificateParams) -> CertificateDer<'static> {
    let mut der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let organizations = der.windows(3).enumerate().filter(|(_, oid)| *oid == [0x55, 4, 10]).map(|(at, _)| at);
    for at in organizations.collect::<Vec<_>>() {
        der[at + 2] = 3;
    }
    CertificateDer::from(der)
}

fn params(common_names: &[&str], alternatives: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (index, name) in common_names.iter().enumerate() {
        let kind = if index == 0 { DnType::CommonName } else { DnType::OrganizationName };
        params.distinguished_name.push(kind, *name);
    }
    params.subject_alt_names = alternatives;
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

fn read(params: &CertificateParams) -> Result<String, IdentityError> {
    let read = Certificate::read(&[der(params)], &TlsConfig::default().identity)?;
    Ok(read.name.to_string())
}

#[track_caller]
fn check(common_names: &[&str], alternatives: Vec<SanType>, expected: &str) {
    assert_eq!(read(&params(common_names, alternatives)).as_deref(), Ok(expected));
}

#[track_caller]
fn check_refused(common_names: &[&str], alternatives: Vec<SanType>, expected: IdentityError) {
    assert_eq!(read(&params(common_names, alternatives)), Err(expected));
}

#[test]
fn the_first_kind_of_name_in_the_configured_order_counts() {
    check(&["cn"], vec![dns("dns"), uri("urn:uri")], "urn:uri");
    check(&["cn"], vec![dns("dns")], "dns");
    check(&["cn"], vec![], "cn");
    let both = params(&["cn"], vec![dns("dns")]);
    let order = [IdentitySource::Cn, IdentitySource::Dns];
    assert_eq!(Certificate::read(&[der(&both)], &order).unwrap().name, "cn");
}

#[test]
fn the_same_name_twice_is_one_name() {
    check(&["cn"], vec![dns("dns"), dns("dns")], "dns");
}

#[test]
fn two_names_of_the_deciding_kind_are_refused() {
    let ambiguous = |source_name| IdentityError::Ambiguous { source_name, count: 2 };
    check_refused(&["cn"], vec![uri("urn:a"), uri("urn:b")], ambiguous("URI"));
    check_refused(&["cn"], vec![dns("a"), dns("b")], ambiguous("DNS"));
    check_refused(&["a", "b"], vec![], ambiguous("common"));
}

#[test]
fn names_of_a_kind_that_does_not_decide_may_be_many() {
    check(&["a", "b"], vec![uri("urn:a"), dns("a"), dns("b")], "urn:a");
}

#[test]
fn a_certificate_without_any_name_is_refused() {
    check_refused(
        &[],
        vec![SanType::IpAddress([127, 0, 0, 1].into())],
        IdentityError::Missing("URI, DNS, common".into()),
    );
}

#[test]
fn names_that_deceive_or_mean_something_in_mqtt_are_refused() {
    for name in ["a\0b", "a\nb", "a\u{202e}b", "a\u{200b}b", "+", "a/#", "*", " a", "a ", "\u{feff}a"] {
        let refused = read(&params(&[name], vec![]));
        assert!(matches!(refused, Err(IdentityError::Character(_))), "{name:?}: {refused:?}");
    }
    check_refused(&["   "], vec![], IdentityError::Empty);
    check_refused(&[&"x".repeat(257)], vec![], IdentityError::TooLong(257));
}

#[test]
fn ordinary_names_are_taken_as_they_are() {
    for name in ["d1", "WVWZZZ1KZ6W000001", "Gerät 7", "a/b", "$x", "车", &"x".repeat(256)] {
        check(&[name], vec![], name);
    }
}

#[test]
fn the_serial_number_is_written_as_openssl_does() {
    assert_eq!(hexadecimal(&[0, 0x80, 1]), "8001");
    assert_eq!((hexadecimal(&[0]), hexadecimal(&[])), ("00".to_owned(), String::new()));
}

#[test]
fn a_plain_listener_takes_everybody_for_what_it_says() {
    let name = |rule: PlainIdentity, client| Identity::Plain(rule).name(client).map(|name| name.to_string());
    assert_eq!(name(PlainIdentity::Fixed("legacy".into()), "c1"), Ok("legacy".into()));
    let by_client = || PlainIdentity::ClientId(format!("legacy/{CLIENT_ID}"));
    assert_eq!(name(by_client(), "c1"), Ok("legacy/c1".into()));
    assert_eq!(name(by_client(), "c+"), Err(IdentityError::Character('+')));
}

#[test]
fn what_is_not_a_certificate_is_malformed() {
    let order = TlsConfig::default().identity;
    assert_eq!(Certificate::read(&[], &order), Err(IdentityError::Malformed));
    let mut long = der(&params(&["d1"], vec![])).to_vec();
    long.push(0);
    assert_eq!(Certificate::read(&[CertificateDer::from(long)], &order), Err(IdentityError::Malformed));
}

proptest! {
    #[test]
    fn damaged_certificates_never_panic_and_names_are_always_clean(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = der(&params(&["d1"], vec![uri("urn:d1"), dns("d1")])).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = Certificate::read(&[CertificateDer::from(bytes)], &TlsConfig::default().identity) {
            prop_assert!(checked(&read.name).is_ok());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = Certificate::read(&[CertificateDer::from(bytes)], &TlsConfig::default().identity);
    }
}
