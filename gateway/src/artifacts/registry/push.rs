//! Pushing an image: its blobs, then its manifest, by `oci-client`.
//!
//! The library is given a token and never credentials that it could take to a token server: challenges are answered by
//! `ask.rs`, under the same rules as for reads. It drops even the token when a registry leads it to another host
//! (`docs/adr/0005-registry-client.md`). Mirrors are for reading and are not pushed to.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::{RegistryToken, RegistryTokenType};
use oci_client::{Client, Reference, RegistryOperation};
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};

use super::ask::Asked;
use super::error::{Failure, RegistryError, clean};
use super::place::Place;
use super::session::Authorization;
use super::sources::{Source, within};
use super::{Registries, client};
use crate::artifacts::digest::Digest;
use crate::artifacts::reference::ImageReference;

/// A token lives for as long as one push: it is asked for before, and its owner ends with it.
const TOKEN_SECONDS: usize = 24 * 60 * 60;

impl Registries {
    /// Pushes `blobs`, those that are missing there, and the `manifest` that names them, as the tag of `image` or, if it
    /// has none, under its digest alone; returns the manifest's digest.
    ///
    /// # Errors
    /// The registry cannot be asked, or does not take it.
    pub async fn push(
        &self,
        image: &ImageReference,
        blobs: &[Bytes],
        manifest: Bytes,
        media_type: &str,
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(&manifest);
        if let Some(expected) = image.digest.filter(|expected| *expected != digest) {
            let cause = format!("which is not the digest {expected} of the reference");
            let (host, what) = (image.registry.clone(), format!("manifest {digest}"));
            return Err(RegistryError::Answer { host, what, cause });
        }
        let place = self.0.places.get(&image.registry)?;
        let source = Source::origin(place.clone(), image);
        let work = async {
            let pushing = self.pushing(&place, image, &digest).await?;
            for blob in blobs {
                let name = Digest::of(blob).to_string();
                if !self.has_blob(&source, &name).await? {
                    pushing.blob(blob.clone(), name).await?;
                }
            }
            pushing.manifest(manifest, media_type).await
        };
        within(self.0.timeout, &place.host, work).await?;
        Ok(digest)
    }

    async fn has_blob(&self, source: &Source, name: &str) -> Result<bool, RegistryError> {
        let what = format!("blob {name}");
        let asked = || source.asked(Method::HEAD, "blobs", name, &what);
        match self.retrying(async || self.0.places.ask(&asked()).await).await {
            Ok(_) => Ok(true),
            // What cannot be looked for is pushed.
            Err(RegistryError::NotFound { .. } | RegistryError::Answer { .. } | RegistryError::Denied { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn pushing(
        &self,
        place: &Arc<Place>,
        image: &ImageReference,
        digest: &Digest,
    ) -> Result<Pushing, RegistryError> {
        client::install_provider();
        let plain = place.base.scheme() == "http";
        let authorities = place.clients.authorities(&place.host).await?;
        let certificate = |data| Certificate { encoding: CertificateEncoding::Pem, data };
        let client = Client::try_from(ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            tls_certs_only: authorities.map(certificate).into_iter().collect(),
            connect_timeout: Some(self.0.connect_timeout),
            read_timeout: Some(self.0.idle_timeout),
            user_agent: super::USER_AGENT,
            default_token_expiration_secs: TOKEN_SECONDS,
            ..ClientConfig::default()
        });
        let host = place.host.clone();
        let client = client
            .map_err(|error| RegistryError::Unreachable { host: host.clone(), cause: clean(&error.to_string()) })?;
        let (registry, repository) = (image.registry.clone(), image.repository.clone());
        let image = match &image.tag {
            Some(tag) => Reference::with_tag(registry, repository, tag.clone()),
            None => Reference::with_digest(registry, repository, digest.to_string()),
        };
        let token = self.retrying(async || self.push_authorization(place, image.repository()).await).await?;
        if let Some(token) = token {
            // A token is used only for a registry whose credentials are known; these are nobody's.
            client.store_auth_if_needed(image.resolve_registry(), &RegistryAuth::Anonymous).await;
            client.tokens.insert(&image, RegistryOperation::Push, token).await;
        }
        Ok(Pushing { client, image, host })
    }

    /// What the registry wants to see of who pushes; `None`: nothing.
    async fn push_authorization(
        &self,
        place: &Arc<Place>,
        repository: &str,
    ) -> Result<Option<RegistryTokenType>, Failure> {
        let scope = format!("repository:{repository}:pull,push");
        let known = |place: &Place| place.session.known(&scope, Instant::now());
        if known(place).is_none() {
            let (method, url) = (Method::GET, place.url(""));
            let asked = Asked { place, method, url, scope: &scope, accept: "*/*", from: 0, what: "registry" };
            self.0.places.ask(&asked).await?;
        }
        Ok(known(place).map(|authorization| match authorization {
            Authorization::Basic { user, password } => RegistryTokenType::Basic(user, password.0),
            Authorization::Bearer(token) => RegistryTokenType::Bearer(RegistryToken::Token { token: token.0 }),
        }))
    }
}

/// A push that may begin.
struct Pushing {
    client: Client,
    image: Reference,
    host: String,
}

impl Pushing {
    async fn blob(&self, blob: Bytes, digest: String) -> Result<(), RegistryError> {
        let (client, image) = (self.client.clone(), self.image.clone());
        let what = format!("blob {digest}");
        self.run(&what, async move { client.push_blob(&image, blob, &digest).await }).await
    }

    async fn manifest(&self, manifest: Bytes, media_type: &str) -> Result<(), RegistryError> {
        let what = format!("manifest of {}", self.image);
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| self.refused(&what, "a media type that cannot be one".into()))?;
        let (client, image) = (self.client.clone(), self.image.clone());
        self.run(&what, async move { client.push_manifest_raw(&image, manifest, kind).await }).await
    }

    /// In a task of its own: what a registry answers can make the library panic (a relative `Location`).
    async fn run(
        &self,
        what: &str,
        work: impl Future<Output = Result<String, OciDistributionError>> + Send + 'static,
    ) -> Result<(), RegistryError> {
        let task = AbortOnDrop(tokio::spawn(work));
        let mut task = task;
        match (&mut task.0).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.error(what, &error)),
            Err(_) => Err(self.refused(what, "something that is not of the distribution specification".into())),
        }
    }

    fn error(&self, what: &str, error: &OciDistributionError) -> RegistryError {
        let host = self.host.clone();
        match error {
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                RegistryError::Denied { host, cause: "it does not take pushes with the credentials for it".to_owned() }
            }
            OciDistributionError::ServerError { code, message, .. } => {
                let status = StatusCode::from_u16(*code).map_or_else(|_| code.to_string(), |status| status.to_string());
                let cause = clean(&format!("{status}: {message}"));
                match code {
                    401 | 403 => {
                        RegistryError::Denied { host, cause: format!("{cause}; check the credentials for it") }
                    }
                    500.. => RegistryError::Unreachable { host, cause },
                    _ => self.refused(what, cause),
                }
            }
            OciDistributionError::RequestError(error) if error.is_connect() || error.is_timeout() => {
                RegistryError::Unreachable { host, cause: clean(&error.to_string()) }
            }
            other => self.refused(what, clean(&other.to_string())),
        }
    }

    fn refused(&self, what: &str, cause: String) -> RegistryError {
        RegistryError::Answer { host: self.host.clone(), what: what.to_owned(), cause }
    }
}

/// A push that nobody waits for any more ends.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
