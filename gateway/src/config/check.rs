//! Rules that concern more than one key.
//!
//! Whether files exist and hold what they should is for the parts that read them; `causeway check` asks those too.

use std::collections::HashMap;
use std::hash::Hash;

use causeway_core::selector::{Selector, SelectorError};

use super::locate::Segment;
use super::setting::Notes;
use super::{AdminConfig, BindingConfig, Config, Delivery, ListenerConfig, PlainIdentity, PluginKind, path};
use crate::artifacts::Reference;

/// Longest path of a Unix socket on Linux, without the closing NUL.
const MAX_SOCKET_PATH: usize = 107;
const MAX_NAME: usize = 64;

pub(super) fn check(config: &Config, notes: &mut Notes) {
    listeners(&config.listeners, notes);
    bindings(&config.bindings, notes);
    super::collections::check(&config.collections, notes);
    super::registries::check(&config.registries, notes);
    super::trust::check(&config.trust, notes);
    super::firmware::check(&config.firmware, notes);
    super::assignments::check(&config.assignments, notes);
    addresses(config, notes);
    admin(&config.admin, notes);
    bounds(config, notes);
}

fn listeners(listeners: &[ListenerConfig], notes: &mut Notes) {
    for (index, listener) in listeners.iter().enumerate() {
        let at = item("listeners", index);
        name(&listener.name, "name", &at, notes);
        match (&listener.tls, &listener.plain) {
            (Some(_), None) => {}
            (None, Some(plain)) => plain_identity(&plain.identity, &at, notes),
            (Some(_), Some(_)) => {
                notes.at(below(&at, "plain"), "stands beside `tls`", "keep one of them; use two listeners for both");
            }
            (None, None) => notes.at(
                at.clone(),
                "has neither `tls` nor `plain`",
                "add `tls: {certificate: server.pem, key: server-key.pem, client_ca: ca.pem}`",
            ),
        }
        if listener.tls.as_ref().is_some_and(|tls| tls.identity.is_empty()) {
            let key = below(&below(&at, "tls"), "identity");
            notes.at(key, "is empty", "name at least one of uri, dns, cn");
        }
    }
    twice("listeners", "name", listeners.iter().map(|listener| written(&listener.name)), notes);
}

fn plain_identity(identity: &PlainIdentity, at: &[Segment], notes: &mut Notes) {
    let text = match identity {
        PlainIdentity::Fixed(text) | PlainIdentity::ClientId(text) => text,
    };
    if text.chars().any(|c| c.is_control() || matches!(c, '+' | '#')) {
        let key = below(&below(at, "plain"), "identity");
        notes.at(key, "holds a wildcard or a control character", "use letters, digits, `-`, `_`, `.` and `/`");
    }
}

fn bindings(bindings: &[BindingConfig], notes: &mut Notes) {
    for (index, binding) in bindings.iter().enumerate() {
        let at = item("bindings", index);
        name(&binding.name, "name", &at, notes);
        plugin(&binding.plugin, &at, notes);
        if let Some(canary) = binding.canary.as_ref().filter(|canary| !canary.plugin.is_empty()) {
            plugin(&canary.plugin, &below(&at, "canary"), notes);
        }
        if binding.kind == PluginKind::Dfu {
            // `kinds` has looked at its topics, and made the rest of them.
            continue;
        }
        if binding.filters.is_empty() {
            notes.at(below(&at, "filters"), "is empty", "name the topics, for example `[\"dt/cvra/+/cardata\"]`");
        }
        for (number, filter) in binding.filters.iter().enumerate() {
            let mut key = below(&at, "filters");
            key.push(Segment::Index(number));
            selector(filter, binding.key.as_deref(), key, notes);
        }
        if binding.kind == PluginKind::Telemetry && binding.delivery == Delivery::Live && binding.partitions > 1 {
            notes.at(below(&at, "partitions"), "is for durable bindings", "use `delivery: durable` or one partition");
        }
    }
    twice("bindings", "name", bindings.iter().map(|binding| written(&binding.name)), notes);
}

/// One of a binding's filters; with a key it must be a template that has it, or there would be messages without one.
fn selector(text: &str, key: Option<&str>, at: Vec<Segment>, notes: &mut Notes) {
    match Selector::parse(text) {
        Err(wrong @ SelectorError::Filter(_)) => {
            notes.at(at, format!("`{text}`: {wrong}"), "see the MQTT rules for `+` and `#`");
        }
        Err(wrong @ SelectorError::Template(_)) => {
            notes.at(at, format!("`{text}`: {wrong}"), "write `{name}` for one level and `{name...}` for the rest");
        }
        Ok(_) if text.starts_with("$share/") => {
            notes.at(at, "is a shared subscription", "bindings have `partitions` instead");
        }
        Ok(selector) => {
            if let Some(key) = key.filter(|key| !selector.has(key)) {
                let message = format!("`{text}` has no variable `{key}`, which is the binding's `key`");
                let remedy = format!("write `{{{key}}}` for the level that holds it, or leave `key` out");
                notes.at(at, message, remedy);
            }
        }
    }
}

/// Two sockets on one address: found here rather than as "port in use" at the start.
fn addresses(config: &Config, notes: &mut Notes) {
    let fixed = |address: &std::net::SocketAddr| address.port() != 0;
    let binds = config.listeners.iter().map(|listener| listener.bind);
    twice("listeners", "bind", binds.clone().map(|bind| fixed(&bind).then_some(bind)), notes);
    let taken = |address| fixed(&address) && binds.clone().any(|bind| bind == address);
    if config.metrics.enabled && taken(config.metrics.bind) {
        notes.at(below(&path("metrics"), "bind"), "is the address of a listener", "choose another port");
    }
    if let Some(https) = &config.admin.https
        && (taken(https.bind) || config.metrics.enabled && fixed(&https.bind) && https.bind == config.metrics.bind)
    {
        let key = below(&below(&path("admin"), "https"), "bind");
        notes.at(key, "is an address that is in use already", "choose another port");
    }
}

fn admin(admin: &AdminConfig, notes: &mut Notes) {
    let at = path("admin");
    if admin.socket.as_os_str().len() > MAX_SOCKET_PATH {
        notes.at(
            below(&at, "socket"),
            format!("`{}` is longer than {MAX_SOCKET_PATH} bytes", admin.socket.display()),
            "Unix sockets need a short path, for example `socket: /run/causeway/admin.sock`",
        );
    }
    for user in admin.users.keys().filter(|user| user.parse::<u32>().is_err()) {
        let key = below(&below(&at, "users"), user);
        notes.at(key, "is not a user id", "write the number that `id -u NAME` prints");
    }
    let Some(https) = &admin.https else { return };
    let at = below(&at, "https");
    if https.client_ca.is_none() && https.tokens.is_empty() {
        notes.at(at.clone(), "lets nobody in", "add `client_ca` with `users`, or `tokens`");
    }
    for (name, token) in &https.tokens {
        if token.sha256.len() != 64 || !token.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let key = below(&below(&below(&at, "tokens"), name), "sha256");
            notes.at(key, "is not a SHA-256 in hexadecimal", "make one with `causeway config token`");
        }
    }
}

fn bounds(config: &Config, notes: &mut Notes) {
    let journal = &config.journal;
    let key = |name| below(&path("journal"), name);
    if journal.max_bytes.bytes() < 2 * journal.segment_bytes.bytes() {
        notes.at(key("max_bytes"), "is less than two segments", "raise it or lower `journal.segment_bytes`");
    }
    if journal.max_record_bytes > journal.segment_bytes {
        notes.at(key("max_record_bytes"), "is larger than a segment", "lower it or raise `journal.segment_bytes`");
    }
    // A message and what the journal keeps beside it must fit, or no such message could ever be accepted.
    if journal.max_record_bytes <= config.mqtt.max_packet_bytes {
        notes.at(
            key("max_record_bytes"),
            "does not hold the largest MQTT packet",
            "make it twice `mqtt.max_packet_bytes`",
        );
    }
    if journal.max_bytes.bytes() > config.storage.budget.bytes() / 4 * 3 {
        notes.at(key("max_bytes"), "is more than three quarters of `storage.budget`", "raise the budget or lower it");
    }
}

pub(super) fn name(name: &str, key: &str, at: &[Segment], notes: &mut Notes) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // A missing name was noted when the section was read.
    if !name.is_empty() && (name.len() > MAX_NAME || !name.chars().all(allowed)) {
        let remedy = format!("use at most {MAX_NAME} lower-case letters, digits and `-`");
        notes.at(below(at, key), format!("`{name}` is not a name"), remedy);
    }
}

fn plugin(reference: &str, at: &[Segment], notes: &mut Notes) {
    let key = below(at, "plugin");
    match reference.parse() {
        Ok(Reference::Builtin(name)) if !causeway_plugins::NAMES.contains(&name.as_str()) => {
            let remedy = format!("there is {}", causeway_plugins::NAMES.join(", "));
            notes.at(key, format!("there is no built-in plugin `{name}`"), remedy);
        }
        Ok(_) => {}
        Err(wrong) => {
            let wrong = wrong.to_string();
            let (message, remedy) = wrong.split_once("; ").unwrap_or((&wrong, ""));
            notes.at(key, message, remedy);
        }
    }
}

/// Notes every value that an earlier item of the list has already.
pub(super) fn twice<T: Hash + Eq>(list: &str, key: &str, values: impl Iterator<Item = Option<T>>, notes: &mut Notes) {
    let mut seen = HashMap::new();
    for (index, value) in values.enumerate() {
        let Some(value) = value else { continue };
        let first = *seen.entry(value).or_insert(index);
        if first != index {
            let message = format!("is that of {list}[{first}] already");
            notes.at(below(&item(list, index), key), message, "give each its own");
        }
    }
}

pub(super) fn written(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}

pub(super) fn item(list: &str, index: usize) -> Vec<Segment> {
    vec![Segment::Key(list.to_owned()), Segment::Index(index)]
}

pub(super) fn below(path: &[Segment], key: &str) -> Vec<Segment> {
    let mut path = path.to_vec();
    path.push(Segment::Key(key.to_owned()));
    path
}
