//! `causeway record`: what a binding's plugin is asked and answers, in a file for `causeway plugin replay`.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::client::Client;
use super::show::{bytes, rows, text};
use super::{Exit, Failure, Output};
use crate::config::parse_size;

#[derive(Debug, Args)]
pub(super) struct Record {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Begin to record a binding.
    Start {
        /// The binding.
        binding: String,
        /// End after so many inputs; `recordings.max_messages` without it.
        #[arg(long, value_name = "COUNT")]
        messages: Option<u64>,
        /// End before the file is larger, as in `10MiB`; `recordings.max_bytes` without it.
        #[arg(long, value_name = "SIZE")]
        bytes: Option<String>,
        #[command(flatten)]
        client: Client,
    },
    /// End the recording of a binding.
    Stop {
        /// The binding.
        binding: String,
        #[command(flatten)]
        client: Client,
    },
    /// List the recordings that are kept.
    List {
        #[command(flatten)]
        client: Client,
    },
    /// Delete a recording.
    Remove {
        /// Its name, as `list` shows it.
        name: String,
        #[command(flatten)]
        client: Client,
    },
}

impl Record {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Start { binding, messages, bytes, client } => {
                let wrong =
                    |text: &str| Failure::new(Exit::Usage, format!("--bytes: `{text}` is not a size, as in 10MiB"));
                let bytes = bytes.map(|text| parse_size(&text).ok_or_else(|| wrong(&text))).transpose()?;
                let body = json!({ "messages": messages, "bytes": bytes.map(|bytes| bytes.bytes()) });
                let started = client.change("POST", &["v1", "bindings", &binding, "recording"], Some(&body))?;
                let file = text(&started, "file");
                say(&started, format!("{binding}: recording to {file}"), output);
            }
            Verb::Stop { binding, client } => {
                let ended = client.change("DELETE", &["v1", "bindings", &binding, "recording"], None)?;
                let (inputs, file) = (text(&ended, "inputs"), text(&ended, "file"));
                say(&ended, format!("{binding}: {inputs} inputs in {file}"), output);
            }
            Verb::List { client } => list(&client.get(&["v1", "recordings"], &[])?, output),
            Verb::Remove { name, client } => {
                let removed = client.change("DELETE", &["v1", "recordings", &name], None)?;
                say(&removed, format!("{name}: removed"), output);
            }
        }
        Ok(())
    }
}

fn say(answer: &Json, line: String, output: &mut Output) {
    if output.is_json() { output.json(answer) } else { output.line(line) }
}

fn list(recordings: &Json, output: &mut Output) {
    if output.is_json() {
        return output.json(recordings);
    }
    let cells = |recording: &Json| {
        let [name, inputs, state, file] = ["name", "inputs", "state", "file"].map(|key| text(recording, key));
        vec![name, inputs, bytes(recording, "bytes"), state, file]
    };
    let recordings = recordings.as_array().map_or(&[][..], Vec::as_slice);
    output.table(&["name", "inputs", "bytes", "state", "file"], &rows(recordings, cells));
}
