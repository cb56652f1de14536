//! `causeway campaign`: releases for fixed sets of devices, wave by wave.

mod create;
mod watch;

use causeway_core::dfu::campaign::Standing;
use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::client::Client;
use super::show::{bytes, items, rows, text, time};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Campaign {
    #[command(flatten)]
    client: Client,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a campaign; with --dry-run show which devices it would be for, in which waves, and which not and why.
    Create(create::Create),
    /// List the campaigns.
    List,
    /// Show a campaign and its devices.
    Show(Show),
    /// Show how a campaign goes on, until it is over.
    Watch(watch::Watch),
    /// Let a campaign begin that needs an approval.
    Approve { name: String },
    /// Begin a campaign now.
    Start { name: String },
    /// Stop a campaign until it is resumed; devices keep what they have got.
    Pause { name: String },
    /// Let a campaign go on, also in spite of the failures that stopped it.
    Resume { name: String },
    /// End a campaign; devices that do not run the release keep what they run.
    Abort { name: String },
    /// Delete a campaign that is over.
    Delete { name: String },
}

#[derive(Debug, Args)]
struct Show {
    name: String,
    /// Only devices in this state: queued, offered, in-progress, succeeded, failed, quarantined, timed-out, skipped or cancelled.
    #[arg(long)]
    state: Option<String>,
    /// Only devices of this wave.
    #[arg(long)]
    wave: Option<u32>,
    /// How many devices come before the first that is shown.
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// How many devices at most.
    #[arg(long, default_value_t = 100)]
    limit: u64,
}

impl Campaign {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let client = &self.client;
        match self.verb {
            Verb::Create(create) => create.run(client, output),
            Verb::List => list(client, output),
            Verb::Show(show) => show.run(client, output),
            Verb::Watch(watch) => watch.run(client, output),
            Verb::Approve { name } => order(client, &name, "approve", output),
            Verb::Start { name } => order(client, &name, "start", output),
            Verb::Pause { name } => order(client, &name, "pause", output),
            Verb::Resume { name } => order(client, &name, "resume", output),
            Verb::Abort { name } => order(client, &name, "abort", output),
            Verb::Delete { name } => {
                let removed = client.change("DELETE", &["v1", "campaigns", &name], None)?;
                if output.is_json() {
                    output.json(&removed);
                } else {
                    output.line(format_args!("{name}: deleted"));
                }
                Ok(())
            }
        }
    }
}

fn order(client: &Client, name: &str, word: &str, output: &mut Output) -> Result<(), Failure> {
    done(&client.change("POST", &["v1", "campaigns", name, word], None)?, output);
    Ok(())
}

/// Says how a campaign is after an order.
fn done(campaign: &Json, output: &mut Output) {
    if output.is_json() {
        output.json(campaign);
    } else {
        output.line(format_args!("{}: {}", text(campaign, "name"), text(campaign, "state")));
    }
}

fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let campaigns = client.get(&["v1", "campaigns"], &[])?;
    if output.is_json() {
        output.json(&campaigns);
        return Ok(());
    }
    let cells = |campaign: &Json| {
        let release = &campaign["release"];
        vec![
            text(campaign, "name"),
            text(campaign, "state"),
            format!("{} {}", text(release, "name"), text(release, "version")),
            waves(campaign),
            text(campaign, "devices"),
            text(&campaign["counts"], "succeeded"),
            failing(campaign).to_string(),
            time(campaign, "created_ms"),
            text(campaign, "why"),
        ]
    };
    let heads = ["name", "state", "release", "wave", "devices", "succeeded", "failing", "created", "why"];
    output.table(&heads, &rows(campaigns.as_array().map_or(&[], Vec::as_slice), cells));
    Ok(())
}

impl Show {
    fn run(self, client: &Client, output: &mut Output) -> Result<(), Failure> {
        let mut campaign = client.get(&["v1", "campaigns", &self.name], &[])?;
        let mut query = vec![("offset", self.offset.to_string()), ("limit", self.limit.to_string())];
        query.extend(self.state.map(|state| ("state", state)));
        query.extend(self.wave.map(|wave| ("wave", wave.to_string())));
        let devices = client.get(&["v1", "campaigns", &self.name, "devices"], &query)?;
        if output.is_json() {
            campaign["targets"] = devices;
            output.json(&campaign);
        } else {
            print(&campaign, output);
            output.line("\ndevices");
            targets(devices.as_array().map_or(&[], Vec::as_slice), output);
        }
        Ok(())
    }
}

fn print(campaign: &Json, output: &mut Output) {
    let (release, plan) = (&campaign["release"], &campaign["plan"]);
    let why = campaign["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    output.line(format_args!("name       {}", text(campaign, "name")));
    output.line(format_args!("state      {}{why}", text(campaign, "state")));
    let [name, version] = ["name", "version"].map(|key| text(release, key));
    output.line(format_args!("release    {name} {version}, {}, {}", bytes(release, "size"), text(release, "image")));
    output.line(format_args!("reference  {}", text(campaign, "reference")));
    output.line(format_args!("asked for  {}", campaign["asked"]));
    output.line(format_args!("made       {} by {}", time(campaign, "created_ms"), text(campaign, "operator")));
    output.line(format_args!("began      {}", time(campaign, "started_ms")));
    output.line(format_args!("over       {}", time(campaign, "ended_ms")));
    output.line(format_args!("next wave  when {} of 100 devices succeeded", text(plan, "success")));
    output.line(format_args!("stops      {}", stops(plan)));
    if let Some(minutes) = plan["device_timeout"].as_u64() {
        output.line(format_args!("too long   when a device is in progress for {minutes} minutes"));
    }
    output.line(format_args!("windows    {}", text(plan, "windows")));
    output.line("\nwaves");
    let cells = |wave: &Json| {
        let open = if wave["open"] == true { "open" } else { "waits" };
        let mut cells = vec![text(wave, "wave"), open.to_owned(), text(wave, "devices")];
        cells.extend(states().map(|state| text(&wave["counts"], state)));
        cells
    };
    let heads: Vec<&str> = ["wave", "state", "devices"].into_iter().chain(states()).collect();
    output.table(&heads, &rows(items(campaign, "waves"), cells));
}

/// What stops a campaign by itself, and how.
fn stops(plan: &Json) -> String {
    let stops = |error| format!("{} when {error} of 100 devices failed", text(plan, "on_error"));
    plan["error"].as_u64().map_or_else(|| "never, however many devices fail".to_owned(), stops)
}

/// How far devices of a campaign can be.
fn states() -> [&'static str; Standing::ALL.len()] {
    Standing::ALL.map(Standing::word)
}

fn targets(devices: &[Json], output: &mut Output) {
    let cells =
        |device: &Json| ["device", "wave", "state", "attempt", "failures", "reason"].map(|key| text(device, key));
    let cells = |device: &Json| {
        let [id, wave, state, attempt, failures, reason] = cells(device);
        vec![id, wave, state, attempt, failures, time(device, "at_ms"), reason]
    };
    let heads = ["device", "wave", "state", "attempt", "failures", "since", "reason"];
    output.table(&heads, &rows(devices, cells));
}

fn waves(campaign: &Json) -> String {
    format!("{} of {}", text(campaign, "wave"), items(campaign, "waves").len())
}

fn failing(campaign: &Json) -> u64 {
    ["failed", "quarantined", "timed-out"].iter().map(|state| count(campaign, state)).sum()
}

fn count(of: &Json, state: &str) -> u64 {
    of["counts"][state].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stops_a_campaign_is_said_also_when_no_failures_do() {
        assert_eq!(stops(&json!({ "error": 10, "on_error": "abort" })), "abort when 10 of 100 devices failed");
        assert_eq!(stops(&json!({ "error": null, "on_error": "pause" })), "never, however many devices fail");
    }
}
