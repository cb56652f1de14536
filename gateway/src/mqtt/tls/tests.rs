//! Files good and bad, reloads, and the standing of peers that are connected already.

use std::fs;
use std::time::Duration;

use rcgen::BasicConstraints;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::pki::{self, Credentials, Pki};
use super::*;
use crate::clock::{Clock, Reading};
use crate::mqtt::identity::Identity;

fn load(pki: &Pki) -> Tls {
    Tls::load(pki.config(), Clock::new(0)).unwrap()
}

fn problems(pki: &Pki) -> Vec<String> {
    let problems = Tls::load(pki.config(), Clock::new(0)).err().expect("files with a problem");
    assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
    problems.iter().map(ToString::to_string).collect()
}

fn peer(tls: &Tls, credentials: &Credentials) -> Peer {
    let certificate = tls.certificate(&credentials.0.cert).unwrap();
    Peer { address: ([127, 0, 0, 1], 1).into(), identity: Identity::Certificate(Arc::new(certificate)) }
}

fn serial(peer: &Peer) -> Vec<u8> {
    let digits = peer.identity.certificate().unwrap().serial.clone();
    let digits = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn all_problems_of_all_files_are_reported_at_once() {
    let pki = Pki::new();
    pki.write("server.pem", "nothing");
    fs::remove_file(pki.path("server-key.pem")).unwrap();
    pki.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    pki.write("ca-crl.pem", "nothing");
    let found = problems(&pki);
    assert_eq!(found.len(), 4, "{found:#?}");
    for file in ["server.pem", "server-key.pem", "ca.pem", "ca-crl.pem"] {
        assert!(found.iter().any(|problem| problem.contains(file)), "{file}: {found:#?}");
    }
}

/// One damaged file and a part of the message that names what is wrong.
#[track_caller]
fn check(damage: impl FnOnce(&Pki), expected: &str) {
    let pki = Pki::new();
    damage(&pki);
    let found = problems(&pki);
    assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:#?}");
}

#[test]
fn a_key_of_another_certificate_is_a_problem() {
    check(|pki| pki.write("server-key.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem()), "does not belong");
}

#[test]
fn a_key_that_is_no_key_is_a_problem() {
    let text = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    check(|pki| pki.write("server-key.pem", text), "cannot be used");
}

#[test]
fn a_device_in_the_bundle_of_authorities_is_a_problem() {
    let device = |pki: &Pki| {
        let key = rcgen::KeyPair::generate().unwrap();
        let device = pki::leaf("d1").signed_by(&key, &pki.ca).unwrap().pem();
        pki.write("ca.pem", &(pki.ca.pem() + &device));
    };
    let pki = Pki::new();
    device(&pki);
    assert!(problems(&pki).iter().any(|problem| problem.contains("CN=d1 is not a certificate authority")));
}

#[test]
fn a_list_with_a_signature_of_somebody_else_is_a_problem() {
    let other = pki::ca("Test CA", BasicConstraints::Unconstrained);
    check(|pki| pki.write("ca-crl.pem", &pki::crl(&other, &[])), "has a signature that is not of CN=Test CA");
}

#[test]
fn an_authority_without_a_list_is_a_problem_when_another_has_one() {
    let other = pki::ca("Other CA", BasicConstraints::Unconstrained);
    check(|pki| pki.write("ca.pem", &(pki.ca.pem() + &other.pem())), "no revocation list of CN=Other CA");
}

#[test]
fn a_late_list_is_a_warning_and_still_revokes() {
    let pki = Pki::new();
    let tls = load(&pki);
    let device = peer(&tls, &pki.device("d1"));
    let yesterday = OffsetDateTime::now_utc() - time::Duration::days(1);
    pki.write("ca-crl.pem", &pki::crl_until(&pki.ca, &[&serial(&device)], 1, yesterday));
    let warnings = tls.reload().unwrap();
    assert!(warnings[0].to_string().contains("past its next update"), "{warnings:?}");
    assert_eq!(tls.standing(&device), Standing::Revoked);
    assert_eq!(tls.standing(&peer(&tls, &pki.device("d2"))), Standing::Good);
}

#[test]
fn the_newer_of_two_lists_counts_whatever_their_order_in_the_file() {
    let pki = Pki::new();
    let tls = load(&pki);
    let device = peer(&tls, &pki.device("d1"));
    let tomorrow = OffsetDateTime::now_utc() + time::Duration::days(1);
    let old = pki::crl_until(&pki.ca, &[], 255, tomorrow);
    let new = pki::crl_until(&pki.ca, &[&serial(&device)], 256, tomorrow);
    for text in [format!("{old}{new}"), format!("{new}{old}")] {
        pki.write("ca-crl.pem", &text);
        tls.reload().unwrap();
        assert_eq!(tls.standing(&device), Standing::Revoked);
    }
}

#[test]
fn a_server_certificate_that_devices_would_refuse_is_a_warning() {
    let pki = Pki::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = pki::leaf("gateway-1");
    pki::valid(&mut params, -60, -1);
    pki.write("server.pem", &params.signed_by(&key, &pki.ca).unwrap().pem());
    pki.write("server-key.pem", &key.serialize_pem());
    let warnings: Vec<String> = load(&pki).warnings().iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("expired on") && warnings[1].contains("not made for servers"), "{warnings:#?}");
}

#[test]
fn the_gateway_is_called_as_its_certificate() {
    assert_eq!(load(&Pki::new()).server_name().as_deref(), Some("gateway-1"));
}

#[test]
fn a_broken_reload_leaves_everything_as_it_was() {
    let pki = Pki::new();
    let tls = load(&pki);
    let changed = tls.changed();
    let device = peer(&tls, &pki.device("d1"));
    pki.write("ca.pem", "nothing");
    assert_eq!(tls.reload().unwrap_err().len(), 1);
    assert!(!changed.has_changed().unwrap());
    assert_eq!(tls.standing(&device), Standing::Good);
}

#[test]
fn an_authority_that_leaves_the_bundle_takes_its_devices_along() {
    let pki = Pki::new();
    let tls = load(&pki);
    let (other, old) = (pki::ca("Other CA", BasicConstraints::Unconstrained), peer(&tls, &pki.device("d1")));
    let new = peer(&tls, &pki::issue(&pki::leaf("d2"), &other, &[]));
    assert_eq!(tls.standing(&new), Standing::Untrusted);
    pki.write("ca.pem", &(pki.ca.pem() + &other.pem()));
    pki.revoke_with(&[], &[(&other, &[])]);
    tls.reload().unwrap();
    assert_eq!((tls.standing(&old), tls.standing(&new)), (Standing::Good, Standing::Good));
    pki.write("ca.pem", &other.pem());
    tls.reload().unwrap();
    assert_eq!((tls.standing(&old), tls.standing(&new)), (Standing::Untrusted, Standing::Good));
}

#[tokio::test]
async fn a_welcome_ends_when_the_certificate_is_revoked() {
    let pki = Pki::new();
    let tls = load(&pki);
    let (revoked, good) = (peer(&tls, &pki.device("d1")), peer(&tls, &pki.device("d2")));
    let (mut first, mut second) = (tls.welcome(), tls.welcome());
    pki.revoke(&[&serial(&revoked)]);
    tls.reload().unwrap();
    assert_eq!(first.ends(&revoked).await, Standing::Revoked);
    assert!(timeout(Duration::from_millis(50), second.ends(&good)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_welcome_ends_with_the_certificate() {
    let pki = Pki::new();
    let start = tokio::time::Instant::now();
    let now = OffsetDateTime::now_utc().unix_timestamp() as u64 * 1_000;
    let clock = Clock::from_source(0, move || {
        let elapsed = start.elapsed();
        Reading { wall_ms: now + elapsed.as_millis() as u64, elapsed }
    });
    let tls = Tls::load(pki.config(), clock).unwrap();
    let device = peer(&tls, &pki.device("d1"));
    let left = device.identity.certificate().unwrap().not_after_ms - now;
    assert_eq!(tls.welcome().ends(&device).await, Standing::Expired);
    let late = start.elapsed().saturating_sub(Duration::from_millis(left));
    assert!(late < Duration::from_secs(5), "{late:?}");
}

#[tokio::test]
async fn changed_files_are_taken_over_without_being_told() {
    let pki = Pki::new();
    let tls = load(&pki);
    let shutdown = CancellationToken::new();
    let mut changed = tls.changed();
    let reloading = tls.clone();
    let reload = move || {
        reloading.reload().unwrap();
        std::future::ready(())
    };
    let watching = tokio::spawn(tls.clone().watch("devices".to_owned(), shutdown.clone(), reload));
    pki.write_server("gateway-2");
    timeout(Duration::from_secs(10), changed.changed()).await.unwrap().unwrap();
    assert_eq!(tls.server_name().as_deref(), Some("gateway-2"));
    shutdown.cancel();
    watching.await.unwrap();
}

#[test]
fn a_board_without_a_clock_trusts_the_first_days_of_its_own_files() {
    let pki = Pki::new();
    let reading = || Reading { wall_ms: 0, elapsed: Duration::ZERO };
    let tls = Tls::load(pki.config(), Clock::from_source(0, reading)).unwrap();
    assert_eq!(tls.standing(&peer(&tls, &pki.device("d1"))), Standing::Good);
}

#[test]
fn the_pem_of_a_certificate_may_hold_its_chain() {
    let pki = Pki::new();
    let own = fs::read_to_string(pki.path("server.pem")).unwrap();
    pki.write("server.pem", &(own + &pki.ca.pem()));
    let tls = load(&pki);
    assert_eq!(CertificateDer::pem_file_iter(pki.path("server.pem")).unwrap().count(), 2);
    assert_eq!(tls.server_name().as_deref(), Some("gateway-1"));
}
