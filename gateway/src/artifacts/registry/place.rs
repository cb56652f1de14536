//! The registries that are spoken to, each with what the configuration says of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;

use super::client::{Clients, Timeouts, Trust};
use super::credentials::Source;
use super::error::RegistryError;
use super::guard::same_place;
use super::session::Session;
use crate::config::RegistryConfig;

/// A registry or mirror.
pub(super) struct Place {
    /// `host[:port]`, as references name it.
    pub(super) host: String,
    pub(super) base: Url,
    pub(super) clients: Clients,
    pub(super) credentials: Source,
    pub(super) session: Session,
    /// Asked first, in this order.
    pub(super) mirrors: Vec<Mirror>,
    pub(super) redirects: Vec<String>,
    pub(super) token_hosts: Vec<String>,
}

/// Where copies of a registry's repositories are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mirror {
    pub(super) host: String,
    /// What stands before the name of a repository there.
    pub(super) prefix: Option<String>,
}

/// All registries: the listed ones, and those that a reference named meanwhile.
pub(super) struct Places {
    listed: BTreeMap<String, Arc<Place>>,
    others: Mutex<BTreeMap<String, Arc<Place>>>,
    timeouts: Timeouts,
}

impl Places {
    pub(super) fn new(registries: &[RegistryConfig], timeouts: Timeouts) -> Self {
        let place = |config: &RegistryConfig| Some((config.host.clone(), Arc::new(Place::new(config, timeouts)?)));
        Self { listed: registries.iter().filter_map(place).collect(), others: Mutex::default(), timeouts }
    }

    /// The registry `host`; one that is not listed is asked with what is the default of the configuration.
    pub(super) fn get(&self, host: &str) -> Result<Arc<Place>, RegistryError> {
        /// More than a gateway has plugins from; beyond it their connections and tokens are forgotten.
        const MOST_OTHERS: usize = 64;
        if let Some(place) = self.listed.get(host) {
            return Ok(place.clone());
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = others.get(host) {
            return Ok(place.clone());
        }
        let config = RegistryConfig { host: host.to_owned(), ..RegistryConfig::default() };
        let place = Place::new(&config, self.timeouts).ok_or_else(|| RegistryError::Unreachable {
            host: host.to_owned(),
            cause: "that is no host; write `host` or `host:port`".to_owned(),
        })?;
        if others.len() >= MOST_OTHERS {
            others.clear();
        }
        Ok(others.entry(host.to_owned()).or_insert_with(|| Arc::new(place)).clone())
    }

    /// The listed registry that an address is of.
    pub(super) fn listed_at(&self, url: &Url) -> Option<&Arc<Place>> {
        self.listed.values().find(|place| same_place(&place.base, url))
    }
}

impl Place {
    /// `None`: its host is none.
    fn new(config: &RegistryConfig, timeouts: Timeouts) -> Option<Self> {
        let scheme = if config.plain_http { "http" } else { "https" };
        let trust = match &config.ca {
            _ if config.plain_http => Trust::Plain,
            Some(file) => Trust::File(file.clone()),
            None => Trust::System,
        };
        let mirror = |text: &String| match text.split_once('/') {
            Some((host, prefix)) => Mirror { host: host.to_owned(), prefix: Some(prefix.trim_matches('/').to_owned()) },
            None => Mirror { host: text.clone(), prefix: None },
        };
        Some(Self {
            host: config.host.clone(),
            base: Url::parse(&format!("{scheme}://{}/", config.host)).ok()?,
            clients: Clients::new(trust, timeouts),
            credentials: Source::of(config, timeouts.idle),
            session: Session::default(),
            mirrors: config.mirrors.iter().map(mirror).collect(),
            redirects: config.redirects.clone(),
            token_hosts: config.token_hosts.clone(),
        })
    }

    /// The address of `path` below `/v2/`.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{path}"));
        url
    }
}

impl Mirror {
    /// The name there of the repository `name`.
    pub(super) fn repository(&self, name: &str) -> String {
        self.prefix.as_ref().map_or_else(|| name.to_owned(), |prefix| format!("{prefix}/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn places(registries: &[RegistryConfig]) -> Places {
        Places::new(registries, Timeouts { connect: Duration::from_secs(1), idle: Duration::from_secs(1) })
    }

    #[test]
    fn a_registry_is_asked_over_tls_unless_it_is_listed_otherwise() {
        let plain = RegistryConfig { host: "127.0.0.1:5000".into(), plain_http: true, ..RegistryConfig::default() };
        let places = places(&[plain]);
        let url = |host: &str| places.get(host).unwrap().url("team/plugin/manifests/1").to_string();
        assert_eq!(url("127.0.0.1:5000"), "http://127.0.0.1:5000/v2/team/plugin/manifests/1");
        assert_eq!(url("127.0.0.1:5001"), "https://127.0.0.1:5001/v2/team/plugin/manifests/1");
        assert_eq!(url("[::1]:5000"), "https://[::1]:5000/v2/team/plugin/manifests/1");
        assert!(places.get("no host").is_err());
        let at = |text: &str| places.listed_at(&text.parse().unwrap()).map(|place| place.host.clone());
        assert_eq!(at("http://127.0.0.1:5000/anything"), Some("127.0.0.1:5000".into()));
        assert_eq!(at("https://127.0.0.1:5000/anything"), None);
    }

    #[test]
    fn a_mirror_may_keep_its_copies_below_a_prefix() {
        let mirrors = vec!["near.example".to_owned(), "near.example:5000/copies/of".to_owned()];
        let origin = RegistryConfig { host: "far.example".into(), mirrors, ..RegistryConfig::default() };
        let place = places(&[origin]).get("far.example").unwrap();
        let [first, second] = &place.mirrors[..] else { panic!("{:?}", place.mirrors) };
        assert_eq!((first.host.as_str(), first.repository("a/b")), ("near.example", "a/b".into()));
        assert_eq!((second.host.as_str(), second.repository("a/b")), ("near.example:5000", "copies/of/a/b".into()));
    }

    #[test]
    fn registries_that_references_name_are_bounded() {
        let places = places(&[]);
        for index in 0..1000 {
            places.get(&format!("r{index}.example")).unwrap();
        }
        assert!(places.others.lock().unwrap().len() <= 64);
    }
}
