//! Writes values as CBOR or JSON: the few kinds that commands are made of, in the shortest form and the given order.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A value.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Null,
    Number(u32),
    Text(&'a str),
    /// A byte string; in JSON base64.
    Bytes(&'a [u8]),
    Map(Vec<(Key, Self)>),
}

/// The key of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    Name(&'static str),
    Number(u8),
}

impl Item<'_> {
    /// An upper bound of the length, so that a block is moved once.
    fn bound(&self) -> usize {
        match self {
            Self::Null | Self::Number(_) => 16,
            Self::Text(text) => text.len() * 2 + 16,
            Self::Bytes(bytes) => bytes.len() + bytes.len() / 2 + 16,
            Self::Map(pairs) => pairs.iter().map(|(_, value)| value.bound() + 24).sum::<usize>() + 16,
        }
    }

    pub(crate) fn to_cbor(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bound());
        self.write_cbor(&mut out);
        out
    }

    fn write_cbor(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0xf6),
            Self::Number(number) => head(out, 0, u64::from(*number)),
            Self::Text(text) => string(out, 3, text.as_bytes()),
            Self::Bytes(bytes) => string(out, 2, bytes),
            Self::Map(pairs) => {
                head(out, 5, length(pairs.len()));
                for (key, value) in pairs {
                    match key {
                        Key::Name(name) => string(out, 3, name.as_bytes()),
                        Key::Number(number) => head(out, 0, u64::from(*number)),
                    }
                    value.write_cbor(out);
                }
            }
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out = String::with_capacity(self.bound());
        self.write_json(&mut out);
        out.into_bytes()
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Number(number) => out.push_str(&number.to_string()),
            // The writer of texts that knows every escape.
            Self::Text(text) => out.push_str(&serde_json::Value::from(*text).to_string()),
            Self::Bytes(bytes) => {
                out.push('"');
                STANDARD.encode_string(bytes, out);
                out.push('"');
            }
            Self::Map(pairs) => {
                out.push('{');
                for (at, (key, value)) in pairs.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push('"');
                    match key {
                        Key::Name(name) => out.push_str(name),
                        Key::Number(number) => out.push_str(&number.to_string()),
                    }
                    out.push_str("\":");
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    head(out, major, length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// The head of a value (RFC 8949, 3) in its shortest form.
fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let [.., b] = argument.to_be_bytes();
    if argument < 24 {
        out.push(major | b);
    } else if argument <= u64::from(u8::MAX) {
        out.extend_from_slice(&[major | 24, b]);
    } else if let Ok(argument) = u16::try_from(argument) {
        out.push(major | 25);
        out.extend_from_slice(&argument.to_be_bytes());
    } else if let Ok(argument) = u32::try_from(argument) {
        out.push(major | 26);
        out.extend_from_slice(&argument.to_be_bytes());
    } else {
        out.push(major | 27);
        out.extend_from_slice(&argument.to_be_bytes());
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
