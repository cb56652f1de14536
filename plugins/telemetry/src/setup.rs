//! Reads the binding's `config` section.

use serde_json::Value;

use crate::Telemetry;

const DEFAULT_MAX_SKEW_S: u64 = 300;

/// The router for a configuration; the error names the key and what it should be.
pub(crate) fn parse(config: &str) -> Result<Telemetry, String> {
    let Ok(Value::Object(keys)) = serde_json::from_str(config) else {
        return Err("the configuration is not an object".to_owned());
    };
    let mut max_skew_s = DEFAULT_MAX_SKEW_S;
    for (key, value) in keys {
        match key.as_str() {
            "max_skew_s" => max_skew_s = value.as_u64().ok_or("max_skew_s: a whole number of seconds is needed")?,
            _ => return Err(format!("{key}: unknown key; known is max_skew_s")),
        }
    }
    Ok(Telemetry { max_skew_ms: max_skew_s.saturating_mul(1000) })
}
