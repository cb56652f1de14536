//! The house keeps its shape: reads the sources and fails when an import goes the wrong way or a file outgrows its
//! bounds. `ARCHITECTURE.md` says what the rules are for.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the root of the repository, and its text.
type Source = (String, String);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust sources of the product and its tests.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["gateway", "plugins", "tests", "xtask", "examples"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 50, "the sources are not where they were");
    found
}

/// The code of a file: what stands before its tests, without comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Fails with every file of `sources` in `folder` whose code has one of `words` and that is not among `but`.
fn check_absent(sources: &[Source], folder: &str, words: &[&str], but: &[&str]) {
    let wrong: Vec<_> = sources
        .iter()
        .filter(|(path, _)| path.starts_with(folder) && !but.iter().any(|allowed| path.starts_with(allowed)))
        .filter_map(|(path, text)| {
            let code = code(text);
            words.iter().find(|word| code.contains(**word)).map(|word| format!("{path}: {word}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_router_names_the_library_behind_it() {
    check_absent(&sources(), "gateway/", &["rumqttd::"], &["gateway/src/router.rs", "gateway/src/router/"]);
}

#[test]
fn only_the_host_names_the_webassembly_engine() {
    check_absent(&sources(), "gateway/", &["wasmtime::"], &["gateway/host/"]);
}

#[test]
fn the_core_is_pure() {
    let words = [
        "tokio::",
        "wasmtime::",
        "rumqttd::",
        "std::fs",
        "std::net",
        "std::time::Instant",
        "SystemTime",
        "std::env",
        "std::thread",
    ];
    check_absent(&sources(), "gateway/core/src/", &words, &[]);
}

#[test]
fn imports_point_one_way() {
    let sources = sources();
    // What works for the gateway knows neither who serves it to devices nor who put it together.
    for part in ["journal", "store", "devices", "policy", "certs", "clock", "config", "metrics", "log"] {
        for path in [format!("gateway/src/{part}.rs"), format!("gateway/src/{part}/")] {
            let words = ["crate::app", "crate::cli", "crate::admin", "crate::router", "crate::mqtt::session"];
            check_absent(&sources, &path, &words, &[]);
        }
    }
    // The kinds know neither one another nor who calls them.
    for (part, others) in
        [("telemetry", ["crate::dfu", "crate::dispatch"]), ("dfu", ["crate::telemetry", "crate::dispatch"])]
    {
        for path in [format!("gateway/src/{part}.rs"), format!("gateway/src/{part}/")] {
            check_absent(&sources, &path, &others, &[]);
        }
    }
    for part in ["telemetry", "dfu", "firmware", "dispatch", "plugins"] {
        for path in [format!("gateway/src/{part}.rs"), format!("gateway/src/{part}/")] {
            check_absent(&sources, &path, &["crate::mqtt", "crate::router", "crate::app", "crate::cli"], &[]);
        }
    }
    for path in ["gateway/src/dfu.rs", "gateway/src/dfu/"] {
        let parts = ["app", "cli", "admin", "mqtt", "router", "dispatch", "telemetry"];
        let words = parts.map(|part| format!("crate::{part}"));
        check_absent(&sources, path, &words.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    }
    // From a reference to verified bytes: what the bytes are for is not known here, and firmware takes the same road.
    for path in ["gateway/src/artifacts.rs", "gateway/src/artifacts/"] {
        let parts = ["app", "cli", "admin", "mqtt", "router", "dispatch", "plugins", "store", "policy", "telemetry"];
        let words = parts.map(|part| format!("crate::{part}"));
        let words: Vec<_> = words.iter().map(String::as_str).chain(["causeway_host", "causeway_plugins"]).collect();
        check_absent(&sources, path, &words, &[]);
    }
    // What there is to update devices to: it knows no devices.
    for path in ["gateway/src/firmware.rs", "gateway/src/firmware/"] {
        let parts = ["app", "cli", "admin", "mqtt", "router", "dispatch", "plugins", "devices", "dfu", "telemetry"];
        let words = parts.map(|part| format!("crate::{part}"));
        check_absent(&sources, path, &words.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    }
    check_absent(&sources, "gateway/src/mqtt", &["crate::app", "crate::cli", "crate::admin"], &[]);
}

#[test]
fn every_file_opens_with_its_job_and_stays_readable() {
    const LINES: usize = 600;
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{path}: does not open with //!"));
        }
        if path.ends_with("/mod.rs") {
            wrong.push(format!("{path}: is called mod.rs"));
        }
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        if lines > LINES && !path.contains("/tests") {
            wrong.push(format!("{path}: {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_architecture_names_no_file_that_is_gone() {
    let Ok(text) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { panic!("no ARCHITECTURE.md") };
    let named = text.split('`').skip(1).step_by(2);
    let paths =
        named.filter(|word| word.contains('/') && !word.contains([' ', '{', '*', '<', ':', '$', '|', '+', '#']));
    let starts = ["gateway/", "plugins/", "policies/", "tests/", "wit/", "xtask/", "docs/", "examples/", ".ci/"];
    let gone: Vec<_> = paths
        .filter(|path| starts.iter().any(|start| path.starts_with(start)) && !root().join(path).exists())
        .collect();
    assert!(gone.is_empty(), "{gone:#?}");
}
