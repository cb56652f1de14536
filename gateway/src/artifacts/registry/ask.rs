//! One question to one registry: redirects by the rules of `guard.rs`, credentials to the registry's own host alone,
//! bodies no larger than was allowed. What is asked again is decided by `sources.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::challenge::{self, Challenge};
use super::credentials::Credential;
use super::error::{Again, Failure, RegistryError, status, transport};
use super::guard::{Allowed, Reach, host_and_port, rule, same_place};
use super::place::{Place, Places};
use super::session::Authorization;
use super::token;

const MOST_REDIRECTS: usize = 3;

/// How long a user name and password are used before they are read again.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// What a registry is asked.
pub(super) struct Asked<'a> {
    pub(super) place: &'a Arc<Place>,
    pub(super) method: Method,
    pub(super) url: Url,
    /// What a token has to be for, as token servers write it.
    pub(super) scope: &'a str,
    pub(super) accept: &'static str,
    /// The first byte that is wanted.
    pub(super) from: u64,
    /// What it is, for messages.
    pub(super) what: &'a str,
}

impl Places {
    /// Asks once, with credentials if the registry wants them; the answer is a success.
    pub(super) async fn ask(&self, asked: &Asked<'_>) -> Result<Response, Failure> {
        let Asked { place, scope, .. } = asked;
        let known = place.session.known(scope, Instant::now());
        let (mut response, mut elsewhere) = self.follow(asked, known.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && !elsewhere {
            place.session.forget(scope);
            let authorization = self.authorize(place, scope, challenge::of(response.headers())).await?;
            (response, elsewhere) = self.follow(asked, Some(&authorization)).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                place.session.forget(scope);
            }
        }
        let host = if elsewhere { host_and_port(response.url()) } else { place.host.clone() };
        if !response.status().is_success() {
            return Err(status(&host, asked.what, response).await);
        }
        let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        if encoding.is_some_and(|encoding| encoding != b"identity") {
            let cause = "a compressed answer, which was not asked for".to_owned();
            return Err(RegistryError::Answer { host, what: asked.what.to_owned(), cause }.into());
        }
        Ok(response)
    }

    /// Follows redirects; says also whether the answer is of another host than the registry's.
    async fn follow(&self, asked: &Asked<'_>, known: Option<&Authorization>) -> Result<(Response, bool), Failure> {
        let own = &asked.place.base;
        let (mut url, mut reach, mut elsewhere) = (asked.url.clone(), Reach::Any, false);
        for _ in 0..=MOST_REDIRECTS {
            let at = self.listed_at(&url).unwrap_or(asked.place);
            let host = if elsewhere { host_and_port(&url) } else { asked.place.host.clone() };
            let client = at.clients.get(&host, reach).await?;
            let mut request = client.request(asked.method.clone(), url.clone()).header(ACCEPT, asked.accept);
            if asked.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", asked.from));
            }
            // Once it has been elsewhere, nothing that comes back is given credentials.
            let header = known.filter(|_| !elsewhere && same_place(&url, own)).and_then(Authorization::header);
            if let Some(header) = header {
                request = request.header(AUTHORIZATION, header);
            }
            let response = request.send().await.map_err(|error| led(asked.place, transport(&host, error)))?;
            if !response.status().is_redirection() {
                return Ok((response, elsewhere));
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.ok_or_else(|| RegistryError::Answer {
                host: host.clone(),
                what: asked.what.to_owned(),
                cause: "a redirect to nowhere".to_owned(),
            })?;
            (url, reach) = self.rule(&url, target, own, &asked.place.redirects, "redirects", &host)?;
            elsewhere |= !same_place(&url, own);
        }
        let host = asked.place.host.clone();
        let cause = format!("after {MOST_REDIRECTS} redirects, and no more are followed");
        Err(RegistryError::Elsewhere { host, to: "yet another place".to_owned(), cause }.into())
    }

    /// Does what a challenge wants.
    pub(super) async fn authorize(
        &self,
        place: &Arc<Place>,
        scope: &str,
        challenge: Option<Challenge>,
    ) -> Result<Authorization, Failure> {
        let host = &place.host;
        let credential = place.credentials.read(host).await?;
        let (authorization, lifetime) = match (challenge, credential) {
            (Some(_), Credential::Token(token)) => (Authorization::Bearer(token), READ_AGAIN),
            (Some(Challenge::Basic), Credential::Password { user, password }) => {
                (Authorization::Basic { user, password }, READ_AGAIN)
            }
            (Some(Challenge::Basic), _) => return Err(nobody(host).into()),
            (Some(Challenge::Bearer { realm, service }), credential) => {
                let hosts = &place.token_hosts;
                let (realm, _) = self.rule(&place.base, &realm, &place.base, hosts, "token_hosts", host)?;
                let at = self.listed_at(&realm).unwrap_or(place);
                let client = at.clients.get(&host_and_port(&realm), Reach::Any).await?;
                token::fetch(client, realm, service.as_deref(), scope, &credential).await?
            }
            (None, _) => {
                let cause = "it asks for credentials of a kind that is not known here".to_owned();
                return Err(RegistryError::Denied { host: host.clone(), cause }.into());
            }
        };
        place.session.keep(scope, authorization.clone(), lifetime, Instant::now());
        Ok(authorization)
    }

    fn rule(
        &self,
        from: &Url,
        to: &str,
        own: &Url,
        hosts: &[String],
        key: &'static str,
        host: &str,
    ) -> Result<(Url, Reach), RegistryError> {
        let plain = |url: &Url| self.listed_at(url).is_some();
        let allowed = Allowed { own, hosts, key, plain: &plain };
        rule(from, to, &allowed).map_err(|(to, cause)| RegistryError::Elsewhere { host: host.to_owned(), to, cause })
    }
}

/// Where it leads, the registry answers for.
fn led(by: &Place, mut failure: Failure) -> Failure {
    if let RegistryError::Elsewhere { host, .. } = &mut failure.error {
        host.clone_from(&by.host);
    }
    failure
}

/// The registry wants to know who we are, and we are nobody.
pub(super) fn nobody(host: &str) -> RegistryError {
    let cause = "it wants credentials and there are none for it; add `username` and `password_file` under `registries`";
    RegistryError::Denied { host: host.to_owned(), cause: cause.to_owned() }
}

/// The body of an answer, if it has no more than `most` bytes.
///
/// `key` is the one of the configuration that says how many, if there is one.
pub(super) async fn body(
    mut response: Response,
    host: &str,
    what: &str,
    most: u64,
    key: Option<&str>,
) -> Result<Bytes, Failure> {
    let too_large = || RegistryError::Size {
        host: host.to_owned(),
        what: what.to_owned(),
        cause: format!("of more than {most} bytes{}", key.map(|key| format!(" (`{key}`)")).unwrap_or_default()),
    };
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_large().into());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cut(host, error))? {
        if body.len() as u64 + chunk.len() as u64 > most {
            return Err(too_large().into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A body ended before its end.
pub(super) fn cut(host: &str, error: reqwest::Error) -> Failure {
    let mut failure = transport(host, error);
    failure.again = Again::Soon;
    failure
}
