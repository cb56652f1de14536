//! `trust:` whose artifacts run here.

use std::path::{Path, PathBuf};

use super::check::{below, item};
use super::path;
use super::section::section;
use super::setting::Notes;
use crate::artifacts::Digest;

section! {
    /// Whose artifacts run here. The files of keys are read again at each reload.
    TrustConfig {
        /// The keys whose signatures count. Without any, only what `unsigned` allows runs.
        keys: Vec<KeyConfig> = Vec::new() => live;
        /// Digests of manifests or components that never run, whoever signed them.
        revoked: Vec<String> = Vec::new() => live;
        /// References that need no signature, or what they begin with, up to a `/`. A file on this machine is the operator's own; built-in plugins never need one.
        unsigned: Vec<String> = vec!["file://".to_owned()] => live;
    }
}

section! {
    /// A key whose signatures count: ECDSA P-256 or Ed25519. It stands either in `file` or in `pem`.
    KeyConfig {
        /// Names the key in logs, policies and `causeway plugin inspect`: lower-case letters, digits and `-`.
        id: String = String::new() => live, required "release-2026";
        /// The public key, PEM.
        file: Option<PathBuf> = None => live;
        /// The public key itself, PEM.
        pem: Option<String> = None => live;
        /// What it may sign: repositories with their registry, or what they begin with, up to a `/`: `registry.example.com/acme`. Without any, everything.
        repositories: Vec<String> = Vec::new() => live;
        /// The kinds of what it may sign. Without any, all kinds.
        kinds: Vec<String> = Vec::new() => live;
    }
}

/// The kinds of artifacts that a key can be for.
const KINDS: [&str; 3] = ["telemetry", "dfu", "firmware"];

/// What references begin with that may need a signature.
const PLACES: [&str; 3] = ["oci://", "oci-layout://", "file://"];

impl TrustConfig {
    /// Relative paths among the prefixes begin at `base`, as those of references do.
    pub(super) fn resolve(&mut self, base: &Path) {
        for prefix in &mut self.unsigned {
            if let Some((scheme @ ("file" | "oci-layout"), path)) = prefix.split_once("://")
                && !path.is_empty()
            {
                *prefix = format!("{scheme}://{}", base.join(path).display());
            }
        }
    }
}

pub(super) fn check(trust: &TrustConfig, notes: &mut Notes) {
    let own = path("trust");
    for revoked in &trust.revoked {
        if let Err(error) = revoked.parse::<Digest>() {
            notes.at(below(&own, "revoked"), "has an entry that is no digest", error.to_string());
        }
    }
    for (index, key) in trust.keys.iter().enumerate() {
        let mut at = own.clone();
        at.extend(item("keys", index));
        super::check::name(&key.id, "id", &at, notes);
        if key.file.is_some() == key.pem.is_some() {
            notes.at(at.clone(), "needs exactly one of `file` and `pem`", "add `file: keys/release.pub`");
        }
        for kind in key.kinds.iter().filter(|kind| !KINDS.contains(&kind.as_str())) {
            let known = KINDS.join(", ");
            notes.at(below(&at, "kinds"), format!("`{kind}` is no kind"), format!("there is {known}"));
        }
        for prefix in key.repositories.iter().filter(|prefix| prefix.contains("://") || prefix.is_empty()) {
            let remedy = "write it without a scheme: `registry.example.com/acme`";
            notes.at(below(&at, "repositories"), format!("`{prefix}` is no repository"), remedy);
        }
        let earlier = trust.keys.iter().take(index).position(|other| !key.id.is_empty() && other.id == key.id);
        if let Some(first) = earlier {
            notes.at(below(&at, "id"), format!("is that of trust.keys[{first}] already"), "give each its own");
        }
    }
    for wrong in trust.unsigned.iter().filter(|prefix| !PLACES.iter().any(|place| prefix.starts_with(place))) {
        let remedy = format!("write a reference, or what it begins with: {}", PLACES.join(", "));
        notes.at(below(&own, "unsigned"), format!("`{wrong}` begins no reference"), remedy);
    }
}
