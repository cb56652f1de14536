//! Where an image may be had: the mirrors of its registry in their order, then the registry; and how often each is
//! asked. What a mirror serves is checked as the registry's own would be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, Url};
use ring::rand::{SecureRandom, SystemRandom};
use tracing::warn;

use super::Registries;
use super::ask::Asked;
use super::error::{Failure, RegistryError};
use super::place::Place;
use super::retry::pause;
use crate::artifacts::reference::ImageReference;

/// A registry or mirror, and the image's repository there.
pub(super) struct Source {
    pub(super) place: Arc<Place>,
    repository: String,
    scope: String,
    /// The registry that it is a mirror of.
    mirror_of: Option<String>,
}

impl Source {
    pub(super) fn origin(place: Arc<Place>, image: &ImageReference) -> Self {
        Self::new(place, image.repository.clone(), None)
    }

    fn new(place: Arc<Place>, repository: String, mirror_of: Option<String>) -> Self {
        let scope = format!("repository:{repository}:pull");
        Self { place, repository, scope, mirror_of }
    }

    /// A question for `kind/name` of the repository.
    pub(super) fn asked<'a>(&'a self, method: Method, kind: &str, name: &str, what: &'a str) -> Asked<'a> {
        Asked {
            place: &self.place,
            method,
            url: self.url(kind, name),
            scope: &self.scope,
            accept: "*/*",
            from: 0,
            what,
        }
    }

    fn url(&self, kind: &str, name: &str) -> Url {
        let mut url = self.place.url(&format!("{}/{kind}/{name}", self.repository));
        if let Some(origin) = &self.mirror_of {
            // A mirror of several registries knows by this which one is meant.
            url.query_pairs_mut().append_pair("ns", origin);
        }
        url
    }
}

impl Registries {
    /// Asks each source of `image` until one serves. The error is the registry's own.
    pub(super) async fn each_source<T>(
        &self,
        image: &ImageReference,
        mut ask: impl AsyncFnMut(&Source) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let deadline = Instant::now() + self.0.timeout;
        let origin = self.0.places.get(&image.registry)?;
        let mut left = u32::try_from(origin.mirrors.len()).unwrap_or(u32::MAX).saturating_add(1);
        for mirror in &origin.mirrors {
            let name = mirror.repository(&image.repository);
            // A mirror that never ends must leave the others their time.
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            left -= 1;
            let place = self.0.places.get(&mirror.host)?;
            let source = Source::new(place, name, Some(image.registry.clone()));
            match within(share, &mirror.host, ask(&source)).await {
                Ok(served) => return Ok(served),
                Err(RegistryError::Disk(error)) => return Err(RegistryError::Disk(error)),
                Err(error) => {
                    warn!(registry = image.registry, mirror = mirror.host, reason = %error, "a mirror does not serve")
                }
            }
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        let source = Source::origin(origin, image);
        within(rest, &image.registry, ask(&source)).await
    }

    /// Does `attempt` until it succeeds, or fails in a way that another attempt would not change, or fails too often.
    pub(super) async fn retrying<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut failed = 0;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    failed += 1;
                    self.wait(failed, failure).await?;
                }
            }
        }
    }

    /// Waits before the attempt after `failed` attempts; gives the error back if there is none.
    pub(super) async fn wait(&self, failed: u32, failure: Failure) -> Result<(), RegistryError> {
        let pause = pause(failed, failure.again, random()).filter(|_| failed <= self.0.retries);
        let Some(pause) = pause else { return Err(failure.error) };
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Gives up after `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    host: &str,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => {
            let cause = format!("not done within {limit:.1?}; `artifacts.timeout` is the limit");
            Err(RegistryError::Unreachable { host: host.to_owned(), cause })
        }
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness all wait for the shortest pause, which is no fault.
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
