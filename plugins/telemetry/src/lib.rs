//! The built-in telemetry router: the four vehicle flows `dt/cvra/{device}/cardata|dtc|trip|event` become rows.
//!
//! Keys are lower-cased and the payload is checked against the flow's shape; who the payload claims to be about must be
//! who sent it. It keeps nothing between messages.

mod flow;
mod json;
mod setup;
mod time;

use causeway_plugin::telemetry::{Message, Router, Setup};
use causeway_plugin::{Effects, Failure};
use serde_json::{Map, Value};

use flow::Flow;

/// The router with its configuration.
#[derive(Debug)]
pub struct Telemetry {
    /// A device's clock may run ahead of the gateway's by this much; beyond it, the receive time counts.
    max_skew_ms: u64,
}

impl Router for Telemetry {
    fn configure(setup: &Setup) -> Result<Self, String> {
        setup::parse(&setup.config)
    }

    fn route(&self, message: Message<'_>) -> Result<Effects, Failure> {
        let flow = Flow::of(message.topic)?;
        let mut document = json::lower_cased(message.payload).map_err(Failure::malformed)?;
        flow.check(&document)?;
        let vin = bound_vin(&message, &document)?.to_owned();
        let at = self.sent_ms(&message, &document)?;
        if flow == Flow::Cardata {
            locate(&mut document);
        }
        document.insert("deviceid".to_owned(), message.sender.id.clone().into());
        document.insert("receivedat".to_owned(), message.received_ms.into());
        let unique = document.get("messageid").and_then(Value::as_str).map(str::to_owned);
        let text = Value::Object(document).to_string();
        Ok(match flow {
            Flow::Cardata => Effects::new().append_at(flow.collection(), text.clone(), Some(at), unique).upsert(
                "latest_telemetry",
                &vin,
                text,
                at,
            ),
            _ => Effects::new().append_at(flow.collection(), text, Some(at), unique),
        })
    }
}

impl Telemetry {
    /// When the vehicle says it sent the message. A time further ahead than the allowed skew must not win over all
    /// honest messages to come, so the receive time takes its place.
    fn sent_ms(&self, message: &Message<'_>, document: &Map<String, Value>) -> Result<u64, Failure> {
        let Some(text) = document.get("sendtimestamp") else { return Ok(message.received_ms) };
        let sent = text.as_str().and_then(time::parse_ms);
        let sent = sent.ok_or_else(|| Failure::malformed("sendtimestamp: not an ISO 8601 time"))?;
        let latest = message.received_ms.saturating_add(self.max_skew_ms);
        Ok(if sent > latest { message.received_ms } else { sent })
    }
}

/// The VIN of the payload, which is claimed, held against what the sender proved to be.
fn bound_vin<'d>(message: &Message<'_>, document: &'d Map<String, Value>) -> Result<&'d str, Failure> {
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
    Ok(claimed)
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
