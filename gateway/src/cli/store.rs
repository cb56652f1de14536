//! `causeway store`: what the plugins stored.

mod verify;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::client::Client;
use super::show::{bytes, plain, rows, text, time};
use super::{Exit, Failure, Output};
use crate::config::parse_duration;

#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the data of a stopped gateway: pages, tables, indexes, counts and the journal.
    Verify(verify::Verify),
    /// List the collections.
    List {
        #[command(flatten)]
        client: Client,
    },
    /// Print the rows of a collection, newest first.
    Query {
        /// The collection.
        collection: String,
        /// Only rows in which this column, or path like `dtc.code`, has this value; may stand more than once.
        #[arg(long = "where", value_name = "NAME=VALUE")]
        conditions: Vec<String>,
        /// Only rows from this time on: `2026-01-31T12:00:00Z`, or an age like `15m`.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// How many rows at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        client: Client,
    },
}

impl Store {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Verify(verify) => verify.run(output),
            Verb::List { client } => list(&client, output),
            Verb::Query { collection, conditions, since, limit, client } => {
                let mut query = vec![("limit", limit.to_string())];
                if !conditions.is_empty() {
                    query.push(("where", conditions_json(&conditions)?));
                }
                if let Some(since) = since {
                    query.push(("since_ms", since_ms(&since, OffsetDateTime::now_utc())?.to_string()));
                }
                let found = client.get(&["v1", "collections", &collection], &query)?;
                print_rows(&found, output);
                Ok(())
            }
        }
    }
}

fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let collections = client.get(&["v1", "collections"], &[])?;
    if output.is_json() {
        output.json(&collections);
        return Ok(());
    }
    let cells = |item: &Json| {
        let state = if item.get("filling") == Some(&true.into()) { "filling columns" } else { "ready" };
        let [name, kind, count, columns] = ["name", "kind", "rows", "columns"].map(|key| text(item, key));
        vec![name, kind, count, bytes(item, "bytes"), state.to_owned(), columns]
    };
    let heads = ["name", "kind", "rows", "bytes", "state", "columns"];
    output.table(&heads, &rows(collections.as_array().map_or(&[], Vec::as_slice), cells));
    Ok(())
}

/// For people one row is one line: when, from whom, and the document.
fn print_rows(found: &Json, output: &mut Output) {
    if output.is_json() {
        return output.json(found);
    }
    let cells = |row: &Json| {
        let document = row.get("document").map(plain).unwrap_or_default();
        vec![time(row, "received_ms"), text(row, "position"), text(row, "sender"), document]
    };
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    output.table(&["received", "position", "sender", "document"], &rows(found, cells));
}

fn conditions_json(conditions: &[String]) -> Result<String, Failure> {
    let mut object = Map::new();
    for condition in conditions {
        let Some((name, value)) = condition.split_once('=') else {
            return Err(Failure::new(Exit::Usage, format!("`{condition}`: write NAME=VALUE")));
        };
        object.insert(name.to_owned(), value.into());
    }
    Ok(Json::Object(object).to_string())
}

/// The Unix time in milliseconds of a time, or of an age.
pub(super) fn since_ms(text: &str, now: OffsetDateTime) -> Result<i128, Failure> {
    let moment = match parse_duration(text) {
        Some(age) => Some(now - age),
        None => OffsetDateTime::parse(text, &Rfc3339).ok(),
    };
    let wrong =
        || Failure::new(Exit::Usage, format!("`{text}`: write a time like 2026-01-31T12:00:00Z or an age like 15m"));
    Ok(moment.ok_or_else(wrong)?.unix_timestamp_nanos().max(0) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_an_age() {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        assert_eq!(since_ms("15m", now).unwrap(), 1_699_999_100_000);
        assert_eq!(since_ms("2023-11-14T22:13:20Z", now).unwrap(), 1_700_000_000_000);
        assert_eq!(since_ms("999999d", now).unwrap(), 0);
        assert!(since_ms("yesterday", now).is_err());
    }

    #[test]
    fn conditions_have_a_name_and_a_value() {
        let conditions = ["a=b=c".to_owned(), "d=".to_owned()];
        assert_eq!(conditions_json(&conditions).unwrap(), "{\"a\":\"b=c\",\"d\":\"\"}");
        assert!(conditions_json(&["a".to_owned()]).is_err());
    }
}
