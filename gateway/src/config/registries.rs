//! `registries:` what has to be known of a registry beyond its name.

use std::path::PathBuf;

use super::check::{below, item, twice, written};
use super::section::section;
use super::setting::Notes;
use crate::artifacts::reference::is_host;

section! {
    /// What has to be known of a registry beyond its name. One that is not listed is asked over HTTPS, by the certificate authorities of the system and with the credentials that `docker login` left.
    RegistryConfig {
        /// The host as references name it, with its port if they do.
        host: String = String::new() => restart, required "registry.example.com:5000";
        /// The certificate authorities of the registry, PEM, in place of those of the system.
        ca: Option<PathBuf> = None => restart;
        /// No TLS. Whoever is on the way sees and changes everything; a signature still decides what runs.
        plain_http: bool = false => restart;
        /// The user name, together with `password_file`.
        username: Option<String> = None => restart;
        /// A file with the password and nothing else.
        password_file: Option<PathBuf> = None => restart;
        /// A file with a bearer token and nothing else.
        token_file: Option<PathBuf> = None => restart;
        /// Without credentials of its own: whether to take those of `~/.docker/config.json` and its helpers.
        docker_config: bool = true => restart;
        /// Asked first and in this order, `host[:port]` or `host[:port]/prefix`. They are listed themselves if they need a CA or credentials. Signatures still have to name this registry.
        mirrors: Vec<String> = Vec::new() => restart;
        /// Further hosts, `host[:port]`, that it may redirect to; they never get its credentials. `*.domain` stands for all hosts below a domain that have public addresses.
        redirects: Vec<String> = Vec::new() => restart;
        /// Further hosts, `host[:port]`, that may be asked for a token with its credentials.
        token_hosts: Vec<String> = Vec::new() => restart;
    }
}

/// Whether a text is what a key asks for.
type Rule = fn(&str) -> bool;

pub(super) fn check(registries: &[RegistryConfig], notes: &mut Notes) {
    const HOST: &str = "write a host name or address, and its port if it has one: `registry.example.com:5000`";
    for (index, registry) in registries.iter().enumerate() {
        let at = item("registries", index);
        if written(&registry.host).is_some_and(|host| !is_host(host) || host.to_ascii_lowercase() != host) {
            notes.at(below(&at, "host"), format!("`{}` is no host in lower case", registry.host), HOST);
        }
        let hosts: [(_, _, Rule); 3] = [
            ("mirrors", &registry.mirrors, is_mirror),
            ("redirects", &registry.redirects, |host| is_host(host.strip_prefix("*.").unwrap_or(host))),
            ("token_hosts", &registry.token_hosts, is_host),
        ];
        for (key, hosts, is_place) in hosts {
            for wrong in hosts.iter().filter(|host| !is_place(host)) {
                notes.at(below(&at, key), format!("`{wrong}` is no host"), HOST);
            }
        }
        match (&registry.username, &registry.password_file, &registry.token_file) {
            (Some(_), Some(_), None) | (None, None, _) => {}
            (_, _, Some(_)) => {
                notes.at(below(&at, "token_file"), "stands beside a user name or a password", "keep one of them");
            }
            (Some(_), None, None) => {
                notes.at(below(&at, "username"), "has no password", "add `password_file`");
            }
            (None, Some(_), None) => {
                notes.at(below(&at, "password_file"), "has no user name", "add `username`");
            }
        }
        if registry.plain_http && registry.ca.is_some() {
            notes.at(below(&at, "ca"), "stands beside `plain_http`", "keep one of them");
        }
    }
    twice("registries", "host", registries.iter().map(|registry| written(&registry.host)), notes);
}

/// A host, and what stands before its repositories.
fn is_mirror(text: &str) -> bool {
    match text.split_once('/') {
        Some((host, prefix)) => is_host(host) && !prefix.is_empty() && !prefix.contains(".."),
        None => is_host(text),
    }
}
