//! `causeway campaign create`: the arguments, and what a dry run shows.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::done;
use crate::cli::client::Client;
use crate::cli::show::{items, rows, text};
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Names the campaign; letters, digits and . _ -
    name: String,
    /// What devices get: `name:version` of `causeway firmware list`, or `oci://host/repository:tag`.
    #[arg(long)]
    release: String,
    /// Which devices, by a query: `type=sensor group=pilot version!=0.1.1`; `*` means all.
    #[arg(long, value_name = "QUERY", conflicts_with = "device")]
    devices: Option<String>,
    /// A device; may stand more than once, and the order is that of the waves.
    #[arg(long, value_name = "ID")]
    device: Vec<String>,
    /// The sizes of the waves, as numbers of devices or of a hundred of them: `5,10%,50%`; the rest is one more wave.
    #[arg(long, value_delimiter = ',', value_name = "SIZES")]
    waves: Vec<String>,
    /// How many of a hundred devices of a wave must succeed before the next wave; 90 without it.
    #[arg(long, value_name = "PERCENT")]
    success: Option<u32>,
    /// With how many of a hundred failing devices of a wave the campaign stops; 10 without it.
    #[arg(long, value_name = "PERCENT")]
    error: Option<u32>,
    /// What it does then: pause (the default) or abort.
    #[arg(long, value_name = "WORD")]
    on_error: Option<String>,
    /// When it begins: by-hand (the default), now, or a time such as 2026-12-01T22:00:00Z.
    #[arg(long, value_name = "WHEN")]
    start: Option<String>,
    /// Somebody must approve it before it begins.
    #[arg(long)]
    approval: bool,
    /// A time of the week in which devices are updated: `mon-fri 22:00-04:00 +02:00`; may stand more than once.
    #[arg(long = "window", value_name = "WINDOW")]
    windows: Vec<String>,
    /// Send the release at any time, and only start it in a window.
    #[arg(long)]
    preload: bool,
    /// Install also over newer versions.
    #[arg(long)]
    downgrade: bool,
    /// Attempts of each device, in place of `dfu.attempts`.
    #[arg(long)]
    attempts: Option<u32>,
    /// Minutes for which an attempt of a device may be in progress before it counts as failed; without it any time.
    #[arg(long, value_name = "MINUTES")]
    device_timeout: Option<u32>,
    /// Make nothing; show what would be made.
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub(super) fn run(self, client: &Client, output: &mut Output) -> Result<(), Failure> {
        let body = self.body()?;
        if !self.dry_run {
            done(&client.change("POST", &["v1", "campaigns"], Some(&body))?, output);
            return Ok(());
        }
        let preview = client.change("POST", &["v1", "campaigns", "preview"], Some(&body))?;
        if output.is_json() {
            output.json(&preview);
        } else {
            print(&preview, output);
        }
        Ok(())
    }

    fn body(&self) -> Result<Json, Failure> {
        let devices = match (&self.devices, self.device.as_slice()) {
            (Some(query), _) => json!(query),
            (None, []) => return Err(Failure::new(Exit::Usage, "name the devices: --devices QUERY or --device ID")),
            (None, ids) => json!(ids),
        };
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(self.name));
        body.insert("release".to_owned(), json!(self.release));
        body.insert("devices".to_owned(), devices);
        body.insert("waves".to_owned(), json!(self.waves));
        body.insert("windows".to_owned(), json!(self.windows));
        for (key, value) in [("approval", self.approval), ("preload", self.preload), ("downgrade", self.downgrade)] {
            body.insert(key.to_owned(), value.into());
        }
        let numbers = [
            ("success", self.success),
            ("error", self.error),
            ("attempts", self.attempts),
            ("device_timeout", self.device_timeout),
        ];
        for (key, value) in numbers {
            body.extend(value.map(|value| (key.to_owned(), value.into())));
        }
        for (key, value) in [("on_error", &self.on_error), ("start", &self.start)] {
            body.extend(value.as_ref().map(|value| (key.to_owned(), json!(value))));
        }
        Ok(body.into())
    }
}

fn print(preview: &Json, output: &mut Output) {
    let devices = items(preview, "devices");
    let cells = |device: &Json| ["device", "wave", "running", "state", "reason"].map(|key| text(device, key)).to_vec();
    output.table(&["device", "wave", "running", "state", "reason"], &rows(devices, cells));
    let release = &preview["release"];
    let [name, version] = ["name", "version"].map(|key| text(release, key));
    let count = |state: &str| devices.iter().filter(|device| device["state"] == state).count();
    let (due, done, skipped) = (count("queued"), count("succeeded"), count("skipped"));
    let waves = text(preview, "waves");
    output.line(format_args!(
        "\n{name} {version}: {due} devices in {waves} waves, {done} run it already, {skipped} are skipped; nothing was made"
    ));
}
