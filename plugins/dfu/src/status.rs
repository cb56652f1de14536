//! Reads a status: which language it is in, and what the device says.
//!
//! What is known is checked, what is not known is ignored.

use causeway_plugin::dfu::{Progress, Status};
use ciborium::Value;

use crate::language::{Language, Notation, Preference, Tell};
use crate::settings::Settings;
use crate::{tree, version};

/// The most formats of patches that a device may name, and the longest name in bytes.
const MAX_FORMATS: usize = 8;
const MAX_FORMAT_BYTES: usize = 32;

/// A status that was read.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) language: Language,
    /// To be echoed; it says nothing about who speaks.
    pub(crate) correlation: Option<u32>,
    /// The running version as the device wrote it.
    pub(crate) version: Vec<u8>,
    /// Versions of this device are no texts.
    pub(crate) binary: bool,
    pub(crate) status: Status,
}

/// Why it could not be read, and what could be nevertheless.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) reason: String,
    pub(crate) language: Option<Language>,
    pub(crate) correlation: Option<u32>,
}

/// Reads a status. `preference` is that of the device, if the registry has one.
pub(crate) fn read(payload: &[u8], settings: &Settings, preference: Option<Preference>) -> Result<Said, Unread> {
    let preference = preference.unwrap_or(settings.dialect);
    let Some(notation) = tree::notation(payload) else {
        let reason = "neither CBOR nor JSON: a status is a map".to_owned();
        return Err(Unread { reason, language: None, correlation: None });
    };
    let guess = || {
        let packed = notation == Notation::Cbor && tree::begins_packed(payload);
        let tell = if packed { Tell::Packed } else { Tell::Nothing };
        Language::of(notation, tell, preference)
    };
    let unread = |reason| Unread { reason, language: Some(guess()), correlation: None };
    if payload.len() > settings.max_status {
        return Err(unread(format!("a status of {} bytes; `max_status` is {}", payload.len(), settings.max_status)));
    }
    let tree = tree::read(payload, notation).map_err(unread)?;
    let fields = Fields::of(&tree).ok_or_else(|| unread("a status is a map".to_owned()))?;
    let language = Language::of(notation, fields.tell(notation), preference);
    let unread = |correlation, reason| Unread { reason, language: Some(language), correlation };
    let correlation = fields.number("correlation_id", 2).map_err(|reason| unread(None, reason))?;
    let bytes_only = notation == Notation::Cbor && language.is_of_the_crate();
    said(&fields, language, correlation, bytes_only).map_err(|reason| unread(correlation, reason))
}

fn said(fields: &Fields<'_>, language: Language, correlation: Option<u32>, bytes_only: bool) -> Result<Said, String> {
    let version = fields.version(bytes_only)?;
    let progress = match fields.progress()? {
        None => None,
        Some(update) => Some(Progress {
            version: version::text_of(&update.version(bytes_only)?)?,
            offset: update.number("offset", 1)?.ok_or("`offset` is missing")?.into(),
            patch: update.get("patch", 2)?.map(format).transpose()?,
        }),
    };
    let status = Status {
        version: version::text_of(&version)?,
        mtu: fields.number("mtu", 1)?,
        progress,
        formats: fields.formats()?,
    };
    Ok(Said { language, correlation, binary: !version::is_plain(&version), version, status })
}

/// The fields of a struct: a map with names or numbers as keys, or an array of them in order.
enum Fields<'a> {
    Map(&'a [(Value, Value)]),
    Array(&'a [Value]),
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match untagged(value) {
            Value::Map(pairs) => Some(Self::Map(pairs)),
            Value::Array(items) => Some(Self::Array(items)),
            _ => None,
        }
    }

    /// What the fields of a status tell about its language.
    fn tell(&self, notation: Notation) -> Tell {
        let Self::Map(pairs) = self else { return Tell::Packed };
        if pairs.iter().any(|(key, _)| matches!(untagged(key), Value::Integer(_))) {
            return Tell::Packed;
        }
        let named = |name: &str| pairs.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
        match named("version").map(untagged) {
            Some(Value::Bytes(_) | Value::Array(_)) => Tell::Named,
            _ if named("status").is_some_and(|status| Self::of(status).is_some()) => Tell::Document,
            Some(Value::Text(_)) if notation == Notation::Cbor => Tell::Document,
            _ if notation == Notation::Json && named("update").is_some() => Tell::Named,
            _ => Tell::Nothing,
        }
    }

    /// A field by its name or number; null is none.
    fn get(&self, name: &str, number: usize) -> Result<Option<&'a Value>, String> {
        let found = match self {
            Self::Array(items) => items.get(number),
            Self::Map(pairs) => {
                let is = |key: &Value| match untagged(key) {
                    Value::Text(text) => text == name,
                    Value::Integer(key) => usize::try_from(*key) == Ok(number),
                    _ => false,
                };
                let mut values = pairs.iter().filter(|(key, _)| is(key)).map(|(_, value)| value);
                let first = values.next();
                if values.next().is_some() {
                    return Err(format!("`{name}` is said twice"));
                }
                first
            }
        };
        Ok(found.map(untagged).filter(|value| !value.is_null()))
    }

    fn number(&self, name: &str, number: usize) -> Result<Option<u32>, String> {
        let Some(value) = self.get(name, number)? else { return Ok(None) };
        let number = value.as_integer().and_then(|integer| u32::try_from(integer).ok());
        number.map(Some).ok_or_else(|| format!("`{name}`: a whole number from 0 to {}", u32::MAX))
    }

    /// The bytes of the field `version`, which every struct has first.
    fn version(&self, bytes_only: bool) -> Result<Vec<u8>, String> {
        match self.get("version", 0)?.ok_or("`version` is missing")? {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            Value::Text(_) if bytes_only => Err("`version`: a byte string, not a text".to_owned()),
            Value::Text(text) => Ok(text.clone().into_bytes()),
            // What the crate's own serialiser makes of bytes in JSON.
            Value::Array(items) if !bytes_only => {
                let byte = |item: &Value| item.as_integer().and_then(|integer| u8::try_from(integer).ok());
                items.iter().map(byte).collect::<Option<_>>().ok_or_else(|| "`version`: a list of bytes".to_owned())
            }
            _ => Err("`version`: a byte string or a text".to_owned()),
        }
    }

    /// How far the device is: `update` of the crate, `status` of the documents; both are understood in all languages.
    fn progress(&self) -> Result<Option<Self>, String> {
        if let Some(update) = self.get("update", 3)? {
            return Self::of(update).map(Some).ok_or_else(|| "`update`: a map, or null".to_owned());
        }
        match self {
            Self::Map(pairs) => {
                let status = pairs.iter().find(|(key, _)| key.as_text() == Some("status"));
                Ok(status.and_then(|(_, value)| Self::of(value)))
            }
            Self::Array(_) => Ok(None),
        }
    }

    /// The formats of patches, an extension of all languages.
    fn formats(&self) -> Result<Vec<String>, String> {
        let Some(value) = self.get("patches", 4)? else { return Ok(Vec::new()) };
        let formats = value.as_array().filter(|formats| formats.len() <= MAX_FORMATS);
        let formats = formats.ok_or_else(|| format!("`patches`: a list of at most {MAX_FORMATS} formats"))?;
        formats.iter().map(|value| format(untagged(value))).collect()
    }
}

fn format(value: &Value) -> Result<String, String> {
    let format = value.as_text().filter(|text| (1..=MAX_FORMAT_BYTES).contains(&text.len()));
    let format = format.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    format.map(str::to_owned).ok_or_else(|| {
        format!("the format of a patch: a text of 1 to {MAX_FORMAT_BYTES} printable ASCII characters without spaces")
    })
}

/// A value without the tags that say what it is.
fn untagged(mut value: &Value) -> &Value {
    while let Value::Tag(_, inner) = value {
        value = inner;
    }
    value
}
