//! `causeway device`: who may connect, and what is known about them.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::client::Client;
use super::show::{items, rows, text, time};
use super::{Exit, Failure, Output, session};

#[derive(Debug, Args)]
pub(super) struct Device {
    #[command(flatten)]
    client: Client,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the devices.
    List(List),
    /// Show a device, its sessions and its last refusals.
    Show { id: String },
    /// Add a device; without --identity its id is its identity.
    Add {
        id: String,
        #[command(flatten)]
        facts: Facts,
    },
    /// Add and change the devices of a list, all or none: .csv, .jsonl, .yaml or .json; `-` reads YAML from standard input.
    Import { file: PathBuf },
    /// Change a device; what is not named stays.
    Set {
        id: String,
        #[command(flatten)]
        facts: Facts,
        /// Take an attribute away; may stand more than once.
        #[arg(long = "unset", value_name = "NAME")]
        unset: Vec<String>,
        /// The device hangs on no other from now on.
        #[arg(long, conflicts_with = "parent")]
        no_parent: bool,
    },
    /// End a device's sessions and refuse it until it is enabled.
    Disable { id: String },
    /// Let a disabled device connect again.
    Enable { id: String },
    /// Remove a device; its sessions end.
    Remove { id: String },
}

#[derive(Debug, Args)]
struct List {
    /// Only devices of this group.
    #[arg(long)]
    group: Option<String>,
    /// Only devices that hang on this one.
    #[arg(long)]
    parent: Option<String>,
    /// Only those that may connect, or may not.
    #[arg(long)]
    enabled: Option<bool>,
    /// Only ids behind this one: the last of the page before.
    #[arg(long)]
    after: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

#[derive(Debug, Args)]
struct Facts {
    /// Attributes that policies and plugins see, such as `vin=WVW1`.
    #[arg(value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// A group; the device is in those that are named and in no others.
    #[arg(long = "group")]
    groups: Vec<String>,
    /// A name in certificates that is this device; may stand more than once.
    #[arg(long = "identity")]
    identities: Vec<String>,
    /// The device it hangs on.
    #[arg(long)]
    parent: Option<String>,
}

impl Device {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let client = &self.client;
        match self.verb {
            Verb::List(list) => list.run(client, output),
            Verb::Show { id } => {
                let device = client.get(&["v1", "devices", &id], &[])?;
                if output.is_json() {
                    output.json(&device)
                } else {
                    print(&device, output)
                }
                Ok(())
            }
            Verb::Add { id, facts } => {
                let mut body = facts.json()?;
                body.insert("id".to_owned(), id.into());
                done(&client.change("POST", &["v1", "devices"], Some(&body.into()))?, "added", output)
            }
            Verb::Import { file } => import(client, &file, output),
            Verb::Set { id, facts, unset, no_parent } => {
                let mut body = facts.json()?;
                if let Some(attributes) = body.entry("attributes").or_insert_with(|| json!({})).as_object_mut() {
                    attributes.extend(unset.into_iter().map(|name| (name, Json::Null)));
                }
                if no_parent {
                    body.insert("parent".to_owned(), Json::Null);
                }
                done(&client.change("PUT", &["v1", "devices", &id], Some(&body.into()))?, "set", output)
            }
            Verb::Disable { id } => enable(client, &id, false, output),
            Verb::Enable { id } => enable(client, &id, true, output),
            Verb::Remove { id } => {
                let removed = client.change("DELETE", &["v1", "devices", &id], None)?;
                if output.is_json() {
                    output.json(&removed)
                } else {
                    output.line(format_args!("{id}: removed"))
                }
                Ok(())
            }
        }
    }
}

impl List {
    fn run(self, client: &Client, output: &mut Output) -> Result<(), Failure> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.group.map(|group| ("group", group)));
        query.extend(self.parent.map(|parent| ("parent", parent)));
        query.extend(self.enabled.map(|enabled| ("enabled", enabled.to_string())));
        query.extend(self.after.map(|after| ("after", after)));
        let devices = client.get(&["v1", "devices"], &query)?;
        if output.is_json() {
            output.json(&devices);
            return Ok(());
        }
        let cells = |device: &Json| {
            vec![
                text(device, "id"),
                enabled(device),
                text(device, "groups"),
                attributes(device),
                time(device, "last_seen_ms"),
                time(device, "certificate_expiry_ms"),
            ]
        };
        let heads = ["id", "state", "groups", "attributes", "last seen", "certificate until"];
        output.table(&heads, &rows(devices.as_array().map_or(&[], Vec::as_slice), cells));
        Ok(())
    }
}

impl Facts {
    /// Only what was named: what is not in the request stays as it is.
    fn json(&self) -> Result<Map<String, Json>, Failure> {
        let mut attributes = Map::new();
        for attribute in &self.attributes {
            let Some((name, value)) = attribute.split_once('=') else {
                return Err(Failure::new(Exit::Usage, format!("`{attribute}`: write NAME=VALUE")));
            };
            attributes.insert(name.to_owned(), value.into());
        }
        let mut facts = Map::new();
        facts.insert("attributes".to_owned(), attributes.into());
        for (key, values) in [("groups", &self.groups), ("identities", &self.identities)] {
            if !values.is_empty() {
                facts.insert(key.to_owned(), json!(values));
            }
        }
        if let Some(parent) = &self.parent {
            facts.insert("parent".to_owned(), parent.as_str().into());
        }
        Ok(facts)
    }
}

fn import(client: &Client, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Io, format!("{}: {error}", file.display()));
    let mut list = String::new();
    let format = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut list).map_err(failed)?;
        "yaml"
    } else {
        list = std::fs::read_to_string(file).map_err(failed)?;
        file.extension().and_then(|end| end.to_str()).unwrap_or_default()
    };
    let done = client.upload(&["v1", "devices", "import"], &[("format", format.to_owned())], list)?;
    if output.is_json() {
        output.json(&done);
    } else {
        let [added, updated, unchanged] = ["added", "updated", "unchanged"].map(|key| text(&done, key));
        output.line(format_args!("{added} added, {updated} updated, {unchanged} unchanged"));
    }
    Ok(())
}

fn enable(client: &Client, id: &str, enabled: bool, output: &mut Output) -> Result<(), Failure> {
    let changed = client.change("PUT", &["v1", "devices", id], Some(&json!({ "enabled": enabled })))?;
    done(&changed, if enabled { "enabled" } else { "disabled" }, output)
}

fn done(device: &Json, what: &str, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        output.json(device)
    } else {
        output.line(format_args!("{}: {what}", text(device, "id")))
    }
    Ok(())
}

fn print(device: &Json, output: &mut Output) {
    output.line(format_args!("id            {}", text(device, "id")));
    output.line(format_args!("state         {}", enabled(device)));
    output.line(format_args!("identities    {}", text(device, "identities")));
    output.line(format_args!("attributes    {}", attributes(device)));
    output.line(format_args!("groups        {}", text(device, "groups")));
    output.line(format_args!("parent        {}", text(device, "parent")));
    output.line(format_args!("first seen    {}", time(device, "first_seen_ms")));
    output.line(format_args!("last seen     {}", time(device, "last_seen_ms")));
    output.line(format_args!("certificate   until {}", time(device, "certificate_expiry_ms")));
    output.line("\nsessions");
    session::print(items(device, "sessions"), output);
    output.line("\nlast refusals");
    let cells = |refusal: &Json| {
        let [action, topic, reason] = ["action", "topic", "reason"].map(|key| text(refusal, key));
        vec![time(refusal, "at_ms"), action, topic, reason]
    };
    output.table(&["at", "action", "topic", "reason"], &rows(items(device, "refusals"), cells));
}

fn enabled(device: &Json) -> String {
    if device.get("enabled") == Some(&true.into()) { "enabled" } else { "disabled" }.to_owned()
}

fn attributes(device: &Json) -> String {
    let attributes = device.get("attributes").and_then(Json::as_object);
    let pairs = attributes.into_iter().flatten().map(|(name, value)| format!("{name}={}", super::show::plain(value)));
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(" ") }
}
