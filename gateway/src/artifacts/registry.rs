//! Registries over the network: what a tag stands for, manifests, blobs and signatures, and pushing them.
//!
//! What is returned hashes to what was asked for; whether anybody is to be trusted for it is decided elsewhere.
//! Reads go through `ask.rs`, which alone decides where a registry may lead us and what it is shown. Every call has a
//! deadline (`artifacts.timeout`), every body a bound. What is written is written by the caller's thread: call from one
//! that may block.

mod ask;
mod blob;
mod challenge;
mod client;
mod credentials;
mod docker;
mod error;
mod guard;
mod place;
mod push;
mod retry;
mod secret;
mod session;
mod signatures;
mod sources;
mod token;

pub use error::RegistryError;
pub use signatures::Signatures;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;

use super::digest::Digest;
use super::reference::ImageReference;
use crate::config::{ArtifactsConfig, RegistryConfig};
use blob::Download;
use client::Timeouts;
use place::Places;
use sources::Source;

const USER_AGENT: &str = concat!("causeway/", env!("CARGO_PKG_VERSION"));

/// What is asked for is an image's manifest; lists of several are taken too, so that the refusal can say what they are.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// How a registry names the digest of what it serves.
const DIGEST_HEADER: &str = "docker-content-digest";

/// All registries; clones share connections and tokens.
#[derive(Clone)]
pub struct Registries(Arc<Inner>);

struct Inner {
    places: Places,
    timeout: Duration,
    connect_timeout: Duration,
    idle_timeout: Duration,
    retries: u32,
    max_manifest: u64,
}

impl Registries {
    /// Registries as the configuration describes them. Nothing is read and nobody is asked before the first call.
    #[must_use]
    pub fn new(fetch: &ArtifactsConfig, registries: &[RegistryConfig]) -> Self {
        let timeouts = Timeouts { connect: fetch.connect_timeout, idle: fetch.idle_timeout };
        Self(Arc::new(Inner {
            places: Places::new(registries, timeouts),
            timeout: fetch.timeout,
            connect_timeout: fetch.connect_timeout,
            idle_timeout: fetch.idle_timeout,
            retries: fetch.retries,
            max_manifest: fetch.max_manifest.bytes(),
        }))
    }

    /// What the tag of `image` stands for at present; its digest if it has one.
    ///
    /// # Errors
    /// The registry cannot be asked, or has no such tag.
    pub async fn resolve(&self, image: &ImageReference) -> Result<Digest, RegistryError> {
        match (&image.digest, &image.tag) {
            (Some(digest), _) => Ok(*digest),
            (None, tag) => {
                let tag = tag.as_deref().unwrap_or_default();
                self.each_source(image, async |source| self.resolve_tag(source, tag).await).await
            }
        }
    }

    /// The manifest `digest`, which it hashes to.
    ///
    /// # Errors
    /// The registry cannot be asked, has no such manifest, or sends another.
    pub async fn manifest(&self, image: &ImageReference, digest: &Digest) -> Result<Bytes, RegistryError> {
        let name = digest.to_string();
        self.each_source(image, async |source| {
            let manifest = self.get_manifest(source, &name).await?;
            let got = Digest::of(&manifest);
            let (host, what) = (source.place.host.clone(), format!("manifest {digest}"));
            if got == *digest { Ok(manifest) } else { Err(RegistryError::Digest { host, what, got }) }
        })
        .await
    }

    /// Writes the blob `digest` of exactly `size` bytes to `file`, in place of what is there.
    ///
    /// # Errors
    /// The registry cannot be asked, has no such blob or sends another, or the file cannot be written. The file holds
    /// anything then.
    pub async fn blob(
        &self,
        image: &ImageReference,
        digest: &Digest,
        size: u64,
        file: &mut File,
    ) -> Result<(), RegistryError> {
        let mut download = Download::new(file, *digest, size)?;
        self.each_source(image, async |source| download.fetch(self, source).await).await
    }

    async fn resolve_tag(&self, source: &Source, tag: &str) -> Result<Digest, RegistryError> {
        let what = format!("manifest {tag}");
        let answer = self
            .retrying(async || {
                let mut asked = source.asked(Method::HEAD, "manifests", tag, &what);
                asked.accept = MANIFESTS;
                self.0.places.ask(&asked).await
            })
            .await;
        let named = match answer {
            Ok(response) => response.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok()),
            // Not every registry answers HEAD.
            Err(RegistryError::Answer { .. }) => None,
            Err(error) => return Err(error),
        };
        match named {
            Some(digest) => Ok(digest),
            None => self.get_manifest(source, tag).await.map(|manifest| Digest::of(&manifest)),
        }
    }

    async fn get_manifest(&self, source: &Source, name: &str) -> Result<Bytes, RegistryError> {
        self.get(source, "manifests", name, &format!("manifest {name}")).await
    }

    async fn get(&self, source: &Source, kind: &str, name: &str, what: &str) -> Result<Bytes, RegistryError> {
        self.retrying(async || {
            let mut asked = source.asked(Method::GET, kind, name, what);
            asked.accept = MANIFESTS;
            let response = self.0.places.ask(&asked).await?;
            ask::body(response, &source.place.host, what, self.0.max_manifest, Some("artifacts.max_manifest")).await
        })
        .await
    }
}
