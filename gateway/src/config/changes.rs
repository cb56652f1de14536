//! What a configuration that is read again says otherwise, whether the running gateway can take that over, and what is in
//! force then.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Config;
use super::setting::Setting;

/// What a reload takes over: these keys and all below them.
const TAKEN_OVER: &[&str] = &[
    "bindings[].plugin",
    "bindings[].signed_as",
    "bindings[].allow_downgrade",
    "bindings[].canary",
    "trust",
    "assignments",
];

/// The keys that differ and that only the next start takes over, as an operator would write them.
#[must_use]
pub fn need_restart(running: &Config, read: &Config) -> Vec<String> {
    let mut changed = BTreeSet::new();
    compare("", "", &running.show(), &read.show(), &mut changed);
    changed.into_iter().collect()
}

/// What is in force after the running gateway has taken over what it can, without secrets.
#[must_use]
pub fn in_force(running: &Config, read: &Config) -> Json {
    take_over("", &running.effective(), &read.effective())
}

/// Walks down both; `general` is the key without the names of items.
fn take_over(general: &str, running: &Json, read: &Json) -> Json {
    if TAKEN_OVER.contains(&general) {
        return read.clone();
    }
    match (running, read) {
        (Json::Object(before), Json::Object(now)) => {
            let value = |(name, before): (&String, &Json)| {
                let general = if general.is_empty() { name.clone() } else { format!("{general}.{name}") };
                (name.clone(), take_over(&general, before, now.get(name).unwrap_or(before)))
            };
            before.iter().map(value).collect()
        }
        (Json::Array(before), Json::Array(now)) if named(before) => {
            let item = |before: &Json| {
                let now = now.iter().find(|now| now["name"] == before["name"]);
                take_over(&format!("{general}[]"), before, now.unwrap_or(before))
            };
            before.iter().map(item).collect()
        }
        _ => running.clone(),
    }
}

/// Walks down both; `general` is `key` without the names of items.
fn compare(key: &str, general: &str, running: &Json, read: &Json, changed: &mut BTreeSet<String>) {
    if running == read || TAKEN_OVER.contains(&general) {
        return;
    }
    match (running, read) {
        (Json::Object(before), Json::Object(now)) => {
            for name in before.keys().chain(now.keys()) {
                let below = |path: &str| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let (before, now) = (before.get(name), now.get(name));
                compare(
                    &below(key),
                    &below(general),
                    before.unwrap_or(&Json::Null),
                    now.unwrap_or(&Json::Null),
                    changed,
                );
            }
        }
        (Json::Array(before), Json::Array(now)) if named(before) && named(now) => {
            for item in before.iter().chain(now) {
                let find = |items: &[Json]| items.iter().find(|other| other["name"] == item["name"]).cloned();
                let key = format!("{key}[{}]", item["name"].as_str().unwrap_or_default());
                match (find(before), find(now)) {
                    (Some(before), Some(now)) => compare(&key, &format!("{general}[]"), &before, &now, changed),
                    _ => _ = changed.insert(key),
                }
            }
        }
        _ => _ = changed.insert(key.to_owned()),
    }
}

/// Whether all items of a list have names to be told apart by.
fn named(items: &[Json]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["name"].is_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const RUNNING: &str = "
listeners: [{name: devices, bind: \"127.0.0.1:0\", plain: {identity: {fixed: legacy}}}]
bindings: [{name: a, plugin: a.wasm}, {name: b, config: {colour: red}}]
";

    fn check(change: (&str, &str), expected: &[&str]) {
        let parse = |text: &str| crate::config::parse(text, Path::new("/etc/causeway/causeway.yaml")).unwrap();
        let changed = RUNNING.replace(change.0, change.1);
        assert_ne!(changed, RUNNING);
        assert_eq!(need_restart(&parse(RUNNING), &parse(&changed)), expected);
    }

    #[test]
    fn the_plugin_of_a_binding_is_taken_over() {
        check(("plugin: a.wasm", "plugin: b.wasm"), &[]);
        check(("plugin: a.wasm", "plugin: a.wasm, allow_downgrade: true, signed_as: h/p"), &[]);
    }

    #[test]
    fn what_is_taken_over_is_in_force_and_nothing_else() {
        let parse = |text: &str| crate::config::parse(text, Path::new("/etc/causeway/causeway.yaml")).unwrap();
        let changed = RUNNING
            .replace("plugin: a.wasm", "plugin: b.wasm, canary: {plugin: c.wasm}, partitions: 4")
            .replace("name: b,", "name: c,");
        let shown = in_force(&parse(RUNNING), &parse(&format!("trust: {{unsigned: []}}\n{changed}")));
        let [a, b] = shown["bindings"].as_array().unwrap().as_slice() else { panic!("{shown}") };
        assert_eq!((&a["plugin"], &a["partitions"]), (&"file:///etc/causeway/b.wasm".into(), &1.into()));
        assert_eq!(a["canary"]["plugin"], "file:///etc/causeway/c.wasm");
        assert_eq!((&b["name"], &b["config"]["colour"]), (&"b".into(), &"red".into()));
        assert_eq!(shown["trust"]["unsigned"], serde_json::json!([]));
        assert_eq!(in_force(&parse(RUNNING), &parse(RUNNING)), parse(RUNNING).effective());
    }

    #[test]
    fn what_is_not_taken_over_is_named() {
        check(("colour: red", "colour: green"), &["bindings[b].config.colour"]);
        check(("name: a,", "name: c,"), &["bindings[a]", "bindings[c]"]);
        check(("127.0.0.1:0", "127.0.0.2:0"), &["listeners[devices].bind"]);
        check(
            ("bindings:", "data_dir: elsewhere\nbindings:"),
            &["admin.socket", "artifacts.dir", "artifacts.lockfile", "data_dir", "firmware.dir"],
        );
    }
}
