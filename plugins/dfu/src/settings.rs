//! The plugin's configuration: sizes of blocks and of statuses, and the language of those who do not tell theirs.
//!
//! Every key may be left out. A key that is unknown or of the wrong type is an error that names it.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::language::Preference;

/// The most bytes that the gateway reads at once.
const MAX_BLOCK: u32 = 64 << 10;

/// The configuration, checked.
#[derive(Debug)]
pub struct Settings {
    /// Bytes of data in a block for a device that does not say how many it takes.
    pub(crate) mtu: u32,
    /// The most bytes of data in a block, whatever a device says.
    pub(crate) max_mtu: u32,
    /// The longest status in bytes.
    pub(crate) max_status: usize,
    /// What a device is held to speak if neither its message nor its attribute tells.
    pub(crate) dialect: Preference,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mtu: 512, max_mtu: 4096, max_status: 4096, dialect: Preference::Op }
    }
}

impl Settings {
    /// Reads the binding's `config` section.
    ///
    /// # Errors
    /// The key that is wrong, and what it should be.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let Ok(Value::Object(mut keys)) = serde_json::from_str(text) else {
            return Err("the configuration is not an object".to_owned());
        };
        let default = Self::default();
        let max_mtu = whole(&mut keys, "max_mtu", default.max_mtu, 1..=MAX_BLOCK)?;
        let mtu = whole(&mut keys, "mtu", default.mtu.min(max_mtu), 1..=max_mtu)?;
        let max_status = whole(&mut keys, "max_status", 4096, 256..=MAX_BLOCK)?;
        let dialect = match keys.remove("dialect") {
            None => default.dialect,
            Some(name) => {
                let preference = name.as_str().and_then(Preference::named);
                preference.ok_or_else(|| format!("dialect: {}", Preference::NAMES))?
            }
        };
        match keys.keys().next() {
            Some(key) => Err(format!("{key}: unknown key")),
            None => Ok(Self { mtu, max_mtu, max_status: usize::try_from(max_status).unwrap_or(usize::MAX), dialect }),
        }
    }
}

fn whole(keys: &mut Map<String, Value>, key: &str, default: u32, range: RangeInclusive<u32>) -> Result<u32, String> {
    let Some(value) = keys.remove(key) else { return Ok(default) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{key}: a whole number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, expected: &str) {
        assert_eq!(Settings::from_json(config).unwrap_err(), expected);
    }

    #[test]
    fn without_keys_blocks_have_512_bytes_and_devices_that_do_not_tell_speak_op() {
        let settings = Settings::from_json("{}").unwrap();
        assert_eq!((settings.mtu, settings.max_mtu, settings.max_status), (512, 4096, 4096));
        assert_eq!(settings.dialect, Preference::Op);
    }

    #[test]
    fn every_key_is_read() {
        let config = r#"{"mtu":64,"max_mtu":65536,"max_status":256,"dialect":"embedded-update"}"#;
        let settings = Settings::from_json(config).unwrap();
        assert_eq!((settings.mtu, settings.max_mtu, settings.max_status), (64, 65536, 256));
        assert_eq!(settings.dialect, Preference::EmbeddedUpdate);
        // A smaller cap alone bounds the default, too.
        assert_eq!(Settings::from_json(r#"{"max_mtu":16}"#).unwrap().mtu, 16);
    }

    #[test]
    fn wrong_keys_and_values_are_errors_that_name_the_key() {
        check("[]", "the configuration is not an object");
        check(r#"{"block":1}"#, "block: unknown key");
        check(r#"{"mtu":0}"#, "mtu: a whole number from 1 to 4096");
        check(r#"{"mtu":129,"max_mtu":128}"#, "mtu: a whole number from 1 to 128");
        check(r#"{"max_mtu":65537}"#, "max_mtu: a whole number from 1 to 65536");
        check(r#"{"max_status":"4k"}"#, "max_status: a whole number from 256 to 65536");
        check(r#"{"dialect":"morse"}"#, "dialect: `op`, `tagged`, `embedded-update` or `packed`");
    }
}
