//! Raises an alarm when a value in a device's messages crosses a threshold, and clears it when the value is back.
//!
//! Between the two thresholds nothing changes, so a value that trembles around one of them makes one alarm and not a
//! hundred. What is remembered is one word for each device, in the gateway's `state`: the plugin itself keeps nothing.
//!
//! ```yaml
//! config:
//!   pointer: /OilTemp    # where the value is in the payload, a JSON pointer (RFC 6901)
//!   raise: 230           # at this value or beyond it the alarm is raised
//!   clear: 215           # at this value or behind it the alarm is cleared; above `raise` for an alarm on low values
//! ```
//!
//! Each change is a row of the collection `alarms` and a retained message on `devices/<device>/alarm`.

mod rule;

use causeway_plugin::telemetry::{Message, Qos, Router, Setup};
use causeway_plugin::{Effects, Failure};
use serde::Deserialize;
use serde_json::{Value, json};

use rule::{Level, Rule};

/// The name under which the level of a device is remembered.
const LEVEL: &str = "level";

/// The plugin with its configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdAlarm {
    pointer: String,
    #[serde(flatten)]
    rule: Rule,
}

impl Router for ThresholdAlarm {
    fn configure(setup: &Setup) -> Result<Self, String> {
        let alarm: Self = serde_json::from_str(&setup.config).map_err(|error| error.to_string())?;
        alarm.rule.check()?;
        match alarm.pointer.starts_with('/') {
            true => Ok(alarm),
            false => Err(format!("pointer: {:?} is no JSON pointer, such as /OilTemp", alarm.pointer)),
        }
    }

    fn route(&self, message: Message<'_>) -> Result<Effects, Failure> {
        let Some(value) = self.value(message.payload)? else { return Ok(Effects::new()) };
        let before = message.state(LEVEL).map_or(Level::Normal, |bytes| Level::from_bytes(&bytes));
        let after = self.rule.next(before, value);
        if after == before {
            return Ok(Effects::new());
        }
        let device = &message.sender.id;
        let alarm = json!({ "device": device, "level": after.as_str(), "value": value, "at": message.received_ms });
        Ok(Effects::new().set_state(LEVEL, after.as_str()).put("alarms", alarm.to_string()).publish(
            &format!("devices/{device}/alarm"),
            alarm.to_string().into_bytes(),
            Qos::AtLeastOnce,
            true,
        ))
    }
}

impl ThresholdAlarm {
    /// The number that the pointer names; none in a message that says nothing about it.
    fn value(&self, payload: &[u8]) -> Result<Option<f64>, Failure> {
        let payload: Value = serde_json::from_slice(payload).map_err(|error| Failure::malformed(error.to_string()))?;
        match payload.pointer(&self.pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(value) => Ok(Some(value)),
                None => Err(Failure::malformed(format!("{}: {value} is no number", self.pointer))),
            },
        }
    }
}

causeway_plugin::export_telemetry!(ThresholdAlarm);

#[cfg(test)]
mod tests;
