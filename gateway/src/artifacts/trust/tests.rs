//! Who may sign what, and what is said of the others.

use super::super::signature::{KeyKind, PrivateKey};
use super::*;

const ALARM: &str = "r.lan/acme/alarm";
const REFERENCE: &str = "oci://r.lan/acme/alarm:1.0";

fn key() -> PrivateKey {
    PrivateKey::generate(KeyKind::EcdsaP256).unwrap()
}

fn pinned(id: &str, key: &PrivateKey) -> PinnedKey {
    PinnedKey { id: id.to_owned(), key: key.public_key(), repositories: Vec::new(), kinds: Vec::new() }
}

fn digest() -> Digest {
    Digest::of(b"manifest")
}

fn question() -> Question<'static> {
    Question { reference: REFERENCE, repository: Some(ALARM), kind: "telemetry", digest: digest() }
}

fn signed(key: &PrivateKey, repository: &str, digest: Digest) -> Evidence {
    let signed = Payload { repository: repository.to_owned(), digest }.sign(key).unwrap();
    Evidence { signatures: vec![signed], bundle: false }
}

fn trusting(keys: Vec<PinnedKey>) -> Trust {
    Trust { keys, unsigned: vec!["file://".to_owned()], ..Trust::default() }
}

/// The artifact is not trusted, for a reason in one line with these words.
fn distrusted(trust: &Trust, question: Question<'_>, evidence: &Evidence, words: &str) {
    let told = trust.judge(question, evidence).unwrap_err().to_string();
    assert!(told.contains(words) && !told.contains('\n'), "{told}");
}

#[test]
fn a_signature_of_a_pinned_key_for_this_digest_and_repository_counts() {
    let (one, two) = (key(), key());
    let trust = trusting(vec![pinned("one", &one), pinned("two", &two)]);
    assert_eq!(trust.judge(question(), &signed(&two, ALARM, digest())), Ok(Some("two".to_owned())));
    let mut several = signed(&key(), ALARM, digest());
    several.signatures.extend(signed(&two, "elsewhere/alarm", digest()).signatures);
    several.signatures.extend(signed(&one, ALARM, digest()).signatures);
    assert_eq!(trust.judge(question(), &several), Ok(Some("one".to_owned())));
}

#[test]
fn what_is_not_signed_as_it_should_be_is_refused_with_the_reason() {
    let own = key();
    let trust = trusting(vec![pinned("release", &own)]);
    distrusted(&trust, question(), &Evidence::default(), "no signature");
    distrusted(&trust, question(), &Evidence { bundle: true, ..Evidence::default() }, "--new-bundle-format=false");
    distrusted(&trust, question(), &signed(&key(), ALARM, digest()), "`trust.keys`: release");
    distrusted(&trusting(Vec::new()), question(), &signed(&own, ALARM, digest()), "there is none");
    distrusted(&trust, question(), &signed(&own, ALARM, Digest::of(b"other")), "and not of sha256:");
    distrusted(&trust, question(), &signed(&own, "r.lan/acme/other", digest()), "signed_as: r.lan/acme/other");
    distrusted(&trust, question(), &signed(&own, "r.lan/acme/alarm:1.0", digest()), "and not for");
    let nowhere = Question { repository: None, reference: "oci-layout:///srv/stick", ..question() };
    distrusted(&trust, nowhere, &signed(&own, ALARM, digest()), "signed_as: r.lan/acme/alarm");
    let text = Signed { payload: b"{}".to_vec(), signature: own.sign(b"{}").unwrap() };
    distrusted(&trust, question(), &Evidence { signatures: vec![text], bundle: false }, "not to be read");
    let mut changed = signed(&own, ALARM, digest());
    changed.signatures[0].payload.push(b' ');
    distrusted(&trust, question(), &changed, "by a key that is trusted");
}

#[test]
fn a_key_signs_only_for_its_repositories_and_kinds() {
    let own = key();
    let scoped = |repositories: &[&str], kinds: &[&str]| {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        trusting(vec![PinnedKey { repositories: of(repositories), kinds: of(kinds), ..pinned("scoped", &own) }])
    };
    let evidence = signed(&own, ALARM, digest());
    for repositories in [&["r.lan/acme"][..], &["r.lan"], &["x.lan", "r.lan/acme/alarm"]] {
        assert!(scoped(repositories, &["firmware", "telemetry"]).judge(question(), &evidence).is_ok());
    }
    for repositories in [&["r.lan/ac"][..], &["r.lan/acme/alarm/x"], &["r.la"]] {
        distrusted(&scoped(repositories, &[]), question(), &evidence, "may not sign for `r.lan/acme/alarm`");
    }
    distrusted(&scoped(&[], &["firmware"]), question(), &evidence, "of the kind `telemetry`");
}

#[test]
fn what_is_revoked_never_runs() {
    let own = key();
    let revoked = Trust { revoked: [digest()].into(), ..trusting(vec![pinned("release", &own)]) };
    distrusted(&revoked, question(), &signed(&own, ALARM, digest()), "is revoked");
    let file = Trust { revoked: [Digest::of(b"bytes")].into(), ..trusting(Vec::new()) };
    assert!(matches!(
        file.judge_file("file:///a", "telemetry", &Digest::of(b"bytes"), b"bytes", None),
        Err(Distrust::Revoked(_))
    ));
    assert!(file.judge_file("file:///a", "telemetry", &Digest::of(b"other"), b"other", None).is_ok());
}

#[test]
fn only_what_the_configuration_names_runs_unsigned() {
    let trust = |prefix: &str| Trust { unsigned: vec![prefix.to_owned()], ..Trust::default() };
    let nothing = Evidence::default();
    for prefix in ["oci://r.lan", "oci://r.lan/acme", REFERENCE, "oci://"] {
        assert_eq!(trust(prefix).judge(question(), &nothing), Ok(None), "{prefix}");
    }
    for prefix in ["oci://r.la", "oci://r.lan/acm", "file://", "oci-layout://"] {
        distrusted(&trust(prefix), question(), &nothing, "no signature");
    }
    let own = key();
    let both = Trust { keys: vec![pinned("release", &own)], ..trust("oci://") };
    assert_eq!(both.judge(question(), &signed(&own, ALARM, digest())), Ok(Some("release".to_owned())));
    assert_eq!(both.judge(question(), &signed(&key(), ALARM, digest())), Ok(None));
}

#[test]
fn a_bare_file_is_signed_over_its_bytes_by_a_key_for_everything() {
    let own = key();
    let strict = |pinned: PinnedKey| Trust { keys: vec![pinned], ..Trust::default() };
    let judge = |trust: &Trust, bytes: &[u8]| {
        trust.judge_file("file:///a.wasm", "telemetry", &Digest::of(bytes), bytes, Some(&own.sign(b"bytes").unwrap()))
    };
    let trust = strict(pinned("release", &own));
    assert_eq!(judge(&trust, b"bytes"), Ok(Some("release".to_owned())));
    assert!(matches!(judge(&trust, b"other"), Err(Distrust::Stranger { .. })));
    assert_eq!(
        trust.judge_file("file:///a.wasm", "telemetry", &Digest::of(b"bytes"), b"bytes", None),
        Err(Distrust::Unsigned)
    );
    let scoped = PinnedKey { repositories: vec!["r.lan".to_owned()], ..pinned("scoped", &own) };
    assert!(matches!(judge(&strict(scoped), b"bytes"), Err(Distrust::Scope { .. })));
    let again = |trust: &Trust, signer| trust.judge_kept_file("file:///a.wasm", "telemetry", &digest(), signer);
    assert_eq!(again(&trust, Some("release")), Ok(()));
    assert_eq!(again(&trust, None), Err(Distrust::Unsigned));
    assert!(matches!(again(&trust, Some("gone")), Err(Distrust::Stranger { .. })));
    assert_eq!(again(&trusting(Vec::new()), None), Ok(()));
    let lenient = trusting(vec![pinned("release", &own)]);
    assert_eq!(lenient.judge_file("file:///a.wasm", "telemetry", &Digest::of(b"other"), b"other", None), Ok(None));
    assert!(
        matches!(judge(&lenient, b"other"), Err(Distrust::Stranger { .. })),
        "a wrong signature is not passed over"
    );
    let other = PinnedKey { kinds: vec!["firmware".to_owned()], ..pinned("other", &own) };
    assert!(matches!(judge(&strict(other), b"bytes"), Err(Distrust::Scope { .. })));
}
