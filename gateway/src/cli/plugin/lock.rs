//! What the tags of the configuration stand for, written down.

use clap::Args;
use serde_json::{Value as Json, json};

use super::named::{Named, plugins};
use super::place::{Place, Stage, failure};
use crate::artifacts::lockfile::Lockfile;
use crate::artifacts::{Digest, Lock, Reference};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Locked {
    /// Ask again what the tags stand for now: those of these bindings, or of all.
    #[arg(long, value_name = "BINDING", num_args = 0..)]
    update: Option<Vec<String>>,
    #[command(flatten)]
    place: Place,
}

/// A tag of the configuration.
struct Tag {
    binding: String,
    reference: Reference,
    before: Option<Digest>,
}

impl Locked {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let (stage, config) = self.place.open_configured()?;
        self.check_names(&config)?;
        let locked =
            Lockfile::read(&config.artifacts.lockfile).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let mut shown = Vec::new();
        for tag in tags(&config, &locked) {
            shown.push(self.resolve(&stage, &tag)?);
        }
        if output.is_json() {
            output.json(&Json::Array(shown));
        } else if shown.is_empty() {
            output.line("no binding names a tag: there is nothing to lock");
        } else {
            shown.iter().for_each(|line| tell(line, output));
        }
        Ok(())
    }

    fn check_names(&self, config: &Config) -> Result<(), Failure> {
        let known: Vec<_> = config.bindings.iter().map(|binding| binding.name.as_str()).collect();
        let Some(unknown) = self.update.iter().flatten().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Failure::new(Exit::Usage, format!("there is no binding `{unknown}`; there is {known}")))
    }

    fn resolve(&self, stage: &Stage, tag: &Tag) -> Result<Json, Failure> {
        let is_meant = |names: &Vec<String>| names.is_empty() || names.contains(&tag.binding);
        let is_asked = tag.before.is_none() || self.update.as_ref().is_some_and(is_meant);
        let lock = if is_asked { Lock::Update } else { Lock::Use };
        let digest = stage.artifacts.resolve(&tag.reference, lock).map_err(|error| failure(&error))?;
        Ok(json!({
            "binding": tag.binding,
            "reference": tag.reference.to_string(),
            "before": tag.before.map(|digest| digest.to_string()),
            "digest": digest.to_string(),
            "moved": tag.before.is_some_and(|before| before != digest),
        }))
    }
}

/// All tags of the bindings and of their canaries, in their order.
fn tags(config: &Config, locked: &Lockfile) -> Vec<Tag> {
    let tags = plugins(config).filter(|named| has_tag(&named.reference) && named.reference.digest().is_none());
    let tag = |Named { binding, reference, .. }: Named<'_>| {
        let before = locked.0.get(&reference).copied();
        Tag { binding: binding.to_owned(), reference, before }
    };
    tags.map(tag).collect()
}

const fn has_tag(reference: &Reference) -> bool {
    match reference {
        Reference::Registry(image) => image.tag.is_some(),
        Reference::Layout { tag, .. } => tag.is_some(),
        Reference::File(_) | Reference::Builtin(_) => false,
    }
}

fn tell(line: &Json, output: &mut Output) {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let (binding, reference, digest) = (text("binding"), text("reference"), text("digest"));
    let before = text("before");
    match (line["moved"] == true, before.is_empty()) {
        (true, _) => output.line(format_args!("{binding}: {reference} moved from {before} to {digest}")),
        (false, true) => output.line(format_args!("{binding}: {reference} is {digest} from now on")),
        (false, false) => output.line(format_args!("{binding}: {reference} is still {digest}")),
    }
}
