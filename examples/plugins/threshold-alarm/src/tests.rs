//! The plugin against a gateway that the SDK plays.

use causeway_plugin::testing::{Gateway, Input};
use causeway_plugin::{Effect, Failure};
use serde_json::Value;

use super::ThresholdAlarm;

const HIGH: &str = r#"{"pointer": "/OilTemp", "raise": 230, "clear": 215}"#;
const LOW: &str = r#"{"pointer": "/OilTemp", "raise": 5, "clear": 10}"#;

/// What each of these values makes of the device's level; `-` for no change.
fn check(config: &str, values: &[f64], expected: &[&str]) {
    let alarm: ThresholdAlarm = Gateway::configure(config).unwrap();
    let mut gateway = Gateway::new();
    let mut level = |value: &f64| {
        let input = Input::new("dt/cvra/truck-7/cardata", format!(r#"{{"OilTemp": {value}}}"#)).sender("truck-7", &[]);
        let effects = gateway.route(&alarm, &input).unwrap();
        match effects.as_slice() {
            [] => "-".to_owned(),
            [Effect::SetState(_), Effect::Put(row), Effect::Publish(message)] => {
                assert_eq!((row.collection.as_str(), message.topic.as_str()), ("alarms", "devices/truck-7/alarm"));
                assert_eq!(row.document.as_bytes(), message.payload);
                let document: Value = serde_json::from_str(&row.document).unwrap();
                assert_eq!(document["value"], *value);
                document["level"].as_str().unwrap().to_owned()
            }
            others => panic!("{others:?}"),
        }
    };
    let levels: Vec<_> = values.iter().map(&mut level).collect();
    assert_eq!(levels, expected);
}

#[test]
fn an_alarm_is_raised_once_and_cleared_once() {
    check(HIGH, &[200.0, 231.0, 240.0, 214.0, 200.0], &["-", "alarm", "-", "normal", "-"]);
    check(LOW, &[20.0, 4.0, 3.0, 11.0, 12.0], &["-", "alarm", "-", "normal", "-"]);
}

#[test]
fn between_the_thresholds_nothing_changes() {
    check(HIGH, &[220.0, 229.9, 230.0, 229.0, 216.0, 230.0, 215.0], &["-", "-", "alarm", "-", "-", "-", "normal"]);
    check(LOW, &[6.0, 5.0, 9.0, 5.0, 10.0], &["-", "alarm", "-", "-", "normal"]);
}

#[test]
fn each_device_has_a_level_of_its_own() {
    let alarm: ThresholdAlarm = Gateway::configure(HIGH).unwrap();
    let mut gateway = Gateway::new().state("d1", "level", "alarm");
    let hot = |device: &str| Input::new("t", r#"{"OilTemp": 240}"#).sender(device, &[]);
    assert!(gateway.route(&alarm, &hot("d1")).unwrap().as_slice().is_empty());
    assert_eq!(gateway.route(&alarm, &hot("d2")).unwrap().as_slice().len(), 3);
}

#[test]
fn a_message_without_the_value_says_nothing_and_one_with_another_value_is_malformed() {
    let alarm: ThresholdAlarm = Gateway::configure(HIGH).unwrap();
    let route = |payload: &str| Gateway::new().route(&alarm, &Input::new("t", payload));
    assert!(route(r#"{"Fuel": 1}"#).unwrap().as_slice().is_empty());
    assert!(route(r#"{"OilTemp": null}"#).unwrap().as_slice().is_empty());
    for payload in [r#"{"OilTemp": "hot"}"#, "", "no JSON"] {
        assert!(matches!(route(payload), Err(Failure::Malformed(_))), "{payload}");
    }
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let wrong = |config: &str| Gateway::configure::<ThresholdAlarm>(config).unwrap_err();
    assert!(wrong(r#"{"pointer": "OilTemp", "raise": 2, "clear": 1}"#).contains("pointer"));
    assert!(wrong(r#"{"pointer": "/OilTemp", "raise": 2, "clear": 2}"#).contains("clear"));
    assert!(wrong(r#"{"pointer": "/OilTemp", "raise": 2}"#).contains("clear"));
    assert!(wrong("{}").contains("pointer"));
    assert!(wrong(r#"{"pointer": "/OilTemp", "raise": 2, "clear": 1, "colour": 1}"#).contains("colour"));
}
