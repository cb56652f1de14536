//! `causeway deadletters`: messages that no plugin could handle; look at them, send them again, drop them.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::client::Client;
use super::show::{rows, text, time};
use super::store::since_ms;
use super::{Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    #[command(flatten)]
    client: Client,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List dead letters, newest first.
    List {
        #[command(flatten)]
        which: Which,
        /// Only letters with a lower number: the last of the page before.
        #[arg(long)]
        before: Option<i64>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a dead letter with its message.
    Show {
        id: u64,
        /// Write the payload, byte by byte, to this file.
        #[arg(long, value_name = "FILE")]
        payload: Option<PathBuf>,
    },
    /// Send dead letters to their binding again: each takes effect exactly once, or stays with its newest reason.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Delete dead letters.
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// How many letters that is; asked for unless they are named by their numbers.
        #[arg(long)]
        count: Option<u64>,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Only those of this binding.
    #[arg(long)]
    binding: Option<String>,
    /// Only those of this kind: malformed, rejected, denied, loop, trap, unavailable, effect, overflow.
    #[arg(long)]
    kind: Option<String>,
    /// Only those given up from this time on: `2026-01-31T12:00:00Z`, or an age like `15m`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Debug, Args)]
struct Chosen {
    /// The numbers of the letters.
    ids: Vec<i64>,
    #[command(flatten)]
    which: Which,
    /// All dead letters.
    #[arg(long)]
    all: bool,
}

impl Chosen {
    fn body(self) -> Result<Map<String, Json>, Failure> {
        let mut body = Map::new();
        if !self.ids.is_empty() {
            body.insert("ids".to_owned(), self.ids.into());
        }
        for (key, value) in self.which.query()? {
            let value =
                if key == "since_ms" { value.parse::<u64>().map_or(Json::Null, Json::from) } else { value.into() };
            body.insert(key.to_owned(), value);
        }
        if body.is_empty() != self.all {
            let message = "say which letters: their numbers, --binding, --kind, --since; or --all";
            return Err(Failure::new(Exit::Usage, message));
        }
        if self.all {
            body.insert("all".to_owned(), true.into());
        }
        Ok(body)
    }
}

impl Which {
    fn query(self) -> Result<Vec<(&'static str, String)>, Failure> {
        let since = self.since.map(|since| since_ms(&since, OffsetDateTime::now_utc())).transpose()?;
        let asked = [("binding", self.binding), ("kind", self.kind), ("since_ms", since.map(|ms| ms.to_string()))];
        Ok(asked.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

impl DeadLetters {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let client = &self.client;
        match self.verb {
            Verb::List { which, before, limit } => {
                let mut query = which.query()?;
                query.push(("limit", limit.to_string()));
                query.extend(before.map(|before| ("before", before.to_string())));
                print(&client.get(&["v1", "dead-letters"], &query)?, output);
                Ok(())
            }
            Verb::Show { id, payload } => {
                let letter = client.get(&["v1", "dead-letters", &id.to_string()], &[])?;
                if let Some(file) = &payload {
                    write_payload(&letter, file)?;
                }
                show(&letter, output);
                Ok(())
            }
            Verb::Replay { chosen } => replay(client, chosen.body()?, output),
            Verb::Drop { chosen, count } => drop_letters(client, chosen.body()?, count, output),
        }
    }
}

fn print(letters: &Json, output: &mut Output) {
    if output.is_json() {
        return output.json(letters);
    }
    let cells = |letter: &Json| {
        let [id, binding, kind, topic, sender, attempts, reason] =
            ["id", "binding", "kind", "topic", "sender", "attempts", "reason"].map(|key| text(letter, key));
        vec![id, time(letter, "at_ms"), binding, kind, topic, sender, attempts, reason]
    };
    let heads = ["id", "at", "binding", "kind", "topic", "sender", "attempts", "reason"];
    output.table(&heads, &rows(letters.as_array().map_or(&[][..], Vec::as_slice), cells));
}

fn show(letter: &Json, output: &mut Output) {
    if output.is_json() {
        return output.json(letter);
    }
    let line = |key: &str| vec![key.replace('_', " "), text(letter, key)];
    let mut lines: Vec<_> = [
        "id", "binding", "kind", "reason", "attempts", "waiting", "digest", "position", "topic", "sender", "client",
        "qos",
    ]
    .map(line)
    .to_vec();
    lines.push(vec!["given up".to_owned(), time(letter, "at_ms")]);
    lines.push(vec!["received".to_owned(), time(letter, "received_ms")]);
    output.table(&["field", "value"], &lines);
    output.line("");
    match letter.get("payload").and_then(Json::as_str).filter(|text| is_readable(text)) {
        Some(text) => output.line(text),
        None => output.line(hex(&payload(letter))),
    }
}

/// Text that does not steer a terminal.
fn is_readable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'))
}

fn payload(letter: &Json) -> Vec<u8> {
    let encoded = letter.get("payload_base64").and_then(Json::as_str).unwrap_or_default();
    STANDARD.decode(encoded).unwrap_or_default()
}

/// Lines of sixteen bytes, each with its place and its printable characters.
fn hex(bytes: &[u8]) -> String {
    let line = |(number, line): (usize, &[u8])| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let readable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        format!("{:08x}  {:47}  {}", number * 16, hex.join(" "), line.iter().map(readable).collect::<String>())
    };
    bytes.chunks(16).enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn write_payload(letter: &Json, file: &Path) -> Result<(), Failure> {
    std::fs::write(file, payload(letter))
        .map_err(|error| Failure::new(Exit::Io, format!("{}: {error}", file.display())))
}

fn replay(client: &Client, body: Map<String, Json>, output: &mut Output) -> Result<(), Failure> {
    let answer = client.change("POST", &["v1", "dead-letters", "replay"], Some(&body.into()))?;
    if output.is_json() {
        output.json(&answer);
        return Ok(());
    }
    let [letters, done, failed] = ["letters", "done", "failed"].map(|key| text(&answer, key));
    output.line(format_args!("{letters} letters sent again: {done} took effect, {failed} failed once more"));
    let left = |key: &str| answer.get(key).and_then(Json::as_u64).filter(|count| *count > 0);
    if let Some(waiting) = left("waiting") {
        output.line(format_args!("{waiting} wait for their binding, see `causeway binding list`"));
    }
    if let Some(unserved) = left("unserved") {
        output.line(format_args!("{unserved} are of bindings that this gateway does not have"));
    }
    Ok(())
}

fn drop_letters(
    client: &Client,
    mut body: Map<String, Json>,
    count: Option<u64>,
    output: &mut Output,
) -> Result<(), Failure> {
    if let Some(count) = count {
        body.insert("count".to_owned(), json!(count));
    }
    let answer = client.change("POST", &["v1", "dead-letters", "drop"], Some(&body.into()))?;
    if output.is_json() {
        output.json(&answer);
    } else {
        output.line(format_args!("{} letters dropped", text(&answer, "dropped")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(ids: &[i64], binding: Option<&str>, all: bool) -> Chosen {
        let which = Which { binding: binding.map(str::to_owned), kind: None, since: None };
        Chosen { ids: ids.to_vec(), which, all }
    }

    #[test]
    fn nothing_is_meant_unless_it_is_said() {
        assert!(chosen(&[], None, false).body().is_err());
        assert!(chosen(&[1], None, true).body().is_err());
        assert_eq!(Json::from(chosen(&[], None, true).body().unwrap()), json!({ "all": true }));
        let both = chosen(&[1, 2], Some("telemetry"), false).body().unwrap();
        assert_eq!(Json::from(both), json!({ "ids": [1, 2], "binding": "telemetry" }));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        let bytes: Vec<u8> = (0x58..0x69).collect();
        let expected = "00000000  58 59 5a 5b 5c 5d 5e 5f 60 61 62 63 64 65 66 67  XYZ[\\]^_`abcdefg\n\
                        00000010  68                                               h";
        assert_eq!(hex(&bytes), expected);
        assert!(is_readable("{\n\t\"a\": \"ü\"}") && !is_readable("\u{1b}[2J"));
    }
}
