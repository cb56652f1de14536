//! What is here: the plugins that are kept, what the lockfile says of tags, and which bindings of the configuration use
//! either. What a running gateway does with them is told by `causeway binding list`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value as Json, json};

use super::named::{Named, plugins};
use super::place::{Place, Stage, Trusting};
use crate::artifacts::cache::CacheError;
use crate::artifacts::lockfile::Lockfile;
use crate::artifacts::{Digest, Listed, Manifest, Reference};
use crate::cli::show::{bytes, rows, text};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::plugins::component_artifact;

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
}

/// A plugin of the configuration.
struct Used {
    binding: String,
    reference: Reference,
    /// What it stands for, as far as that is known here.
    digest: Option<Digest>,
}

impl List {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let (stage, config) = self.place.open_configured()?;
        let locked = Lockfile::read(&config.artifacts.lockfile);
        let locked = locked.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let used = used(&config, &locked);
        let kept = kept(&stage, &used).map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
        let locked: Vec<_> = locked
            .0
            .iter()
            .map(|(reference, digest)| {
                let bindings = names(&used, |used| used.reference == *reference);
                json!({ "reference": reference.to_string(), "digest": digest.to_string(), "bindings": bindings })
            })
            .collect();
        if output.is_json() {
            output.json(&json!({ "kept": kept, "locked": locked }));
        } else {
            let cells = |item: &Json| {
                let mut cells =
                    ["reference", "version", "signed_by", "bindings", "digest"].map(|key| text(item, key)).to_vec();
                cells.insert(2, bytes(item, "bytes"));
                if !item["problem"].is_null() {
                    cells.splice(3..4, ["not trusted".to_owned()]);
                }
                cells
            };
            output.line(format_args!("kept in {}:", config.artifacts.dir.display()));
            output.table(&["reference", "version", "size", "signed by", "bindings", "digest"], &rows(&kept, cells));
            output.line(format_args!("\ntags in {}:", config.artifacts.lockfile.display()));
            let cells = |item: &Json| ["reference", "bindings", "digest"].map(|key| text(item, key)).to_vec();
            output.table(&["reference", "bindings", "digest"], &rows(&locked, cells));
        }
        Ok(())
    }
}

fn used(config: &Config, locked: &Lockfile) -> Vec<Used> {
    let used = plugins(config).map(|Named { binding, reference, .. }| {
        let digest = reference.digest().or_else(|| locked.0.get(&reference).copied());
        Used { binding: binding.to_owned(), reference, digest }
    });
    used.collect()
}

fn names(used: &[Used], is_meant: impl Fn(&Used) -> bool) -> Vec<&str> {
    used.iter().filter(|used| is_meant(used)).map(|used| used.binding.as_str()).collect()
}

/// The images that are kept, each once, under the first of its names.
fn kept(stage: &Stage, used: &[Used]) -> Result<Vec<Json>, CacheError> {
    let mut images: BTreeMap<Digest, (Vec<String>, Manifest)> = BTreeMap::new();
    for Listed { reference, digest, manifest, .. } in stage.artifacts.list()? {
        // Firmware lies beside them.
        if component_artifact::component(&manifest).is_err() {
            continue;
        }
        images.entry(digest).or_insert((Vec::new(), manifest)).0.push(reference);
    }
    Ok(images.into_iter().map(|(digest, (names, manifest))| image(stage, digest, &names, &manifest, used)).collect())
}

fn image(stage: &Stage, digest: Digest, kept_as: &[String], manifest: &Manifest, used: &[Used]) -> Json {
    let bindings = names(used, |used| used.digest == Some(digest));
    let of_binding = used.iter().find(|used| used.digest == Some(digest)).map(|used| used.reference.clone());
    let reference = of_binding.or_else(|| kept_as.iter().find_map(|name| name.parse().ok()));
    let trusted = reference.as_ref().map(|reference| {
        let wanted = stage.wanted(reference.clone(), &Trusting::default());
        stage.artifacts.again(&digest, &wanted)
    });
    let (signed_by, problem) = match trusted {
        Some(Ok(trusted)) => (trusted.signed_by, None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    json!({
        "reference": reference.map_or_else(|| kept_as.first().cloned(), |reference| Some(reference.to_string())),
        "digest": digest.to_string(),
        "version": manifest.version(),
        "component": component_artifact::component(manifest).ok().map(|layer| layer.digest.to_string()),
        "bytes": manifest.blobs().map(|blob| blob.size).sum::<u64>(),
        "signed_by": signed_by,
        "problem": problem,
        "bindings": bindings,
    })
}
