//! Trust that changes while a release is fetched or opened, one step after the other and without threads.

use super::*;

/// What the threads work on, with a release that was fetched and that nobody knows yet.
fn fetched(ground: &Ground) -> (Shared, Artifacts, String, Arc<Known>) {
    let reference = ground.blob("1.0.0", b"image");
    let artifacts = ground.artifacts(&["oci-layout://"]);
    let shared = Shared::new(&ground.config, &artifacts, FirmwareMetrics::default());
    shared.write().ask(&reference);
    let Found::Yes(known) = shared.look_for(&reference, From::Anywhere) else { panic!("it is there") };
    (shared, artifacts, reference, known)
}

/// What a reload does, and the scan that it asks for.
fn trust_nobody(shared: &Shared, artifacts: &Artifacts) {
    artifacts.retrust(&TrustConfig::default()).unwrap();
    shared.write().hasten_refused();
    shared.scan();
}

fn assert_refused(shared: &Shared, reference: &str, known: &Known) {
    let told = shared.read().find(reference);
    assert!(matches!(&told, Some(Err(Unready::Refused(text))) if text.contains("no signature")), "{told:?}");
    assert!(!shared.images.is_open(&known.release.image) && shared.read().here(&known.digest()).is_none());
}

#[test]
fn a_release_that_is_refused_while_it_is_fetched_is_not_served() {
    let ground = Ground::new();
    let (shared, artifacts, reference, known) = fetched(&ground);
    trust_nobody(&shared, &artifacts);
    shared.found(&reference, Ok(Arc::clone(&known)));
    assert_refused(&shared, &reference, &known);
}

#[test]
fn a_tag_that_is_refused_while_it_is_pinned_is_not_served() {
    let ground = Ground::new();
    let (shared, artifacts, reference, known) = fetched(&ground);
    trust_nobody(&shared, &artifacts);
    shared.take_over(&reference, Arc::clone(&known));
    assert_refused(&shared, &reference, &known);
}

#[test]
fn an_image_whose_release_is_refused_while_it_is_read_is_closed_again() {
    let ground = Ground::new();
    let (shared, artifacts, reference, known) = fetched(&ground);
    shared.found(&reference, Ok(Arc::clone(&known)));
    assert!(matches!(shared.open_known(&known, From::Here), Found::Yes(())));
    trust_nobody(&shared, &artifacts);
    assert!(matches!(shared.open_known(&known, From::Here), Found::No(Unready::Unknown)));
    assert_refused(&shared, &reference, &known);
}
