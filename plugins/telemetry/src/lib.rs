//! The built-in telemetry router: what vehicles, the asset library and update jobs say becomes rows.
//!
//! One plugin for all flows; its configuration says which are on ([`Settings`]). Keys are lower-cased and payloads are
//! checked; who a payload claims to be about must be who sent it; readings get canonical units; trouble codes and
//! anomalies are sets that follow the newest message. It keeps nothing between messages: what it must know of the past
//! it reads from the collections that it writes.

mod anomaly;
mod asset;
mod flow;
mod job;
mod json;
mod message;
mod settings;
mod shared;
mod time;
mod vehicle;

use causeway_plugin::telemetry::{Message, Router, Setup};
use causeway_plugin::{Effects, Failure};

use flow::Flow;
pub use message::{Input, Put, Records};
pub use settings::Settings;

/// The router.
#[derive(Debug)]
pub struct Telemetry(Settings);

impl Router for Telemetry {
    fn configure(setup: &Setup) -> Result<Self, String> {
        Settings::from_json(&setup.config).map(Self)
    }

    fn route(&self, message: Message<'_>) -> Result<Effects, Failure> {
        let input = Input {
            topic: message.topic,
            device: message.variable("device"),
            sender: &message.sender.id,
            vin: message.attribute("vin"),
            payload: message.payload,
            received_ms: message.received_ms,
        };
        let rows = route(&self.0, input, &Kept(message))?;
        Ok(rows.into_iter().fold(Effects::new(), |effects, row| effects.put(row.collection, row.document)))
    }
}

/// The collections as the gateway lets this message see them.
struct Kept<'a>(Message<'a>);

impl Records for Kept<'_> {
    fn get(&self, collection: &str, key: &str) -> Result<Option<String>, Failure> {
        Ok(self.0.record(collection, &[key])?)
    }
}

/// The rows of one message.
///
/// # Errors
/// It is not what it must be, its sender may not say it, or what it depends on cannot be read now.
pub fn route(settings: &Settings, input: Input<'_>, records: &dyn Records) -> Result<Vec<Put>, Failure> {
    let flow = Flow::of(input.topic)?;
    if !settings.is_on(flow) {
        return Ok(Vec::new());
    }
    let (bytes, most) = (input.payload.len(), settings.max_payload);
    if bytes > most {
        return Err(Failure::malformed(format!("the payload has {bytes} bytes, `max_payload_bytes` is {most}")));
    }
    let document = json::lower_cased(input.payload).map_err(Failure::malformed)?;
    flow.check(&document)?;
    match flow {
        Flow::Cardata | Flow::Dtc | Flow::Trip | Flow::Event => {
            vehicle::route(settings, flow, input, document, records)
        }
        Flow::Devices => asset::device(settings, input, document, records),
        Flow::Groups => asset::group(settings, input, document, records),
        Flow::Jobs => job::execution(settings, input, document, records),
    }
}

causeway_plugin::export_telemetry!(Telemetry);

#[cfg(test)]
mod tests;
