//! The languages of devices: which there are, and what a device is held to speak when its message does not tell.

use causeway_plugin::dfu::Device;

/// The device's attribute that decides when a message does not.
const ATTRIBUTE: &str = "dfu-dialect";

/// How a device speaks, and is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// The crate `embedded-update`: CBOR, with numbers for the names of fields and commands.
    Packed,
    /// The crate `embedded-update`: CBOR, with the names.
    Named,
    /// The crate `embedded-update`, in JSON: versions as texts, data in base64, checksums in hexadecimal digits.
    NamedJson,
    /// The fleet manager's document, in CBOR: the command under `op`, versions as texts, checksums in hexadecimal digits.
    OpCbor,
    /// The fleet manager's document, in JSON: as in CBOR, data in base64.
    OpJson,
    /// The later document, in CBOR: as [`Language::OpCbor`], but the command is the one key around its fields.
    TaggedCbor,
    /// The later document, in JSON.
    TaggedJson,
}

/// What a device is held to speak when its message does not tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preference {
    /// The fleet manager's document.
    Op,
    /// The later document, with the command as the one key around its fields.
    Tagged,
    /// The crate `embedded-update`.
    EmbeddedUpdate,
    /// The crate `embedded-update`, always answered in packed CBOR: what its own server does.
    Packed,
}

impl Preference {
    const NAMED: [(&'static str, Self); 4] = [
        ("op", Self::Op),
        ("tagged", Self::Tagged),
        ("embedded-update", Self::EmbeddedUpdate),
        ("packed", Self::Packed),
    ];

    /// The names, for an error message.
    pub(crate) const NAMES: &'static str = "`op`, `tagged`, `embedded-update` or `packed`";

    /// What a name means.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, preference)| preference)
    }

    /// What the registry says of a device.
    pub(crate) fn of(device: &Device) -> Option<Self> {
        device.attribute(ATTRIBUTE).and_then(Self::named)
    }
}

/// The two notations that languages are written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notation {
    Cbor,
    Json,
}

/// What a message tells about its language.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tell {
    /// Fields have numbers, or places.
    Packed,
    /// It is of the crate, with names.
    Named,
    /// It is of one of the documents.
    Document,
    /// Nothing.
    Nothing,
}

impl Language {
    /// The language of a message: what it tells, then what is known of the device.
    pub(crate) fn of(notation: Notation, tell: Tell, preference: Preference) -> Self {
        let preference = match (tell, preference) {
            (Tell::Packed | Tell::Named, Preference::Packed) => Preference::Packed,
            (Tell::Packed | Tell::Named, _) => Preference::EmbeddedUpdate,
            (Tell::Document, Preference::Tagged) => Preference::Tagged,
            (Tell::Document, _) => Preference::Op,
            (Tell::Nothing, preference) => preference,
        };
        match (preference, notation) {
            (Preference::Packed, _) => Self::Packed,
            (Preference::EmbeddedUpdate, Notation::Cbor) if tell == Tell::Packed => Self::Packed,
            (Preference::EmbeddedUpdate, Notation::Cbor) => Self::Named,
            (Preference::EmbeddedUpdate, Notation::Json) => Self::NamedJson,
            (Preference::Op, Notation::Cbor) => Self::OpCbor,
            (Preference::Op, Notation::Json) => Self::OpJson,
            (Preference::Tagged, Notation::Cbor) => Self::TaggedCbor,
            (Preference::Tagged, Notation::Json) => Self::TaggedJson,
        }
    }

    pub(crate) const fn notation(self) -> Notation {
        match self {
            Self::Packed | Self::Named | Self::OpCbor | Self::TaggedCbor => Notation::Cbor,
            Self::NamedJson | Self::OpJson | Self::TaggedJson => Notation::Json,
        }
    }

    /// Whether it is one of the crate: no field is left out, and in CBOR versions and checksums are bytes.
    pub(crate) const fn is_of_the_crate(self) -> bool {
        matches!(self, Self::Packed | Self::Named | Self::NamedJson)
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self.notation() {
            Notation::Cbor => "application/cbor",
            Notation::Json => "application/json",
        }
    }
}
