//! Reads a JSON object with its keys lower-cased at every depth, and looks into what was read.
//!
//! Two keys that become one are refused: which of them another reader would see is anybody's guess. So is what is
//! nested deeper than [`DEPTH`]: every level costs stack, here and in whoever reads the row.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Levels of objects and lists in one payload.
const DEPTH: usize = 64;

/// The object in `payload` with lower-case keys; the error says where it stops being one.
pub(crate) fn lower_cased(payload: &[u8]) -> Result<Map<String, Value>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let value = Lower { left: DEPTH }.deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    match value {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

/// The value at an RFC 6901 pointer.
pub(crate) fn at<'a>(document: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let path = pointer.strip_prefix('/')?;
    let (first, rest) = path.find('/').map_or((path, ""), |end| path.split_at(end));
    document.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

/// The text at a pointer, when it is one and not empty.
pub(crate) fn text<'a>(document: &'a Map<String, Value>, pointer: &str) -> Option<&'a str> {
    at(document, pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A whole number of a document that the gateway keeps; 0 when there is none.
pub(crate) fn number(document: &Map<String, Value>, name: &str) -> u64 {
    document.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Merges `patch` into `document` as the store does (RFC 7396).
pub(crate) fn merge(document: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(document.remove(key)),
            Value::Object(inner) => {
                let slot = document.entry(key.clone()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    merge(slot, inner);
                }
            }
            value => drop(document.insert(key.clone(), value.clone())),
        }
    }
}

/// Reads one value with so many levels left.
#[derive(Clone, Copy)]
struct Lower {
    left: usize,
}

impl Lower {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let left = self.left.checked_sub(1);
        left.map(|left| Self { left }).ok_or_else(|| E::custom(format!("nested deeper than {DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Lower {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lower {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let key = key.to_lowercase();
            let value = access.next_value_seed(inner)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("key {key:?} is given twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            items.push(value);
        }
        Ok(Value::Array(items))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn keys_are_lower_cased_at_every_depth_and_values_are_left_alone() {
        let read = lower_cased(br#"{"A":{"Bc":[{"D":"EF"}]}}"#).unwrap();
        assert_eq!(Value::Object(read), json!({"a": {"bc": [{"d": "EF"}]}}));
    }

    #[test]
    fn sixty_four_levels_are_read_and_one_more_is_refused() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(lower_cased(nested(64).as_bytes()).is_ok());
        for levels in [65, 100, 10_000] {
            let reason = lower_cased(nested(levels).as_bytes()).unwrap_err();
            assert!(reason.contains("nested deeper than 64 levels"), "{reason}");
        }
    }

    #[test]
    fn what_follows_the_object_is_refused() {
        assert!(lower_cased(b"{} {}").unwrap_err().starts_with("not JSON: trailing characters"));
    }

    #[test]
    fn pointers_reach_into_objects_lists_and_escaped_keys() {
        let document = object(json!({"a": {"b": [1, 2]}, "x/y": {"~": 3}}));
        assert_eq!(at(&document, "/a/b/1"), Some(&json!(2)));
        assert_eq!(at(&document, "/x~1y/~0"), Some(&json!(3)));
        assert_eq!((at(&document, "/a/c"), at(&document, "a"), at(&document, "")), (None, None, None));
    }

    #[test]
    fn a_patch_replaces_removes_and_makes_members() {
        let mut document = object(json!({"a": {"x": 1, "y": 2}, "b": [1], "c": 1}));
        merge(&mut document, &object(json!({"a": {"x": null, "z": {"n": null, "m": 1}}, "b": {"k": 1}, "d": 2})));
        assert_eq!(Value::Object(document), json!({"a": {"y": 2, "z": {"m": 1}}, "b": {"k": 1}, "c": 1, "d": 2}));
    }
}
