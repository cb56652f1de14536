//! A device of each language: writes its status and reads its command, with nothing of the plugin's own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value;

use crate::{Language, Preference};

pub(crate) const LANGUAGES: [Language; 7] = [
    Language::Packed,
    Language::Named,
    Language::NamedJson,
    Language::OpCbor,
    Language::OpJson,
    Language::TaggedCbor,
    Language::TaggedJson,
];

/// What a device says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Says {
    pub(crate) version: String,
    pub(crate) mtu: Option<u32>,
    pub(crate) correlation: Option<u32>,
    /// Version, offset, and the format of the patch.
    pub(crate) progress: Option<(String, u32, Option<String>)>,
    pub(crate) patches: Vec<String>,
}

/// What a device is told; of the fields, those that its language has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) version: Option<Vec<u8>>,
    pub(crate) correlation: Option<u32>,
    pub(crate) poll: Option<u32>,
    pub(crate) offset: Option<u32>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) checksum: Option<Vec<u8>>,
    pub(crate) patch: Option<String>,
}

/// The attribute without which the first status of a device does not tell its language.
pub(crate) const fn attribute(language: Language) -> &'static str {
    match language {
        Language::Packed | Language::Named | Language::NamedJson => "embedded-update",
        Language::OpCbor | Language::OpJson => "op",
        Language::TaggedCbor | Language::TaggedJson => "tagged",
    }
}

pub(crate) fn write(language: Language, says: &Says) -> Vec<u8> {
    let bytes = |text: &str| match language {
        Language::Packed | Language::Named => Value::Bytes(text.as_bytes().to_vec()),
        _ => text.into(),
    };
    let option = |number: Option<u32>| number.map_or(Value::Null, Value::from);
    let map = |pairs: Vec<(&str, u8, Value)>| {
        let key = |name: &str, number: u8| if language == Language::Packed { number.into() } else { name.into() };
        let pairs = pairs.into_iter().filter(|(.., value)| language.is_of_the_crate() || !value.is_null());
        Value::Map(pairs.map(|(name, number, value)| (key(name, number), value)).collect())
    };
    let progress = says.progress.as_ref().map_or(Value::Null, |(version, offset, patch)| {
        let patch = patch.as_deref().map(Value::from);
        let mut fields = vec![("version", 0, bytes(version)), ("offset", 1, (*offset).into())];
        fields.extend(patch.map(|patch| ("patch", 2, patch)));
        map(fields)
    });
    let mut fields = vec![
        ("version", 0, bytes(&says.version)),
        ("mtu", 1, option(says.mtu)),
        ("correlation_id", 2, option(says.correlation)),
        (if language.is_of_the_crate() { "update" } else { "status" }, 3, progress),
    ];
    if !says.patches.is_empty() {
        let patches = says.patches.iter().map(|format| Value::from(format.as_str())).collect();
        fields.push(("patches", 4, Value::Array(patches)));
    }
    let mut out = Vec::new();
    match language {
        Language::NamedJson | Language::OpJson | Language::TaggedJson => {
            serde_json::to_writer(&mut out, &map(fields)).unwrap();
        }
        _ => ciborium::into_writer(&map(fields), &mut out).unwrap(),
    }
    out
}

pub(crate) fn read(language: Language, command: &[u8]) -> Told {
    let json = matches!(language, Language::NamedJson | Language::OpJson | Language::TaggedJson);
    let tree: Value =
        if json { serde_json::from_slice(command).unwrap() } else { ciborium::from_reader(command).unwrap() };
    let mut pairs = tree.into_map().unwrap();
    let name = match language {
        Language::OpCbor | Language::OpJson => {
            let op = pairs.iter().position(|(key, _)| key.as_text() == Some("op")).unwrap();
            pairs.remove(op).1.into_text().unwrap()
        }
        _ => {
            let (key, fields) = pairs.pop().unwrap();
            assert!(pairs.is_empty(), "more than one command");
            pairs = fields.into_map().unwrap();
            match key {
                Value::Text(name) => name,
                number => ["Wait", "Sync", "Write", "Swap"][number_of(&number) as usize].to_owned(),
            }
        }
    };
    let names: &[&str] = match name.as_str() {
        "Wait" => &["correlation_id", "poll"],
        "Sync" => &["version", "correlation_id", "poll"],
        "Write" => &["version", "correlation_id", "offset", "data", "patch"],
        _ => &["version", "correlation_id", "checksum"],
    };
    let mut told = Told { name, ..Told::default() };
    let mut size = None;
    for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_null()) {
        let field = match &key {
            Value::Text(name) => name.as_str(),
            number => names[number_of(number) as usize],
        };
        match field {
            "version" => told.version = Some(bytes_of(language, value)),
            "correlation_id" => told.correlation = Some(number_of(&value)),
            "poll" => told.poll = Some(number_of(&value)),
            "offset" => told.offset = Some(number_of(&value)),
            "size" => size = Some(number_of(&value)),
            "data" if json => told.data = Some(STANDARD.decode(value.as_text().unwrap()).unwrap()),
            "data" => told.data = Some(value.into_bytes().unwrap()),
            "checksum" if matches!(language, Language::Packed | Language::Named) => {
                told.checksum = Some(value.into_bytes().unwrap());
            }
            "checksum" => told.checksum = Some(super::bytes(value.as_text().unwrap())),
            "patch" => told.patch = Some(value.into_text().unwrap()),
            unknown => panic!("{unknown}"),
        }
    }
    let says_size = matches!(language, Language::OpCbor | Language::OpJson) && told.data.is_some();
    assert_eq!(size, told.data.as_ref().filter(|_| says_size).map(|data| data.len() as u32));
    told
}

fn bytes_of(language: Language, value: Value) -> Vec<u8> {
    match language {
        Language::Packed | Language::Named => value.into_bytes().unwrap(),
        _ => value.into_text().unwrap().into_bytes(),
    }
}

fn number_of(value: &Value) -> u32 {
    value.as_integer().unwrap().try_into().unwrap()
}

#[test]
fn every_preference_has_the_name_that_it_is_shown_with() {
    for name in ["op", "tagged", "embedded-update", "packed"] {
        assert!(Preference::named(name).is_some() && Preference::NAMES.contains(&format!("`{name}`")));
    }
    assert_eq!(Preference::named("crate"), None);
}
