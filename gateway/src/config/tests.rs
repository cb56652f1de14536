//! What an operator writes, and what comes back.

mod sources;

use super::*;

const MINIMAL: &str = "\
data_dir: /var/lib/causeway
listeners:
- name: devices
  bind: 0.0.0.0:8883
  tls: {certificate: server.pem, key: server-key.pem, client_ca: ca.pem}
bindings:
- name: telemetry
";

fn problems(text: &str) -> Vec<Problem> {
    parse(text, Path::new("/etc/causeway/causeway.yaml")).err().unwrap_or_default()
}

/// The text has exactly one problem: with this key, at this line, and with these words in it.
fn check(text: &str, key: &str, line: usize, words: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].key.as_str(), found[0].line), (key, Some(line)), "{found:#?}");
    assert!(found[0].to_string().contains(words), "{}", found[0]);
    assert!(!found[0].remedy.is_empty(), "{found:#?}");
}

fn minimal_and(more: &str) -> String {
    format!("{MINIMAL}{more}")
}

#[test]
fn seven_lines_are_enough() {
    let config = parse(MINIMAL, Path::new("/etc/causeway/causeway.yaml")).unwrap();
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificate, Path::new("/etc/causeway/server.pem"));
    assert_eq!(config.admin.socket, Path::new("/var/lib/causeway/admin.sock"));
    assert_eq!(config.bindings[0].filters, TELEMETRY_FILTERS);
    assert_eq!(config.mqtt, MqttConfig::default());
}

#[test]
fn what_is_not_written_is_relative_to_the_file_too() {
    let text = MINIMAL.replace("data_dir: /var/lib/causeway\n", "");
    let config = parse(&text, Path::new("/etc/causeway/causeway.yaml")).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/causeway/data"));
}

#[test]
fn a_plugin_file_is_looked_for_beside_the_configuration() {
    let plugin = |reference: &str| {
        let text = minimal_and(&format!("  plugin: {reference}\n"));
        parse(&text, Path::new("/etc/causeway/causeway.yaml")).unwrap().bindings[0].plugin.clone()
    };
    assert_eq!(plugin("alarm.wasm"), "file:///etc/causeway/alarm.wasm");
    assert_eq!(plugin("file:///opt/alarm.wasm"), "file:///opt/alarm.wasm");
    assert_eq!(plugin("oci-layout://stick:1"), "oci-layout:///etc/causeway/stick:1");
    assert_eq!(plugin("oci://r.lan/alarm:1"), "oci://r.lan/alarm:1");
    check(&minimal_and("  plugin: oci://r.lan/alarm\n"), "bindings[0].plugin", 8, "add `:tag`");
    assert_eq!(plugin("builtin:telemetry"), "builtin:telemetry");
    let canary = |reference: &str| minimal_and(&format!("  canary: {{plugin: {reference}}}\n"));
    let parsed = parse(&canary("next.wasm"), Path::new("/etc/causeway/causeway.yaml")).unwrap();
    assert_eq!(parsed.bindings[0].canary.as_ref().unwrap().plugin, "file:///etc/causeway/next.wasm");
    check(&canary("oci://r.lan/alarm"), "bindings[0].canary.plugin", 8, "add `:tag`");
    check(&minimal_and("  canary: {mode: shadow}\n"), "bindings[0].canary.plugin", 8, "is missing");
    check(&minimal_and("  plugin: builtin:nothing\n"), "bindings[0].plugin", 8, "no built-in plugin `nothing`");
}

#[test]
fn each_mistake_is_named_with_its_line_and_a_remedy() {
    check(&minimal_and("mqtt: {max_conections: 5}"), "mqtt.max_conections", 8, "did you mean `max_connections`?");
    check(&minimal_and("colour: red"), "colour", 8, "is not a known key");
    check(&minimal_and("mqtt:\n  ack_timeout: 10"), "mqtt.ack_timeout", 9, "for example `10s`");
    check(&minimal_and("mqtt:\n  max_connections: 0"), "mqtt.max_connections", 9, "from 1 to 1000000");
    check(&minimal_and("mqtt:\n  max_connections: -4"), "mqtt.max_connections", 9, "a whole number");
    check(&minimal_and("retained:\n\n  max_bytes: 3MB"), "retained.max_bytes", 10, "for example `64MiB`");
    check(&minimal_and("metrics: {bind: localhost}"), "metrics.bind", 8, "127.0.0.1:9464");
    check(&minimal_and("devices: {registration: automatic}"), "devices.registration", 8, "`on-first-connect`");
    check(&minimal_and("log: loud"), "log", 8, "write a mapping");
    check(&minimal_and("  filters: [\"a/#/b\"]"), "bindings[0].filters[0]", 8, "not an MQTT filter");
    check(&minimal_and("  filters: [\"a/{b\"]"), "bindings[0].filters[0]", 8, "not a template");
    check(&minimal_and("- name: telemetry"), "bindings[1].name", 8, "bindings[0]");
    check(&minimal_and("- name: Tele Metry"), "bindings[1].name", 8, "lower-case");
    check(&minimal_and("metrics: {bind: \"0.0.0.0:8883\"}"), "metrics.bind", 8, "another port");
    check(&minimal_and("admin: {users: {alice: admin}}"), "admin.users.alice", 8, "id -u");
    check(&minimal_and("journal: {max_record_bytes: 64KiB}"), "journal.max_record_bytes", 8, "largest MQTT packet");
    check(&MINIMAL.replace("  bind: 0.0.0.0:8883\n", ""), "listeners[0].bind", 3, "is missing");
    check(&MINIMAL.replace(", client_ca: ca.pem", ""), "listeners[0].tls.client_ca", 5, "is missing");
    check(&MINIMAL.replace("  tls:", "  # tls:"), "listeners[0]", 3, "neither `tls` nor `plain`");
}

#[test]
fn the_key_of_a_binding_is_a_variable_of_all_its_filters() {
    let keyed = |filters: &str| minimal_and(&format!("  key: device\n  filters: [{filters}]"));
    assert_eq!(problems(&keyed("\"dt/{device}/a\", \"dt/{kind}/{device}/{rest...}\"")), []);
    check(&keyed("\"dt/{device}/a\", \"dt/{vehicle}/b\""), "bindings[0].filters[1]", 9, "no variable `device`");
    check(&keyed("\"dt/+/a\""), "bindings[0].filters[0]", 9, "write `{device}`");
}

#[test]
fn a_plain_listener_names_its_identity() {
    let plain = |identity: &str| {
        let tls = "tls: {certificate: server.pem, key: server-key.pem, client_ca: ca.pem}";
        MINIMAL.replace(tls, &format!("plain: {identity}"))
    };
    assert_eq!(problems(&plain("{identity: {fixed: legacy}}")), []);
    assert_eq!(problems(&plain("{identity: {client-id: \"legacy/{client-id}\"}}")), []);
    check(&plain("{}"), "listeners[0].plain.identity", 5, "is missing");
    check(&plain("{identity: {client-id: legacy}}"), "listeners[0].plain.identity", 5, "PREFIX");
    check(&plain("{identity: {fixed: \"a/#\"}}"), "listeners[0].plain.identity", 5, "wildcard");
}

#[test]
fn https_needs_somebody_to_let_in() {
    let https = |more: &str| minimal_and(&format!("admin: {{https: {{certificate: a, key: b{more}}}}}"));
    check(&https(""), "admin.https", 8, "lets nobody in");
    check(&https(", tokens: {ci: {sha256: abc}}"), "admin.https.tokens.ci.sha256", 8, "config token");
    assert_eq!(problems(&https(&format!(", tokens: {{ci: {{sha256: {}}}}}", "0".repeat(64)))), []);
}

#[test]
fn a_registry_and_a_key_say_all_that_they_have_to() {
    let registry = |more: &str| minimal_and(&format!("registries:\n- {{host: \"r.lan:5000\"{more}}}\n"));
    let good =
        ", ca: ca.pem, username: a, password_file: pw, mirrors: [m.lan/a], redirects: [c.lan], token_hosts: [t.lan]";
    assert_eq!(problems(&registry(good)), []);
    check(&minimal_and("registries: [{ca: a}]"), "registries[0].host", 8, "is missing");
    check(&minimal_and("registries: [{host: \"https://r.lan\"}]"), "registries[0].host", 8, "no host");
    check(&minimal_and("registries: [{host: R.lan}]"), "registries[0].host", 8, "lower case");
    check(&registry(", mirrors: [\"https://m.lan\"]"), "registries[0].mirrors", 9, "`https://m.lan` is no host");
    check(&registry(", redirects: [c.lan/a]"), "registries[0].redirects", 9, "no host");
    check(&registry(", username: a"), "registries[0].username", 9, "add `password_file`");
    check(&registry(", password_file: a"), "registries[0].password_file", 9, "add `username`");
    check(&registry(", token_file: t, username: a, password_file: b"), "registries[0].token_file", 9, "keep one");
    check(&registry(", plain_http: true, ca: ca.pem"), "registries[0].ca", 9, "plain_http");
    check(&registry("}\n- {host: \"r.lan:5000\""), "registries[1].host", 10, "registries[0]");

    let key = |text: &str| minimal_and(&format!("trust:\n  keys:\n  - {{{text}}}\n"));
    assert_eq!(problems(&key("id: a, file: a.pub, repositories: [r.lan/a], kinds: [telemetry]")), []);
    check(&key("file: a.pub"), "trust.keys[0].id", 10, "is missing");
    check(&key("id: A, pem: a"), "trust.keys[0].id", 10, "lower-case");
    check(&key("id: a"), "trust.keys[0]", 10, "exactly one");
    check(&key("id: a, file: a, pem: b"), "trust.keys[0]", 10, "exactly one");
    check(&key("id: a, file: a, kinds: [tele]"), "trust.keys[0].kinds", 10, "there is telemetry");
    check(
        &key("id: a, file: a, repositories: [\"oci://r.lan\"]"),
        "trust.keys[0].repositories",
        10,
        "without a scheme",
    );
    check(&key("id: a, file: a}\n  - {id: a, file: b"), "trust.keys[1].id", 11, "trust.keys[0]");
    check(&minimal_and("trust: {revoked: [sha256:00]}"), "trust.revoked", 8, "64 lower-case");
    check(&minimal_and("trust: {unsigned: [r.lan/a]}"), "trust.unsigned", 8, "oci://");
    let unsigned = minimal_and("trust: {unsigned: [\"file://plugins/\", \"oci://r.lan/dev\"]}");
    let config = parse(&unsigned, Path::new("/etc/causeway/causeway.yaml")).unwrap();
    assert_eq!(config.trust.unsigned, ["file:///etc/causeway/plugins/", "oci://r.lan/dev"]);
    assert_eq!(config.artifacts.dir, Path::new("/var/lib/causeway/artifacts"));
    assert_eq!(config.artifacts.lockfile, Path::new("/var/lib/causeway/plugins.lock"));
}

#[test]
fn a_collection_is_declared_in_full_or_only_kept_otherwise() {
    let collection = |text: &str| minimal_and(&format!("collections:\n- {text}\n"));
    let door = "columns: [{name: vin, pointer: /vin}, {name: at, pointer: /at, kind: time}]";
    let append = collection(&format!("{{name: door, kind: append, unique: [vin], time: at, {door}}}"));
    assert_eq!(problems(&append), []);
    let kept = "{name: cardata, retention: {max_age: 7d, max_rows: 5, max_bytes: 1MiB}, share: 30}";
    assert_eq!(problems(&collection(kept)), []);

    let check =
        |text: &str, key: &str, words: &str| check(&collection(text), &format!("collections[0]{key}"), 9, words);
    check("{kind: append}", ".name", "is missing");
    check("{name: door}", ".kind", "`door` is not built in");
    check("{name: cardata, kind: append}", ".name", "`cardata` is built in");
    check("{name: cardata, time: sent}", ".time", "keeps its shape");
    check("{name: Door, kind: append}", ".name", "`Door` is no name");
    check("{name: door, kind: queue}", ".kind", "`append`");
    check("{name: door, kind: append, unique: [vin]}", ".unique[0]", "`vin` is not a declared column");
    check(&format!("{{name: door, kind: append, time: vin, {door}}}"), ".time", "kind `time`");
    check(&format!("{{name: door, kind: append, key: [vin], {door}}}"), ".key", "is not for `append`");
    check(&format!("{{name: door, kind: merge, {door}}}"), ".key", "at least one column");
    check(&format!("{{name: door, kind: upsert, key: [vin], {door}}}"), ".newest_by", "is missing");
    check(&format!("{{name: door, kind: append, indexes: [[vin], [x]], {door}}}"), ".indexes[1][0]", "`x`");
    check("{name: door, kind: append, columns: [{name: a, pointer: b}]}", ".columns[0].pointer", "`b`");
    check("{name: door, kind: append, columns: [{name: a}]}", ".columns[0].pointer", "is missing");
    check("{name: cardata, share: 0}", ".share", "from 1 to 100");
    check("{name: cardata, retention: {age: 7d}}", ".retention.age", "max_age");
}

#[test]
fn shares_of_collections_are_a_hundred_percent_at_most() {
    let text = minimal_and("collections:\n- {name: cardata, share: 60}\n- {name: trip, share: 50}\n");
    check(&text, "collections[1].share", 10, "110 percent");
    let text = minimal_and("collections:\n- {name: trip, share: 6}\n- {name: trip, share: 5}\n");
    check(&text, "collections[1].name", 10, "collections[0]");
    check(&minimal_and("journal: {max_bytes: 4GiB}"), "journal.max_bytes", 8, "three quarters");
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = minimal_and("mqtt: {max_connections: many, ack_timeout: soon}\nlog: {level: loud}\nextra: 1\n");
    let lines: Vec<_> = problems(&text).iter().map(|problem| problem.line.unwrap()).collect();
    assert_eq!(lines, [10, 8, 8, 9]);
}

#[test]
fn a_file_that_is_not_yaml_is_one_problem_with_its_line() {
    check("listeners:\n- name: a\n  name: b\n", "", 2, "duplicate");
    check("a: b: c\n", "", 1, "YAML");
    assert_eq!(problems("").len(), 1, "an empty file is not a configuration");
    assert_eq!(load(Path::new("/does/not/exist.yaml")).unwrap_err().len(), 1);
}

#[test]
fn the_effective_configuration_reads_back_to_itself() {
    let file = Path::new("/etc/causeway/causeway.yaml");
    let config = parse(MINIMAL, file).unwrap();
    let mut shown = config.effective();
    // What is not set is shown as null, which reads as not written.
    shown["listeners"][0]["bind"] = "0.0.0.0:8883".into();
    assert_eq!(parse(&shown.to_string(), file), Ok(config));
}

#[test]
fn hashes_of_tokens_are_not_shown() {
    let hash = "0".repeat(64);
    let tokens = format!("admin: {{https: {{certificate: a, key: b, tokens: {{\"a/~b\": {{sha256: \"{hash}\"}}}}}}}}");
    let config = parse(&minimal_and(&tokens), Path::new("/etc/causeway/causeway.yaml")).unwrap();
    assert!(!config.effective().to_string().contains(&hash));
}

#[test]
fn the_committed_reference_is_current() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/config.md");
    let committed = std::fs::read_to_string(committed).unwrap_or_default();
    assert!(committed == reference(), "docs/reference/config.md is stale: run `cargo xtask docs`");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}", value in "[a-z0-9:{}\\[\\], \"'\n-]{0,80}") {
        let file = Path::new("/x/y.yaml");
        let _ = (parse(&text, file), parse(&format!("{MINIMAL}{value}"), file), parse(&format!("mqtt: {value}"), file));
    }
}
