//! Where the signatures of an image are: under cosign's tag, or (newer) as bundles that refer to the image.
//!
//! Bundles are recognised so that the operator can be told what to do; they are not read.

use bytes::Bytes;
use serde::Deserialize;

use super::sources::Source;
use super::{Registries, RegistryError};
use crate::artifacts::digest::Digest;
use crate::artifacts::reference::ImageReference;

/// How the artifact types of sigstore bundles begin.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// What is there to show who signed an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Signatures {
    /// The manifest under cosign's tag: its layers are the signatures.
    Cosign(Bytes),
    /// Only a bundle of the newer format.
    Bundle,
    /// Nothing.
    Absent,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    #[serde(default)]
    artifact_type: Option<String>,
}

impl Registries {
    /// Looks for the signatures of the image `digest`.
    ///
    /// # Errors
    /// The registry cannot be asked. That it has none is no error.
    pub async fn signatures(&self, image: &ImageReference, digest: &Digest) -> Result<Signatures, RegistryError> {
        match self.each_source(image, async |source| self.get_manifest(source, &digest.signature_tag()).await).await {
            Ok(manifest) => return Ok(Signatures::Cosign(manifest)),
            Err(RegistryError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let found = self.each_source(image, async |source| self.referrers(source, digest).await).await;
        match found {
            Ok(index) if has_bundle(&index) => Ok(Signatures::Bundle),
            Ok(_) | Err(RegistryError::NotFound { .. }) => Ok(Signatures::Absent),
            // A registry that serves manifests and cannot list referrers has nothing more to say.
            Err(RegistryError::Answer { .. } | RegistryError::Size { .. }) => Ok(Signatures::Absent),
            Err(error) => Err(error),
        }
    }

    /// The index of what refers to `digest`: by the API of the specification, else under its fallback tag.
    async fn referrers(&self, source: &Source, digest: &Digest) -> Result<Bytes, RegistryError> {
        let what = format!("list of what refers to {digest}");
        match self.get(source, "referrers", &digest.to_string(), &what).await {
            Err(RegistryError::NotFound { .. } | RegistryError::Answer { .. }) => {
                self.get_manifest(source, &digest.referrers_tag()).await
            }
            other => other,
        }
    }
}

fn has_bundle(index: &[u8]) -> bool {
    let index: Option<Index> = serde_json::from_slice(index).ok();
    let is_bundle = |referrer: &Referrer| referrer.artifact_type.as_ref().is_some_and(|kind| kind.starts_with(BUNDLE));
    index.is_some_and(|index| index.manifests.iter().any(is_bundle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_known_by_its_artifact_type() {
        let index =
            |kind: &str| format!(r#"{{"schemaVersion":2,"manifests":[{{"size":1}},{{"artifactType":"{kind}"}}]}}"#);
        assert!(has_bundle(index("application/vnd.dev.sigstore.bundle.v0.3+json").as_bytes()));
        assert!(!has_bundle(index("application/vnd.cyclonedx+json").as_bytes()));
        assert!(!has_bundle(b"{}") && !has_bundle(b"not JSON"));
    }
}
