//! The built-in telemetry router: the four vehicle flows `dt/cvra/{device}/cardata|dtc|trip|event` become rows.
//!
//! Keys are lower-cased and the payload is checked against the flow's shape; who the payload claims to be about must be
//! who sent it. It keeps nothing between messages.

mod flow;
mod json;
mod time;

use causeway_plugin::telemetry::{Message, Router, Setup};
use causeway_plugin::{Effects, Failure};
use serde_json::{Map, Value};

use flow::Flow;

/// The router. It has nothing to configure.
#[derive(Debug)]
pub struct Telemetry;

impl Router for Telemetry {
    fn configure(setup: &Setup) -> Result<Self, String> {
        match serde_json::from_str(&setup.config) {
            Ok(Value::Object(keys)) => match keys.keys().next() {
                Some(key) => Err(format!("{key}: unknown key; the telemetry router has nothing to configure")),
                None => Ok(Self),
            },
            _ => Err("the configuration is not an object".to_owned()),
        }
    }

    fn route(&self, message: Message<'_>) -> Result<Effects, Failure> {
        let flow = Flow::of(message.topic)?;
        let mut document = json::lower_cased(message.payload).map_err(Failure::malformed)?;
        flow.check(&document)?;
        check_vin(&message, &document)?;
        let sent_ms = sent_ms(&message, &document)?;
        if flow == Flow::Cardata {
            locate(&mut document);
        }
        document.insert("deviceid".to_owned(), message.sender.id.clone().into());
        document.insert("sentat".to_owned(), sent_ms.into());
        document.insert("receivedat".to_owned(), message.received_ms.into());
        let text = Value::Object(document).to_string();
        Ok(match flow {
            Flow::Cardata => Effects::new().put(flow.collection(), text.clone()).put("latest_telemetry", text),
            _ => Effects::new().put(flow.collection(), text),
        })
    }
}

/// When the vehicle says it sent the message, or when it was received if the vehicle does not say.
fn sent_ms(message: &Message<'_>, document: &Map<String, Value>) -> Result<u64, Failure> {
    let Some(text) = document.get("sendtimestamp") else { return Ok(message.received_ms) };
    let sent = text.as_str().and_then(time::parse_ms);
    sent.ok_or_else(|| Failure::malformed("/sendtimestamp: not an ISO 8601 time"))
}

/// Holds the VIN of the payload, which is claimed, against what the sender proved to be.
fn check_vin(message: &Message<'_>, document: &Map<String, Value>) -> Result<(), Failure> {
    let sender = message.sender.id.as_str();
    let own = message.attribute("vin").unwrap_or(sender);
    if let Some(device) = message.variable("device")
        && device != sender
        && device != own
    {
        return Err(Failure::rejected(format!("the topic names device {device:?}, the sender is {sender:?}")));
    }
    let claimed = document.get("vin").and_then(Value::as_str).unwrap_or_default();
    if claimed.is_empty() || claimed != own {
        return Err(Failure::rejected(format!("vin is {claimed:?}, the sender {sender:?} answers for {own:?}")));
    }
    Ok(())
}

/// Adds `geolocation.location` as `[longitude, latitude]`, the order that GeoJSON uses.
fn locate(document: &mut Map<String, Value>) {
    let Some(Value::Object(place)) = document.get_mut("geolocation") else { return };
    if let (Some(longitude), Some(latitude)) = (place.get("longitude"), place.get("latitude"))
        && longitude.is_number()
        && latitude.is_number()
    {
        let location = Value::Array(vec![longitude.clone(), latitude.clone()]);
        place.insert("location".to_owned(), location);
    }
}

causeway_plugin::export_telemetry!(Telemetry);

#[cfg(test)]
mod tests;
