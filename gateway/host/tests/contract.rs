//! The contract as a text: what `wit/README.md` plans for kinds that are not built yet is valid beside what is there.

use std::path::{Path, PathBuf};

use wit_parser::Resolve;

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

#[test]
fn the_planned_kinds_are_valid_and_fit_the_types_that_are_there() {
    let readme = std::fs::read_to_string(wit().join("README.md")).unwrap();
    let (_, planned) = readme.split_once("```wit\n").unwrap();
    let (planned, _) = planned.split_once("```").unwrap();
    let mut resolve = Resolve::default();
    resolve.push_dir(wit()).unwrap();
    let package = resolve.push_str("README.md", planned).unwrap();
    for world in ["manifest", "twin"] {
        resolve.select_world(&[package], Some(world)).unwrap();
    }
}

#[test]
fn every_interface_is_listed_for_authors() {
    let readme = std::fs::read_to_string(wit().join("README.md")).unwrap();
    for entry in std::fs::read_dir(wit()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".wit") || readme.contains(&format!("`{name}`")), "{name} is not in wit/README.md");
    }
}
