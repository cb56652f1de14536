//! What a connected vehicle publishes: the topics and payloads of the Connected Mobility solution.

use serde_json::{Value, json};

/// The topic of one kind of message, as in `dt/cvra/vehicle-1/cardata`.
#[must_use]
pub fn topic(device: &str, kind: &str) -> String {
    format!("dt/cvra/{device}/{kind}")
}

/// Telemetry; `n` makes it distinct. Its oil is never hot enough to be an anomaly.
#[must_use]
pub fn cardata(vin: &str, n: u64) -> Value {
    json!({
        "MessageId": format!("{vin}-{n}"),
        "SimulationId": "test",
        "CreationTimeStamp": timestamp(n),
        "SendTimeStamp": timestamp(n),
        "VIN": vin,
        "TripId": format!("{vin}-trip"),
        "DriverID": "driver",
        "GeoLocation": { "Latitude": 48.1, "Longitude": 11.5, "Altitude": 519, "Heading": 90, "Speed": 50 },
        "Communications": { "GSM": { "Satelites": "7", "Fix": "3D" }, "WiFi": { "NetworkID ": "none" } },
        "Acceleration": { "MaxLongitudinal": { "Axis": 1.0, "Value": 0.2 } },
        "Throttle": { "Max": 40.0, "Average": 20.0 },
        "Speed": { "Max": 60.0, "Average": 50.0 },
        "Odometer": { "Metres": 12.5, "TicksFL": 1, "TicksFR": 1, "TicksRL": 1, "TicksRR": 1 },
        "Fuel": 41.5,
        "OilTemp": n % 250,
    })
}

/// A diagnostic trouble code.
#[must_use]
pub fn dtc(vin: &str, code: &str) -> Value {
    json!({
        "MessageId": format!("{vin}-{code}"),
        "CreationTimeStamp": timestamp(0),
        "SendTimeStamp": timestamp(0),
        "VIN": vin,
        "DTC": { "Code": code, "Changed": "true" },
    })
}

/// The summary of a trip.
#[must_use]
pub fn trip(vin: &str) -> Value {
    let place = json!({ "Latitude": 48.1, "Longitude": 11.5, "Altitude": 519 });
    json!({
        "MessageId": format!("{vin}-trip-message"),
        "CreationTimeStamp": timestamp(0),
        "SendTimeStamp": timestamp(0),
        "VIN": vin,
        "TripId": format!("{vin}-trip"),
        "TripSummary": {
            "StartTime": timestamp(0), "Distance": 12.5, "Duration": 900_000, "Fuel": 800,
            "StartLocation": place, "EndLocation": place,
        },
    })
}

/// An event of the camera.
#[must_use]
pub fn event(vin: &str) -> Value {
    json!({
        "MessageId": format!("{vin}-event"),
        "CreationTimeStamp": timestamp(0),
        "SendTimeStamp": timestamp(0),
        "VIN": vin,
        "Alert": { "VideoEvent": {
            "event_name": "HarshBraking", "event_source": "camera", "event_id": 7, "event_data": {},
            "event_location": { "latitude": 48.1, "longitude": 11.5 },
        } },
    })
}

fn timestamp(n: u64) -> String {
    format!("2026-11-21T{:02}:{:02}:{:02}.{:03}Z", n / 3_600_000 % 24, n / 60_000 % 60, n / 1000 % 60, n % 1000)
}
