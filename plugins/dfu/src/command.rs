//! Writes a command in a device's language.

use std::borrow::Cow;

use crate::item::{Item, Key};
use crate::language::{Language, Notation};
use crate::version::hex;

/// What a device is told, with everything that is written.
#[derive(Debug)]
pub(crate) enum Command<'a> {
    Wait { poll: u32 },
    Sync { version: &'a [u8], poll: u32 },
    Write { version: Cow<'a, [u8]>, offset: u32, data: &'a [u8], patch: Option<&'a str> },
    Swap { version: Cow<'a, [u8]>, checksum: &'a [u8] },
}

/// A command's name in each family, and its number.
struct Names {
    variant: &'static str,
    number: u8,
    op: &'static str,
    tag: &'static str,
}

impl Command<'_> {
    const fn names(&self) -> Names {
        match self {
            Self::Wait { .. } => Names { variant: "Wait", number: 0, op: "WAIT", tag: "wait" },
            Self::Sync { .. } => Names { variant: "Sync", number: 1, op: "SYNC", tag: "sync" },
            Self::Write { .. } => Names { variant: "Write", number: 2, op: "WRITE", tag: "write" },
            Self::Swap { .. } => Names { variant: "Swap", number: 3, op: "SWAP", tag: "swap" },
        }
    }

    /// The version and the checksum; the fields borrow the texts that are made of them.
    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Wait { .. } => (&[], &[]),
            Self::Sync { version, .. } => (version, &[]),
            Self::Write { version, .. } => (version, &[]),
            Self::Swap { version, checksum } => (version, checksum),
        }
    }

    /// The bytes of the command, with the correlation id of the status that it answers.
    pub(crate) fn encode(&self, language: Language, correlation: Option<u32>) -> Vec<u8> {
        let (version, checksum) = self.parts();
        let (version_text, checksum_text) = (String::from_utf8_lossy(version), hex(checksum));
        let (version, checksum) = match language {
            Language::Packed | Language::Named => (Item::Bytes(version), Item::Bytes(checksum)),
            _ => (Item::Text(&version_text), Item::Text(&checksum_text)),
        };
        let names = self.names();
        let mut fields = self.fields(version, checksum, correlation, language);
        let item = match language {
            Language::Packed => {
                let numbered = |((_, value), number)| (Key::Number(number), value);
                let fields = fields.into_iter().zip(0..).map(numbered).collect();
                Item::Map(vec![(Key::Number(names.number), Item::Map(fields))])
            }
            Language::Named | Language::NamedJson => Item::Map(vec![(Key::Name(names.variant), named(fields))]),
            Language::TaggedCbor | Language::TaggedJson => Item::Map(vec![(Key::Name(names.tag), named(fields))]),
            Language::OpCbor | Language::OpJson => {
                fields.insert(0, ("op", Item::Text(names.op)));
                named(fields)
            }
        };
        match language.notation() {
            Notation::Cbor => item.to_cbor(),
            Notation::Json => item.to_json(),
        }
    }

    /// The fields in the order in which the crate numbers them; in the documents, what is not said is left out.
    fn fields<'a>(
        &'a self,
        version: Item<'a>,
        checksum: Item<'a>,
        correlation: Option<u32>,
        language: Language,
    ) -> Vec<(&'static str, Item<'a>)> {
        let option = |number: Option<u32>| number.map_or(Item::Null, Item::Number);
        let poll = |seconds: u32| ("poll", option((seconds > 0).then_some(seconds)));
        let correlation = ("correlation_id", option(correlation));
        let version = ("version", version);
        let mut fields = match self {
            Self::Wait { poll: seconds } => vec![correlation, poll(*seconds)],
            Self::Sync { poll: seconds, .. } => vec![version, correlation, poll(*seconds)],
            Self::Write { offset, data, patch, .. } => {
                let mut fields = vec![version, correlation, ("offset", Item::Number(*offset))];
                if matches!(language, Language::OpCbor | Language::OpJson) {
                    fields.push(("size", Item::Number(u32::try_from(data.len()).unwrap_or(u32::MAX))));
                }
                fields.push(("data", Item::Bytes(data)));
                fields.extend(patch.map(|format| ("patch", Item::Text(format))));
                fields
            }
            Self::Swap { .. } => vec![version, correlation, ("checksum", checksum)],
        };
        if !language.is_of_the_crate() {
            fields.retain(|(_, value)| !matches!(value, Item::Null));
        }
        fields
    }
}

fn named<'a>(fields: Vec<(&'static str, Item<'a>)>) -> Item<'a> {
    Item::Map(fields.into_iter().map(|(name, value)| (Key::Name(name), value)).collect())
}
