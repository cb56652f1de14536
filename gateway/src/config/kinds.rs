//! What a binding of one kind is without being told, and which keys mean nothing for it.
//!
//! A key that could not do what it says is an operator's mistake; the same value that the binding has anyway is none, so
//! that the effective configuration reads back to itself.

use causeway_core::template::Template;
use serde_yaml::Value;

use super::check::{below, item};
use super::locate::Segment;
use super::setting::Notes;
use super::{BindingConfig, Config, Delivery, DfuTopicsConfig, PluginKind};

/// The variable of topics that is the device, and the unit of order.
const DEVICE: &str = "device";

/// The topics of a DFU binding that names none: a device's own, and those of a gateway device's children.
const TOPICS: [[&str; 3]; 2] = [
    ["dfu/{device}/status", "dfu/{device}/command", "dfu/{device}/progress"],
    ["dfu/{gateway}/{device}/status", "dfu/{gateway}/{device}/command", "dfu/{gateway}/{device}/progress"],
];

/// Completes each binding by its kind; `root` is what was written.
pub(super) fn settle(config: &mut Config, root: &Value, notes: &mut Notes) {
    for (index, binding) in config.bindings.iter_mut().enumerate() {
        let at = item("bindings", index);
        let written = |key: &str| root.get("bindings")?.get(index)?.get(key).filter(|value| !value.is_null());
        match binding.kind {
            PluginKind::Telemetry => {
                if !binding.topics.is_empty() {
                    notes.at(below(&at, "topics"), "is for bindings of kind `dfu`", "name them in `filters`");
                }
            }
            PluginKind::Dfu => dfu(binding, &|key| written(key).is_some(), &at, notes),
        }
    }
}

fn dfu(binding: &mut BindingConfig, written: &dyn Fn(&str) -> bool, at: &[Segment], notes: &mut Notes) {
    if binding.topics.is_empty() {
        let topics = TOPICS.map(|[status, command, progress]| DfuTopicsConfig {
            status: status.to_owned(),
            command: command.to_owned(),
            progress: Some(progress.to_owned()),
        });
        binding.topics = topics.to_vec();
    }
    for (index, topics) in binding.topics.iter().enumerate() {
        let mut at = below(at, "topics");
        at.push(Segment::Index(index));
        check_topics(topics, &at, notes);
    }
    let filters: Vec<_> = binding.topics.iter().map(|topics| topics.status.clone()).collect();
    let none = BindingConfig::default();
    let meant = [
        ("filters", binding.filters == filters, "`topics` says where devices report"),
        ("delivery", binding.delivery == Delivery::Live, "it is always live: a device asks again"),
        ("key", binding.key.as_deref() == Some(DEVICE), "the device is the unit of order"),
        ("canary", binding.canary.is_none(), "a device is told one thing only"),
        ("batch", binding.batch == none.batch, "a call has one status"),
        ("commit", binding.commit == none.commit, "nothing is committed"),
        ("max_skew", binding.max_skew == none.max_skew, "nothing is committed"),
        ("retries", binding.retries == none.retries, "a device asks again"),
        ("max_hops", binding.max_hops == none.max_hops, "only devices are answered"),
        ("budget", binding.budget == none.budget, "nothing waits in the journal for it"),
    ];
    for (key, same, why) in meant {
        if written(key) && !same {
            notes.at(below(at, key), "means nothing for a binding of kind `dfu`", format!("take it out: {why}"));
        }
    }
    if !written("plugin") {
        binding.plugin = "builtin:dfu".to_owned();
    }
    (binding.filters, binding.delivery, binding.key) = (filters, Delivery::Live, Some(DEVICE.to_owned()));
}

/// A missing key was noted when the section was read.
fn check_topics(topics: &DfuTopicsConfig, at: &[Segment], notes: &mut Notes) {
    let Some(status) = template(&topics.status, "status", at, notes) else { return };
    if !status.variables().iter().any(|name| name == DEVICE) {
        let remedy = "write `{device}` for the level that is the device's id";
        notes.at(below(at, "status"), format!("`{}` has no variable `{DEVICE}`", topics.status), remedy);
        return;
    }
    let progress = topics.progress.as_deref().unwrap_or_default();
    for (key, text) in [("command", topics.command.as_str()), ("progress", progress)] {
        let Some(own) = template(text, key, at, notes) else { continue };
        if !own.variables().iter().any(|name| name == DEVICE) {
            let remedy = "write `{device}`, or all devices would be told the same";
            notes.at(below(at, key), format!("`{text}` has no variable `{DEVICE}`"), remedy);
        }
        for name in own.variables().iter().filter(|name| !status.variables().contains(name)) {
            let remedy = format!("write it in `status`, too, or leave it out: {}", topics.status);
            notes.at(below(at, key), format!("`{name}` is no variable of `status`"), remedy);
        }
    }
}

fn template(text: &str, key: &str, at: &[Segment], notes: &mut Notes) -> Option<Template> {
    if text.is_empty() {
        return None;
    }
    match Template::parse("binding", text) {
        Ok(template) => Some(template),
        Err(wrong) => {
            let remedy = "write `{name}` for one level and `{name...}` for the rest";
            notes.at(below(at, key), format!("`{text}`: {wrong}"), remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Problem, parse};
    use super::*;

    fn read(binding: &str) -> Result<BindingConfig, Vec<Problem>> {
        let plain = "listeners: [{name: a, bind: \"127.0.0.1:0\", plain: {identity: {fixed: legacy}}}]";
        let text = format!("{plain}\nbindings: [{{name: dfu, {binding}}}]");
        parse(&text, Path::new("/etc/causeway/causeway.yaml")).map(|mut config| config.bindings.remove(0))
    }

    fn check(binding: &str, key: &str, says: &str) {
        let problems = read(binding).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.key, format!("bindings[0].{key}"));
        assert!(problem.to_string().contains(says), "{problem}");
    }

    const OWN: &str = "kind: dfu, plugin: ./own.wasm";

    #[test]
    fn a_dfu_binding_is_live_and_handles_what_its_topics_say() {
        let binding = read(OWN).unwrap();
        assert_eq!(binding.filters, ["dfu/{device}/status", "dfu/{gateway}/{device}/status"]);
        assert_eq!((binding.delivery, binding.key.as_deref()), (Delivery::Live, Some("device")));
        assert_eq!(binding.topics[1].progress.as_deref(), Some("dfu/{gateway}/{device}/progress"));
        let own =
            read(&format!("{OWN}, topics: [{{status: \"a/{{device}}/dfu\", command: \"b/{{device}}\"}}]")).unwrap();
        assert_eq!((own.filters, own.topics[0].progress.clone()), (vec!["a/{device}/dfu".to_owned()], None));
    }

    #[test]
    fn a_key_that_means_nothing_for_the_kind_is_a_mistake() {
        check(&format!("{OWN}, filters: [\"a/#\"]"), "filters", "`topics` says");
        check(&format!("{OWN}, delivery: durable"), "delivery", "always live");
        check(&format!("{OWN}, key: gateway"), "key", "unit of order");
        check(&format!("{OWN}, canary: {{plugin: ./own.wasm}}"), "canary", "kind `dfu`");
        check(&format!("{OWN}, budget: {{age: 1h}}"), "budget", "journal");
        check(&format!("{OWN}, retries: 3"), "retries", "asks again");
        check("plugin: ./own.wasm, topics: [{status: \"a/{device}\", command: \"b/{device}\"}]", "topics", "`filters`");
    }

    #[test]
    fn topics_name_the_device_and_nothing_that_a_status_does_not() {
        let topics =
            |status: &str, command: &str| format!("{OWN}, topics: [{{status: {status:?}, command: {command:?}}}]");
        check(&topics("a/status", "b/{device}"), "topics[0].status", "no variable `device`");
        check(&topics("a/{device}", "b/c"), "topics[0].command", "no variable `device`");
        check(&topics("a/{device}", "b/{device}/{site}"), "topics[0].command", "`site` is no variable");
        check(&topics("a/{device", "b/{device}"), "topics[0].status", "neither literal");
        check(&format!("{OWN}, topics: [{{status: \"a/{{device}}\"}}]"), "topics[0].command", "is missing");
    }

    #[test]
    fn what_is_shown_of_a_binding_reads_back_to_itself() {
        for binding in [OWN, "kind: telemetry"] {
            let read = read(binding).unwrap();
            let shown = super::super::setting::Setting::show(&read);
            let text = format!(
                "listeners: [{{name: a, bind: \"127.0.0.1:0\", plain: {{identity: {{fixed: legacy}}}}}}]\nbindings: [{shown}]"
            );
            let again = parse(&text, Path::new("/etc/causeway/causeway.yaml")).unwrap();
            assert_eq!(again.bindings, [read]);
        }
    }
}
