//! Why a registry did not serve or take something, by what the caller may do about it.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use thiserror::Error;

use super::client::NotPublic;
use crate::artifacts::digest::Digest;
use crate::artifacts::{Because, FetchError};

/// A registry did not serve or take something; one line with the reason and what to do.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Nobody answers there, or not in time, or not by the rules of HTTP and TLS: asking again later may help.
    #[error("{host} cannot be reached: {cause}")]
    Unreachable {
        /// The registry, mirror or token server.
        host: String,
        /// What went wrong, and a remedy if there is one.
        cause: String,
    },
    /// It answers, and wants other credentials.
    #[error("{host} does not let us in: {cause}")]
    Denied {
        /// The registry or token server.
        host: String,
        /// What it said, or what is wrong with the credentials.
        cause: String,
    },
    /// It answers, and has no such thing.
    #[error("{host} has no {what}")]
    NotFound {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
    },
    /// It leads to a place that the configuration does not allow.
    #[error("{host} leads to {to}, {cause}")]
    Elsewhere {
        /// The registry.
        host: String,
        /// Where it leads.
        to: String,
        /// The rule, and the line to add if that is meant.
        cause: String,
    },
    /// It sends more or less than it should.
    #[error("{host} sends {what} {cause}")]
    Size {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// What it sends, and what was expected.
        cause: String,
    },
    /// What it sent is not what was asked for.
    #[error("{host} sent other bytes for {what}: they hash to {got}")]
    Digest {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// The digest of what came.
        got: Digest,
    },
    /// Its answer is not one of the distribution specification.
    #[error("{host} answered for {what} with {cause}")]
    Answer {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// The answer.
        cause: String,
    },
    /// What it sent cannot be written.
    #[error("what was fetched cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl RegistryError {
    /// The same, as the reason why `reference` was not fetched; `path` is where it was to be written.
    #[must_use]
    pub fn about(self, reference: &impl std::fmt::Display, path: &Path) -> FetchError {
        let because = match self {
            Self::Unreachable { .. } | Self::Denied { .. } => return FetchError::unreachable(reference, self),
            Self::NotFound { .. } => return FetchError::not_found(reference, self),
            Self::Disk(source) => return FetchError::disk(path, source),
            Self::Elsewhere { .. } => Because::Redirect,
            Self::Size { .. } => Because::Size,
            Self::Digest { .. } => Because::Digest,
            Self::Answer { .. } => Because::Manifest,
        };
        FetchError::refused(reference, because, self)
    }
}

/// Why one request failed, and whether the same request may do better.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: RegistryError,
    pub(super) again: Again,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Again {
    /// It would end the same way.
    Never,
    /// Soon.
    Soon,
    /// Not before this time has passed; the peer said so.
    After(Duration),
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self { error, again: Again::Never }
    }
}

/// What went wrong on the way to `host`.
pub(super) fn transport(host: &str, error: reqwest::Error) -> Failure {
    let host = host.to_owned();
    let (timeout, connecting) = (error.is_timeout(), error.is_connect());
    let root = root(error);
    if let Some(refused) = root.downcast_ref::<NotPublic>() {
        let cause = format!("{refused}; name that host itself under `redirects` if that is meant");
        return RegistryError::Elsewhere { host, to: refused.0.clone(), cause }.into();
    }
    if let Some(tls) = root.downcast_ref::<rustls::Error>() {
        return RegistryError::Unreachable { host, cause: tls_cause(tls) }.into();
    }
    let cause = match (timeout, clean(&root.to_string())) {
        (true, _) if connecting => "no connection in time (`artifacts.connect_timeout`)".to_owned(),
        (true, _) => "no answer in time (`artifacts.idle_timeout`)".to_owned(),
        (false, said) if said.contains("invalid HTTP version") => {
            "what it answers is not HTTP; if it speaks TLS, remove its `plain_http` under `registries`".to_owned()
        }
        (false, said) => said,
    };
    Failure { error: RegistryError::Unreachable { host, cause }, again: Again::Soon }
}

fn tls_cause(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};
    match error {
        // A bad signature: another authority of the same name has signed it.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "nobody that is trusted has signed its certificate; name its authority's file as `ca` under `registries`"
                .into()
        }
        Error::InvalidCertificate(other) => format!("its certificate is refused: {}", clean(&other.to_string())),
        Error::InvalidMessage(_) => {
            "it does not speak TLS; if that is meant, set `plain_http: true` for it under `registries`".into()
        }
        other => clean(&other.to_string()),
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The cause of all causes. An `io::Error` hides the error that it carries from `source`, and so it is opened here.
fn root(error: reqwest::Error) -> Source {
    let error = error.without_url();
    let mut at: &(dyn std::error::Error + 'static) = &error;
    loop {
        let carried = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let next = carried.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| at.source());
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    if let Some(tls) = at.downcast_ref::<rustls::Error>() {
        return Box::new(tls.clone());
    }
    if let Some(refused) = at.downcast_ref::<NotPublic>() {
        return Box::new(refused.clone());
    }
    let text = at.to_string();
    text.into()
}

/// What an answer that is no success means for a request for `what`.
pub(super) async fn status(host: &str, what: &str, response: Response) -> Failure {
    let status = response.status();
    let host = host.to_owned();
    let what = what.to_owned();
    let wait = retry_after(&response);
    let said = said(response).await;
    let cause = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    match status {
        StatusCode::NOT_FOUND => RegistryError::NotFound { host, what }.into(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            RegistryError::Denied { host, cause: format!("{cause}; check the credentials for it") }.into()
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Failure { error: RegistryError::Unreachable { host, cause }, again: wait }
        }
        other if other.is_server_error() => Failure { error: RegistryError::Unreachable { host, cause }, again: wait },
        _ => RegistryError::Answer { host, what, cause }.into(),
    }
}

/// How long the peer wants to be left alone; a date is not understood and means soon.
fn retry_after(response: &Response) -> Again {
    let said = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = said.and_then(|text| text.trim().parse::<u64>().ok());
    seconds.map_or(Again::Soon, |seconds| Again::After(Duration::from_secs(seconds)))
}

#[derive(serde::Deserialize)]
struct Errors {
    errors: Vec<Said>,
}

#[derive(serde::Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The first error in the body, as the distribution specification writes them, or the beginning of another body.
async fn said(mut response: Response) -> String {
    const MOST: usize = 4096;
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MOST {
            body.truncate(MOST);
            break;
        }
    }
    match serde_json::from_slice::<Errors>(&body).ok().and_then(|errors| errors.errors.into_iter().next()) {
        Some(said) => clean(&format!("{} {}", said.code, said.message)),
        None => clean(&String::from_utf8_lossy(&body)),
    }
}

/// A text of a peer, fit for one line.
pub(super) fn clean(text: &str) -> String {
    const LONGEST: usize = 200;
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words = plain.take(LONGEST).collect::<String>();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
