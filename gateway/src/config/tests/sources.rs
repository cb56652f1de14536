//! What the reference promises must be in the sources: a part that reads each key, and each metric.

use std::path::Path;

use crate::config::reference::{Row, keys};

/// The text of all sources of the gateway but the configuration itself.
fn sources() -> String {
    let mut text = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                "config" | "tests" | "tests.rs" => {}
                _ if path.is_dir() => folders.push(path),
                _ => text.push_str(&std::fs::read_to_string(path).unwrap()),
            }
        }
    }
    text
}

fn rows() -> Vec<Row> {
    keys().keys().cloned().collect()
}

#[test]
fn every_key_is_read_by_a_part() {
    let sources = sources();
    for row in rows() {
        let name = row.key.rsplit('.').next().unwrap().trim_end_matches("[]");
        let read = sources
            .match_indices(&format!(".{name}"))
            .any(|(at, found)| !sources[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        assert!(read, "nobody reads `{}`", row.key);
    }
}

#[test]
fn every_metric_of_the_reference_is_registered_somewhere() {
    let sources = sources();
    for row in rows().into_iter().filter(|row| !row.metric.is_empty()) {
        let name = row.metric.trim_end_matches("_total");
        let whole = sources.contains(&format!("\"{name}\""));
        // A part may put its own prefix before a list of names.
        let parts = name.match_indices('_').any(|(at, _)| {
            sources.contains(&format!("\"{}_{{name}}\"", &name[..at]))
                && sources.contains(&format!("\"{}\"", &name[at + 1..]))
        });
        assert!(whole || parts, "`{}` names {}, which no part registers", row.key, row.metric);
    }
}
