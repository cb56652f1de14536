//! SHA-256 digests as registries write them: `sha256:` and 64 hexadecimal digits.
//!
//! The digest of a component's layer is the component's digest, and an image of firmware is known by one too.

use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use thiserror::Error;

const PREFIX: &str = "sha256:";

/// What a content is known by.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

/// A text is no digest.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is no digest; write `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash itself.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The 64 hexadecimal digits without the algorithm: the name of a blob in a layout.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest of these 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if hex.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(bytes))
    }

    /// The tag under which cosign keeps the signatures of this digest: `sha256-<hex>.sig`.
    #[must_use]
    pub fn signature_tag(&self) -> String {
        format!("sha256-{}.sig", self.hex())
    }

    /// The tag under which a registry without the referrers API keeps what refers to this digest: `sha256-<hex>`.
    #[must_use]
    pub fn referrers_tag(&self) -> String {
        format!("sha256-{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        const LONGEST_SHOWN: usize = 80;
        let wrong = || DigestError(text.chars().take(LONGEST_SHOWN).filter(|c| !c.is_control()).collect());
        text.strip_prefix(PREFIX).and_then(Self::from_hex).ok_or_else(wrong)
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// The digest of bytes that come one after the other.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_digest_is_written_as_registries_write_it() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        let tag = Digest::of(b"").signature_tag();
        assert!(tag.starts_with("sha256-e3b0c4") && tag.ends_with("b855.sig"), "{tag}");
    }

    #[test]
    fn what_is_nearly_a_digest_is_refused() {
        let good = Digest::of(b"").to_string();
        let upper = good.to_uppercase().replace("SHA256", "sha256");
        let other = good.replace("sha256", "sha512");
        for wrong in ["", "sha256:", "e3b0", &good[..70], &format!("{good}0"), &upper, &other, &good.replace('e', "é")]
        {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_digest_parses_to_itself(bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
            let digest = Digest::of(&bytes);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            let mut hasher = Hasher::new();
            let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
            hasher.update(head);
            hasher.update(tail);
            prop_assert_eq!(hasher.finish(), digest);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", tail in "[0-9a-f]{60,68}") {
            let _ = (text.parse::<Digest>(), format!("sha256:{tail}").parse::<Digest>());
        }
    }
}
