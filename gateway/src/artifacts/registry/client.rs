//! The HTTP clients of one registry: whom they believe, how long they wait, and which addresses they may reach.
//!
//! A client follows no redirect, retries nothing, decodes nothing and takes no proxy from the environment: what is
//! asked of whom is decided here and in `ask.rs` alone.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use thiserror::Error;

use super::error::{RegistryError, clean};
use super::guard::{Reach, is_public};
use super::secret;

/// What all clients have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For a connection: name, TCP and TLS.
    pub(super) connect: Duration,
    /// For which a peer may send nothing.
    pub(super) idle: Duration,
}

/// The clients of one registry, made when they are first used: reading the system's authorities takes its time.
pub(super) struct Clients {
    trust: Trust,
    timeouts: Timeouts,
    any: OnceLock<Client>,
    public: OnceLock<Client>,
}

/// Who may sign the certificate of a registry.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// The authorities of the system.
    System,
    /// The authorities in this file, and no other.
    File(PathBuf),
    /// There is no TLS.
    Plain,
}

impl Clients {
    pub(super) const fn new(trust: Trust, timeouts: Timeouts) -> Self {
        Self { trust, timeouts, any: OnceLock::new(), public: OnceLock::new() }
    }

    /// The authorities that `host` is believed by; `None`: those of the system.
    pub(super) async fn authorities(&self, host: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let Trust::File(path) = &self.trust else { return Ok(None) };
        let unreadable = |error: &dyn Error| RegistryError::Unreachable {
            host: host.to_owned(),
            cause: format!("its `ca` {} cannot be read: {}", path.display(), clean(&error.to_string())),
        };
        secret::read(path).await.map(|text| Some(text.into_bytes())).map_err(|error| unreadable(&error))
    }

    /// The client for `host`, as far as it may reach.
    pub(super) async fn get(&self, host: &str, reach: Reach) -> Result<&Client, RegistryError> {
        let kept = match reach {
            Reach::Any => &self.any,
            Reach::Public => &self.public,
        };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let client = self.build(host, reach).await?;
        Ok(kept.get_or_init(|| client))
    }

    async fn build(&self, host: &str, reach: Reach) -> Result<Client, RegistryError> {
        install_provider();
        let mut builder = Client::builder()
            .user_agent(super::USER_AGENT)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.idle);
        let unusable = |cause: String| RegistryError::Unreachable { host: host.to_owned(), cause };
        if let Some(authorities) = self.authorities(host).await? {
            let certificates = Certificate::from_pem_bundle(&authorities).unwrap_or_default();
            if certificates.is_empty() {
                return Err(unusable("its `ca` has no certificates; write a PEM file of one or more".into()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if matches!(self.trust, Trust::Plain) {
            builder = builder.tls_certs_only([]);
        }
        if reach == Reach::Public {
            builder = builder.dns_resolver(PublicOnly);
        }
        builder.build().map_err(|error| {
            let remedy = match &self.trust {
                Trust::System => {
                    "; install the system's certificate authorities, or name `ca` for it under `registries`"
                }
                Trust::File(_) | Trust::Plain => "",
            };
            unusable(format!("no client can be made for it: {}{remedy}", clean(&chain(&error))))
        })
    }
}

/// `ring` is the one provider; a second call in the same process changes nothing.
pub(super) fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The cause of all causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}

/// A name has no address that everyone may reach.
#[derive(Clone, Debug, Error)]
#[error("whose addresses are all of a private network")]
pub(super) struct NotPublic(pub(super) String);

/// Resolves names as the system does, and drops what is not public: what is checked is what is connected to.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic(name).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::transport;
    use super::*;

    #[tokio::test]
    async fn what_a_whole_domain_allows_is_not_connected_to_in_a_private_network() {
        let timeouts = Timeouts { connect: Duration::from_secs(20), idle: Duration::from_secs(20) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let clients = Clients::new(Trust::Plain, timeouts);
        let client = clients.get("localhost", Reach::Public).await.unwrap();
        let failure = transport("localhost", client.get(url).send().await.unwrap_err());
        let RegistryError::Elsewhere { to, cause, .. } = failure.error else { panic!("{failure:?}") };
        assert_eq!(to, "localhost");
        assert!(cause.starts_with("whose addresses are all of a private network"), "{cause}");
        assert!(tokio::time::timeout(Duration::ZERO, listener.accept()).await.is_err());
    }
}
