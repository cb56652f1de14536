//! The configurations in `examples/` are good ones, and the commands of the README work.

use crate::setup;
use causeway_tests::Setup;
use std::fs;
use std::path::Path;

fn run(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "causeway {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_first_gateway_passes_its_check_with_the_certificates_of_the_readme() {
    let setup = setup();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/first-gateway/causeway.yaml");
    fs::copy(example, setup.path("causeway.yaml")).unwrap();
    run(&setup, &["certs", "init", "--san", "gateway.local"]);
    run(&setup, &["certs", "issue", "truck-7"]);
    assert!(run(&setup, &["check"]).contains("ok"));
}

#[test]
fn every_command_of_the_readme_exists() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let setup = setup();
    let named = readme.split(['`', '\n']).filter_map(|text| text.trim().strip_prefix("causeway "));
    let mut count = 0;
    for command in named {
        let mut words: Vec<&str> = command.split(' ').take_while(|word| !word.starts_with('-')).take(2).collect();
        words.push("--help");
        run(&setup, &words);
        count += 1;
    }
    assert!(count > 10, "only {count} commands were found");
}

#[test]
fn the_demo_shows_rows_and_ends_by_itself() {
    let setup = setup();
    let said = run(&setup, &["demo", "--port", "0", "--rows", "5"]);
    for part in ["mosquitto_pub", "store query", "cardata   vehicle-", "rows arrived"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
