//! What a plugin is and would ask for, whoever made it: read from its bytes, without compiling or running anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use causeway_host::Outline;
use clap::Args;
use serde_json::{Value as Json, json};

use super::grants::{self, Grant};
use super::named::plugins;
use super::place::{Keep, Place, Stage, Trusting, failure};
use crate::artifacts::signature::{self, Signed};
use crate::artifacts::trust::{Distrust, Evidence, Question, Trust};
use crate::artifacts::{Digest, Manifest, Reference, Wanted};
use crate::cli::output::printable;
use crate::cli::show::bytes;
use crate::cli::{Exit, Failure, Output};
use crate::plugins::component_artifact;
use crate::policy::Policies;

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The plugin: `oci://...`, `oci-layout://...`, a file, or `builtin:telemetry`.
    reference: Reference,
    /// The binding that the policies are asked for; without it the one that uses the reference.
    #[arg(long, value_name = "NAME")]
    binding: Option<String>,
    #[command(flatten)]
    trusting: Trusting,
    #[command(flatten)]
    place: Place,
}

/// What is there.
struct Seen {
    manifest: Option<(Digest, Manifest)>,
    component: Vec<u8>,
    evidence: Vec<Signature>,
    bundle: bool,
}

/// A signature, and what it is worth here.
struct Signature {
    key: Option<String>,
    trusted: bool,
    text: String,
}

impl Inspect {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let stage = self.place.open(Keep::Nothing, &self.trusting)?;
        let wanted = stage.wanted(self.reference.clone(), &self.trusting);
        let seen = match &self.reference {
            Reference::Builtin(name) => Seen::builtin(name)?,
            Reference::File(file) => Seen::file(file, &wanted, &stage.artifacts.trust())?,
            Reference::Registry(_) | Reference::Layout { .. } => Seen::artifact(&stage, &wanted)?,
        };
        let no = |error: &dyn std::error::Error| Failure::new(Exit::No, format!("{}: {error}", self.reference));
        let outline = Outline::read(&seen.component).map_err(|error| no(&error))?;
        let grants = self.grants(&stage, &seen, &outline)?;
        let shown = self.json(&seen, &outline, &grants);
        if output.is_json() {
            output.json(&shown);
        } else {
            print(&shown, &grants, output);
        }
        Ok(())
    }

    /// What the policies of the configuration say, if there is one and it has a binding to ask for.
    fn grants(&self, stage: &Stage, seen: &Seen, outline: &Outline) -> Result<Vec<Grant>, Failure> {
        let Some(config) = &stage.config else { return Ok(grants::grants(outline, None)) };
        // The paths of a configuration begin at its own folder, and are whole by now.
        let own = &self.reference.clone().resolved(&std::env::current_dir().unwrap_or_default());
        let user = plugins(config).find(|named| is_same(&named.reference, own));
        let Some(name) = self.binding.as_deref().or_else(|| user.map(|named| named.binding)) else {
            return Ok(grants::grants(outline, None));
        };
        let policies = Policies::load(config.policies.dir.as_deref()).map_err(Failure::problems)?;
        let signer =
            seen.evidence.iter().find(|signature| signature.trusted).and_then(|signature| signature.key.clone());
        let principal = grants::principal(name, outline.kind().unwrap_or_default(), own, signer);
        Ok(grants::grants(outline, Some((&policies, &principal))))
    }

    fn json(&self, seen: &Seen, outline: &Outline, grants: &[Grant]) -> Json {
        let manifest = seen.manifest.as_ref();
        let signature = |signature: &Signature| json!({ "key": signature.key, "trusted": signature.trusted, "text": signature.text });
        let empty = BTreeMap::new();
        json!({
            "reference": self.reference.to_string(),
            "digest": manifest.map(|(digest, _)| digest.to_string()),
            "version": manifest.and_then(|(_, manifest)| manifest.version()),
            "kind": outline.kind(),
            "component": { "bytes": seen.component.len(), "digest": Digest::of(&seen.component).to_string() },
            "imports": grants.iter().map(Grant::json).collect::<Vec<_>>(),
            "exports": outline.exports(),
            "signatures": seen.evidence.iter().map(signature).collect::<Vec<_>>(),
            "bundle": seen.bundle,
            "annotations": manifest.map_or(&empty, |(_, manifest)| &manifest.annotations),
        })
    }
}

/// Whether two references are to the same artifact, or to another version of it.
fn is_same(one: &Reference, other: &Reference) -> bool {
    one == other || one.repository_name().is_some_and(|name| other.repository_name() == Some(name))
}

impl Seen {
    fn builtin(name: &str) -> Result<Self, Failure> {
        let bytes = causeway_plugins::builtin(name).ok_or_else(|| {
            let names = causeway_plugins::NAMES.join(", ");
            Failure::new(Exit::No, format!("there is no built-in plugin `{name}`; there is {names}"))
        })?;
        Ok(Self { manifest: None, component: bytes.to_vec(), evidence: Vec::new(), bundle: false })
    }

    fn file(file: &Path, wanted: &Wanted, trust: &Trust) -> Result<Self, Failure> {
        let unreadable = |error: std::io::Error| Failure::new(Exit::Io, format!("{}: {error}", file.display()));
        let component = fs::read(file).map_err(unreadable)?;
        let mut beside = file.as_os_str().to_owned();
        beside.push(".sig");
        let signed = fs::read_to_string(beside).ok().and_then(|text| signature::decode(&text));
        let evidence = signed.map(|signature| {
            let by = trust.keys.iter().find(|pinned| pinned.key.verifies(&component, &signature));
            let judged = trust.judge_file(
                &wanted.reference.to_string(),
                wanted.kind,
                &Digest::of(&component),
                &component,
                Some(&signature),
            );
            Signature::of(by.map(|pinned| pinned.id.clone()), judged)
        });
        Ok(Self { manifest: None, component, evidence: evidence.into_iter().collect(), bundle: false })
    }

    fn artifact(stage: &Stage, wanted: &Wanted) -> Result<Self, Failure> {
        let reference = &wanted.reference;
        let shelf = stage.shelf(reference, false)?;
        let digest = shelf.digest().map_err(|error| failure(&error))?;
        let manifest = shelf.manifest(&digest).map_err(|error| failure(&error))?;
        let layer = component_artifact::component(&manifest)
            .map_err(|error| Failure::new(Exit::No, format!("{reference}: {error}")))?;
        let component = shelf.blob(layer, stage.most()).map_err(|error| failure(&error))?;
        let evidence = shelf.evidence(&digest).map_err(|error| failure(&error))?;
        let (trust, written) = (stage.artifacts.trust(), reference.to_string());
        let repository = wanted.signed_as.clone().or_else(|| reference.repository_name());
        let question = Question { reference: &written, repository: repository.as_deref(), kind: wanted.kind, digest };
        let bundle = evidence.bundle;
        let evidence =
            evidence.signatures.into_iter().map(|signed| Signature::judged(signed, &trust, question)).collect();
        Ok(Self { manifest: Some((digest, manifest)), component, evidence, bundle })
    }
}

impl Signature {
    fn judged(signed: Signed, trust: &Trust, question: Question<'_>) -> Self {
        let by = trust.keys.iter().find(|pinned| pinned.key.verifies(&signed.payload, &signed.signature));
        let judged = trust.judge(question, &Evidence { signatures: vec![signed.clone()], bundle: false });
        Self::of(by.map(|pinned| pinned.id.clone()), judged)
    }

    fn of(key: Option<String>, judged: Result<Option<String>, Distrust>) -> Self {
        match judged {
            Ok(Some(key)) => Self { key: Some(key), trusted: true, text: "trusted".to_owned() },
            Ok(None) => Self { key, trusted: false, text: "not trusted, and not asked for".to_owned() },
            Err(distrust) => Self { key, trusted: false, text: distrust.to_string() },
        }
    }
}

/// For people: a heading, and what is under it.
fn print(shown: &Json, grants: &[Grant], output: &mut Output) {
    let text = |key: &str| shown[key].as_str().map(str::to_owned);
    let component = format!(
        "{}, {}",
        bytes(&shown["component"], "bytes"),
        shown["component"]["digest"].as_str().unwrap_or_default()
    );
    let rows = [
        ("reference", text("reference")),
        ("digest", text("digest")),
        ("version", text("version")),
        ("kind", text("kind").or_else(|| Some("none that is known here".to_owned()))),
        ("component", Some(component)),
    ];
    for (head, text) in rows.into_iter().filter_map(|(head, text)| Some((head, text?))) {
        list(head, &[text], output);
    }
    let widest = grants.iter().map(|grant| grant.import.len()).max().unwrap_or_default();
    let grants: Vec<_> = grants.iter().map(|grant| format!("{:widest$}  {}", grant.import, grant.text())).collect();
    list("imports", &or(grants, "nothing"), output);
    let exports = shown["exports"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned);
    list("exports", &or(exports.collect(), "nothing"), output);
    let signatures = shown["signatures"].as_array().into_iter().flatten().map(|signature| {
        let key = signature["key"].as_str().unwrap_or("unknown key");
        format!("{key}  {}", signature["text"].as_str().unwrap_or_default())
    });
    let none = if shown["bundle"] == true { "only a sigstore bundle, which is not read" } else { "none" };
    list("signatures", &or(signatures.collect(), none), output);
    let annotations = shown["annotations"].as_object().into_iter().flatten();
    let annotations: Vec<_> =
        annotations.map(|(key, value)| format!("{key}  {}", value.as_str().unwrap_or_default())).collect();
    if !annotations.is_empty() {
        list("annotations", &annotations, output);
    }
}

fn or(items: Vec<String>, none: &str) -> Vec<String> {
    if items.is_empty() { vec![none.to_owned()] } else { items }
}

/// What a stranger wrote must not steer the terminal.
fn list(head: &str, items: &[String], output: &mut Output) {
    for (number, item) in items.iter().enumerate() {
        let head = if number == 0 { head } else { "" };
        output.line(format_args!("{head:12} {}", printable(item)));
    }
}
