//! What a reference is while it is asked for, when it could not be asked for, and when that failed.

use super::super::layouts::Source;
use super::*;

const REFERENCE: &str = "oci://r.lan/motor:1.0.0";
const RETRY: Duration = Duration::from_secs(60);

fn known(version: &str) -> Arc<Known> {
    let image = Digest::of(version.as_bytes());
    let (name, from, size) = ("motor".to_owned(), Vec::new(), 1);
    let said = Said { name, version: version.to_owned(), from, image, size, source: Source::File };
    let Said { name, version, from, image, size, .. } = said.clone();
    let (checksum, image) = (image.bytes(), image.to_string());
    let release = Arc::new(Release { name, version, image, size, checksum, from });
    let wanted = Wanted { reference: REFERENCE.parse().unwrap(), signed_as: None, kind: "firmware" };
    Arc::new(Known { release, wanted, trusted: None, said, signed_by: None })
}

fn due_in(catalogue: &mut Catalogue, pause: Duration) -> Vec<String> {
    catalogue.due(Instant::now() + pause)
}

#[test]
fn a_reference_that_is_asked_for_is_being_fetched_and_not_due_again() {
    let mut catalogue = Catalogue::new(2);
    assert_eq!(catalogue.find(REFERENCE), None);
    catalogue.ask(REFERENCE);
    assert_eq!(catalogue.find(REFERENCE), Some(Err(Unready::Fetching)));
    assert!(due_in(&mut catalogue, RETRY * 2).is_empty() && catalogue.next_due().is_none());
}

#[test]
fn a_reference_that_found_no_room_is_asked_for_by_the_next_one_or_when_it_is_due() {
    let mut catalogue = Catalogue::new(2);
    catalogue.ask(REFERENCE);
    catalogue.not_asked(REFERENCE, RETRY);
    assert_eq!(catalogue.find(REFERENCE), None, "the next one asks");
    assert!(due_in(&mut catalogue, Duration::ZERO).is_empty());
    assert!(catalogue.next_due().is_some());
    assert_eq!(due_in(&mut catalogue, RETRY * 2), [REFERENCE]);
    assert!(due_in(&mut catalogue, RETRY * 2).is_empty(), "it is at work");
    // Handed over, and again without room.
    catalogue.busy(REFERENCE);
    assert_eq!(catalogue.find(REFERENCE), Some(Err(Unready::Fetching)));
    catalogue.not_asked(REFERENCE, RETRY);
    assert_eq!(due_in(&mut catalogue, RETRY * 2), [REFERENCE]);
}

#[test]
fn a_reference_that_failed_says_why_until_it_is_asked_for_again() {
    let mut catalogue = Catalogue::new(2);
    catalogue.ask(REFERENCE);
    let why = Unready::Unavailable("nobody answers".to_owned());
    catalogue.found(REFERENCE, Err(why.clone()), Some(RETRY));
    assert_eq!(catalogue.find(REFERENCE), Some(Err(why.clone())));
    assert!(due_in(&mut catalogue, Duration::ZERO).is_empty());
    assert_eq!(due_in(&mut catalogue, RETRY * 2), [REFERENCE]);
    assert_eq!(catalogue.find(REFERENCE), Some(Err(why)), "what is known of it is said meanwhile");
    let known = known("1.0.0");
    catalogue.found(REFERENCE, Ok(Arc::clone(&known)), None);
    assert_eq!(catalogue.find(REFERENCE), Some(Ok(Arc::clone(&known.release))));
    assert!(catalogue.next_due().is_none() && catalogue.here(&known.digest()).is_some());
}

#[test]
fn a_followed_tag_that_cannot_be_asked_for_stays_what_it_was() {
    let mut catalogue = Catalogue::new(2);
    let followed = Followed { reference: REFERENCE.to_owned(), approval: false };
    assert_eq!(catalogue.follow(std::slice::from_ref(&followed)), [REFERENCE]);
    assert!(catalogue.follow(&[followed]).is_empty(), "it is followed already");
    let known = known("1.0.0");
    catalogue.found(REFERENCE, Ok(Arc::clone(&known)), Some(RETRY));
    assert_eq!(due_in(&mut catalogue, RETRY * 2), [REFERENCE]);
    catalogue.found(REFERENCE, Err(Unready::Unavailable("nobody answers".to_owned())), Some(RETRY));
    assert_eq!(catalogue.find(REFERENCE), Some(Ok(Arc::clone(&known.release))));
    assert!(catalogue.list(|_| false)[0].problem.is_some(), "operators are told");
    assert_eq!(due_in(&mut catalogue, RETRY * 2), [REFERENCE]);
}

#[test]
fn what_is_refused_from_now_on_is_asked_for_again_at_once() {
    let mut catalogue = Catalogue::new(2);
    catalogue.ask(REFERENCE);
    let known = known("1.0.0");
    catalogue.found(REFERENCE, Ok(Arc::clone(&known)), None);
    let why = Unready::Refused("it is revoked".to_owned());
    catalogue.refuse(&known, &why);
    assert_eq!(catalogue.find(REFERENCE), Some(Err(why)));
    assert!(catalogue.here(&known.digest()).is_none() && catalogue.named("motor", "1.0.0").is_empty());
    assert_eq!(due_in(&mut catalogue, Duration::from_millis(1)), [REFERENCE]);
}

#[test]
fn what_was_asked_about_before_the_trust_changed_and_refused_is_asked_for_again_at_once() {
    let mut catalogue = Catalogue::new(2);
    let refused = || Err(Unready::Refused("it has no signature".to_owned()));
    catalogue.ask(REFERENCE);
    catalogue.hasten_refused();
    catalogue.found(REFERENCE, refused(), Some(RETRY));
    assert_eq!(due_in(&mut catalogue, Duration::ZERO), [REFERENCE]);
    catalogue.found(REFERENCE, refused(), Some(RETRY));
    assert!(due_in(&mut catalogue, Duration::ZERO).is_empty(), "nothing has changed since");
}

#[test]
fn of_more_references_than_are_known_those_go_that_nobody_asked_for_the_longest() {
    let mut catalogue = Catalogue::new(2);
    let kept = Followed { reference: "oci://r.lan/motor:latest".to_owned(), approval: true };
    catalogue.follow(std::slice::from_ref(&kept));
    catalogue.ask("motor:1");
    assert_eq!(catalogue.ask("motor:2"), 1);
    assert_eq!(catalogue.find("motor:1"), None);
    assert!(catalogue.find("motor:2").is_some() && catalogue.followed(&kept.reference) == Some(true));
}
