//! Versions: bytes on the wire, texts everywhere else.

use std::borrow::Cow;
use std::fmt::Write;

/// The longest version as a text, in bytes.
pub(crate) const MAX_BYTES: usize = 64;

/// A version as a text: itself if it can be shown, otherwise `0x` and its bytes in hexadecimal digits.
pub(crate) fn text_of(version: &[u8]) -> Result<String, String> {
    let text = match plain(version) {
        Some(text) => text.to_owned(),
        None => format!("0x{}", hex(version)),
    };
    match text.len() {
        0..=MAX_BYTES => Ok(text),
        bytes => Err(format!("a version of {bytes} bytes; at most {MAX_BYTES}")),
    }
}

/// Whether a version is a text that can be shown.
pub(crate) fn is_plain(version: &[u8]) -> bool {
    plain(version).is_some()
}

fn plain(version: &[u8]) -> Option<&str> {
    std::str::from_utf8(version).ok().filter(|text| !text.chars().any(char::is_control))
}

/// The bytes of a version that was written as a text. Only a device whose own version is no text is meant when a release
/// is called `0x` and digits: a release may really have that name.
pub(crate) fn bytes_of(text: &str, binary: bool) -> Cow<'_, [u8]> {
    let bytes = if binary { text.strip_prefix("0x").and_then(unhex) } else { None };
    bytes.map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}
