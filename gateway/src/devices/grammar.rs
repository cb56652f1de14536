//! What ids, identities, attributes and groups may look like.
//!
//! A device id stands in topics, in file names of certificates and in policies. Its grammar is therefore narrow:
//! 1 to 128 ASCII letters, digits and `.`, `_`, `-`, `:`, `@`, `~`, beginning with a letter or a digit. There is no
//! `/`, `+`, `#`, `$`, blank or NUL in it. Groups and names of attributes follow the same grammar.

use thiserror::Error;

use super::Device;

const MAX_ID_BYTES: usize = 128;
const MAX_IDENTITY_BYTES: usize = 512;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_IDENTITIES: usize = 16;
const MAX_ATTRIBUTES: usize = 64;
const MAX_GROUPS: usize = 32;

/// What is wrong with a device.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum GrammarError {
    /// An id, a group or an attribute's name outside the grammar.
    #[error("`{name}` is no {what}: 1 to 128 letters, digits and . _ - : @ ~, beginning with a letter or digit")]
    Name {
        /// What it was to be.
        what: &'static str,
        /// What it is.
        name: String,
    },
    /// An identity that no certificate can have.
    #[error("`{0}` is no identity: 1 to 512 bytes without control characters")]
    Identity(String),
    /// A value that is too long or has control characters.
    #[error("the value of attribute `{0}` is longer than 1024 bytes or has control characters")]
    Value(String),
    /// More than a device may have.
    #[error("a device has at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it may have.
        limit: usize,
    },
}

/// Checks everything about a device that needs no other device.
pub(super) fn check(device: &Device) -> Result<(), GrammarError> {
    check_name("device id", &device.id)?;
    check_count("identities", device.identities.len(), MAX_IDENTITIES)?;
    check_count("attributes", device.attributes.len(), MAX_ATTRIBUTES)?;
    check_count("groups", device.groups.len(), MAX_GROUPS)?;
    for identity in &device.identities {
        let sized = (1..=MAX_IDENTITY_BYTES).contains(&identity.len());
        if !sized || identity.chars().any(char::is_control) {
            return Err(GrammarError::Identity(printable(identity)));
        }
    }
    for (name, value) in &device.attributes {
        check_name("attribute name", name)?;
        if value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
            return Err(GrammarError::Value(name.clone()));
        }
    }
    device.groups.iter().try_for_each(|group| check_name("group", group))?;
    device.parent.iter().try_for_each(|parent| check_name("device id", parent))
}

/// Checks a device id.
pub(super) fn check_id(id: &str) -> Result<(), GrammarError> {
    check_name("device id", id)
}

fn check_name(what: &'static str, name: &str) -> Result<(), GrammarError> {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    let begins = name.bytes().next().is_some_and(plain);
    let rest = name.bytes().all(|b| plain(b) || b"._-:@~".contains(&b));
    if begins && rest && name.len() <= MAX_ID_BYTES {
        Ok(())
    } else {
        Err(GrammarError::Name { what, name: printable(name) })
    }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), GrammarError> {
    if count > limit {
        return Err(GrammarError::TooMany { what, limit });
    }
    Ok(())
}

/// A name as it may be shown: what a peer sent does not reach a terminal or a log unescaped or whole.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_safe_in_topics_are_taken() {
        for id in ["d1", "WAUZZZ8K9AA000000", "urn:uuid:0a-1", "edge.site_7@x~2", "0"] {
            assert_eq!(check_id(id), Ok(()), "{id}");
        }
    }

    #[test]
    fn ids_that_could_be_something_else_in_a_topic_are_refused() {
        let long = "x".repeat(129);
        for id in ["", "a/b", "+", "a+", "#", "$SYS", "a b", "a\0", "-a", ".", "ä", "a\n", long.as_str()] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_refused_name_is_shown_escaped_and_short() {
        let GrammarError::Name { name, .. } = check_id(&"\u{1b}[2J".repeat(100)).unwrap_err() else {
            panic!("another error");
        };
        assert!(!name.contains('\u{1b}'));
        assert!(name.len() < 1024);
    }

    #[test]
    fn a_device_has_bounds() {
        let mut device = Device { id: "d1".to_owned(), ..Device::default() };
        assert_eq!(check(&device), Ok(()));
        device.groups = (0..=MAX_GROUPS).map(|n| format!("g{n}")).collect();
        assert!(matches!(check(&device), Err(GrammarError::TooMany { what: "groups", .. })));
        device.groups.clear();
        device.attributes.insert("vin".to_owned(), "x".repeat(1025));
        assert_eq!(check(&device), Err(GrammarError::Value("vin".to_owned())));
        device.attributes.clear();
        device.identities = vec!["spiffe://fleet/car 7".to_owned(), "\n".to_owned()];
        assert_eq!(check(&device), Err(GrammarError::Identity("\\n".to_owned())));
    }
}
