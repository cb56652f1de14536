//! From bytes to a tree of values, with bounds: size, depth, number of values, and no length that the bytes do not have.
//!
//! JSON becomes the same tree as CBOR, so that what follows reads one thing.

use ciborium::Value;

use crate::language::Notation;

/// How deeply values may be nested in one another. A status has two levels; the rest is for fields that are not known.
const MAX_DEPTH: usize = 8;

/// More values than any status has.
const MAX_VALUES: usize = 256;

/// The tag that says "this is CBOR", as it is written.
const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// How a message is written, as far as its first byte tells.
pub(crate) fn notation(payload: &[u8]) -> Option<Notation> {
    match payload.first()? {
        b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n' => Some(Notation::Json),
        // Arrays, maps and tags.
        0x80..=0xdb => Some(Notation::Cbor),
        _ => None,
    }
}

/// Whether a CBOR message begins as one without names does: an array, or a map whose first key is a number.
pub(crate) fn begins_packed(payload: &[u8]) -> bool {
    let item = payload.strip_prefix(&SELF_DESCRIBED).unwrap_or(payload);
    match item {
        [0x80..=0x9f, ..] => true,
        [0xa0..=0xb7 | 0xbf, key, ..] | [0xb8, _, key, ..] => *key <= 0x1b,
        _ => false,
    }
}

/// Reads a message.
pub(crate) fn read(payload: &[u8], notation: Notation) -> Result<Value, String> {
    match notation {
        Notation::Json => {
            let tree = serde_json::from_slice(payload).map_err(|error| format!("no JSON: {error}"))?;
            let mut left = MAX_VALUES;
            if within(&tree, MAX_DEPTH, &mut left) { Ok(tree) } else { Err(too_much()) }
        }
        Notation::Cbor => {
            let mut scan = Scan { bytes: payload, at: 0, values: MAX_VALUES };
            scan.value(MAX_DEPTH)?;
            if scan.at < payload.len() {
                return Err(format!("no CBOR: the value ends {} bytes before the message", scan.left()));
            }
            ciborium::de::from_reader_with_recursion_limit(payload, MAX_DEPTH + 1)
                .map_err(|error| format!("no CBOR: {error}"))
        }
    }
}

fn too_much() -> String {
    format!("values are nested more than {MAX_DEPTH} deep, or there are more than {MAX_VALUES}")
}

fn within(value: &Value, depth: usize, values: &mut usize) -> bool {
    let (Some(depth), Some(left)) = (depth.checked_sub(1), values.checked_sub(1)) else { return false };
    *values = left;
    match value {
        Value::Array(items) => items.iter().all(|item| within(item, depth, values)),
        Value::Map(pairs) => pairs.iter().all(|(key, item)| within(key, depth, values) && within(item, depth, values)),
        _ => true,
    }
}

/// A walk over CBOR that allocates nothing: what it lets pass can be decoded within the size of the message.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Scan<'_> {
    /// Steps over one value.
    fn value(&mut self, depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or_else(too_much)?;
        self.values = self.values.checked_sub(1).ok_or_else(too_much)?;
        let (major, argument) = self.head()?;
        match (major, argument) {
            (0 | 1 | 7, Some(_)) => Ok(()),
            (2 | 3, Some(length)) => self.skip(length),
            (2 | 3, None) => Err("no CBOR that is read: a string of indefinite length".to_owned()),
            (4 | 5, length) => self.items(if major == 5 { 2 } else { 1 }, length, depth),
            (6, Some(_)) => self.value(depth),
            _ => Err(format!("no CBOR: byte {} begins no value", self.at.saturating_sub(1))),
        }
    }

    /// Steps over the values of an array, or of a map, where `each` is 2.
    fn items(&mut self, each: u64, length: Option<u64>, depth: usize) -> Result<(), String> {
        if let Some(length) = length {
            let what = if each == 2 { "pairs" } else { "values" };
            // Each value has a byte at least.
            let count = length.checked_mul(each).filter(|&count| count <= self.left());
            for _ in 0..count.ok_or_else(|| format!("no CBOR: {length} {what} are said to follow"))? {
                self.value(depth)?;
            }
            return Ok(());
        }
        while self.bytes.get(self.at) != Some(&0xff) {
            for _ in 0..each {
                self.value(depth)?;
            }
        }
        self.at += 1;
        Ok(())
    }

    /// The major type and the argument of a value; no argument is an indefinite length.
    fn head(&mut self) -> Result<(u8, Option<u64>), String> {
        let first = self.byte()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let width = match info {
            0..=23 => return Ok((major, Some(u64::from(info)))),
            24..=27 => 1_usize << (info - 24),
            31 => return Ok((major, None)),
            _ => return Err(format!("no CBOR: byte {} begins no value", self.at.saturating_sub(1))),
        };
        let mut argument = 0;
        for _ in 0..width {
            argument = argument << 8 | u64::from(self.byte()?);
        }
        Ok((major, Some(argument)))
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| "no CBOR: it ends within a value".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, length: u64) -> Result<(), String> {
        if length > self.left() {
            return Err(format!("no CBOR: {length} bytes are said to follow, {} do", self.left()));
        }
        self.at += usize::try_from(length).unwrap_or(usize::MAX);
        Ok(())
    }

    fn left(&self) -> u64 {
        u64::try_from(self.bytes.len().saturating_sub(self.at)).unwrap_or(u64::MAX)
    }
}
