//! What a registry serves: manifests by tag and by digest, and blobs.

use super::http::{Answer, Request};
use crate::artifact::{Artifact, Signature, digest, media};
use serde_json::json;
use std::collections::HashMap;

/// What lies at a path, so that a test can change one thing and no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// An artifact's manifest, asked for by tag.
    Tag,
    /// An artifact's manifest, asked for by digest.
    Manifest,
    Config,
    Layer,
    /// A signature's manifest, by its tag or by digest.
    Signature,
    Payload,
    /// A list of what refers to a manifest.
    Referrers,
    /// Anything else.
    Other,
}

/// The contents of a registry.
#[derive(Default)]
pub struct Shelf {
    found: HashMap<String, (Role, Answer)>,
}

impl Shelf {
    /// Serves an artifact under a tag and under its digest.
    pub fn put(&mut self, repository: &str, tag: &str, artifact: &Artifact) {
        self.manifest(repository, tag, Role::Tag, &artifact.manifest);
        self.manifest(repository, &artifact.digest(), Role::Manifest, &artifact.manifest);
        self.blob(repository, Role::Config, &artifact.config);
        self.blob(repository, Role::Layer, &artifact.layer);
    }

    /// Serves a signature of the artifact with this digest.
    pub fn sign(&mut self, repository: &str, manifest_digest: &str, signature: &Signature) {
        self.manifest(repository, &Signature::tag(manifest_digest), Role::Signature, &signature.manifest);
        self.manifest(repository, &digest(&signature.manifest), Role::Signature, &signature.manifest);
        self.blob(repository, Role::Config, &signature.config);
        self.blob(repository, Role::Payload, &signature.payload);
    }

    /// Serves a manifest of any contents under a tag or a digest.
    pub fn manifest(&mut self, repository: &str, reference: &str, role: Role, bytes: &[u8]) {
        let said = serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
        let mut answer = Answer::new(200, bytes);
        answer.set("content-type", said["mediaType"].as_str().unwrap_or(media::MANIFEST));
        answer.set("docker-content-digest", digest(bytes));
        self.found.insert(format!("/v2/{repository}/manifests/{reference}"), (role, answer));
    }

    /// Serves a blob under its digest.
    pub fn blob(&mut self, repository: &str, role: Role, bytes: &[u8]) {
        let mut answer = Answer::new(200, bytes);
        answer.set("content-type", "application/octet-stream");
        self.found.insert(format!("/v2/{repository}/blobs/{}", digest(bytes)), (role, answer));
    }

    /// Serves the list of what refers to a manifest, as registries of the distribution specification 1.1 do.
    pub fn referrers(&mut self, repository: &str, manifest_digest: &str, manifests: &serde_json::Value) {
        let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests });
        let mut answer = Answer::new(200, index.to_string());
        answer.set("content-type", media::INDEX);
        self.found.insert(format!("/v2/{repository}/referrers/{manifest_digest}"), (Role::Referrers, answer));
    }

    /// Serves nothing in the place of a signature any more.
    pub fn unsign(&mut self) {
        self.found.retain(|_, (role, _)| !matches!(role, Role::Signature | Role::Payload));
    }

    /// What is found at a path, before anything is changed; says what it is in the request.
    pub(super) fn answer(&self, request: &mut Request) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return Answer::new(200, "{}");
        }
        if path.starts_with("/token") {
            return Answer::new(200, json!({ "token": "a-token", "expires_in": 300 }).to_string());
        }
        if let Some((role, answer)) = self.found.get(path) {
            request.role = *role;
            return answer.clone();
        }
        let code = if path.contains("/manifests/") { "MANIFEST_UNKNOWN" } else { "BLOB_UNKNOWN" };
        let mut answer = Answer::new(404, json!({ "errors": [{ "code": code, "message": "not here" }] }).to_string());
        answer.set("content-type", "application/json");
        answer
    }
}
