//! The token flow of the distribution specification: a token server gives a token for what is wanted and for a time.
//!
//! The registry names the token server; whether it is asked, `guard.rs` has decided before. Redirects are not followed:
//! the request carries credentials.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::ask::body;
use super::credentials::Credential;
use super::error::{Failure, RegistryError, status, transport};
use super::guard::host_and_port;
use super::secret::Secret;
use super::session::Authorization;

/// Largest answer of a token server.
const MOST: u64 = 256 * 1024;

/// What the specification says of a token without a lifetime.
const LIFETIME: Duration = Duration::from_secs(60);

/// A token is not used in its last seconds, so that it does not end on the way.
const MARGIN: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(3600);

/// The name by which token servers know this program.
const CLIENT: &str = "causeway";

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Asks the token server `realm` for a token for `scope`; returns it with its lifetime.
pub(super) async fn fetch(
    client: &Client,
    realm: Url,
    service: Option<&str>,
    scope: &str,
    credential: &Credential,
) -> Result<(Authorization, Duration), Failure> {
    let host = host_and_port(&realm);
    let request = request(client, realm, service, scope, credential).ok_or_else(|| RegistryError::Denied {
        host: host.clone(),
        cause: "the user name or password has characters that no request may have".to_owned(),
    })?;
    let response = request.send().await.map_err(|error| transport(&host, error))?;
    if response.status().is_redirection() {
        let cause = "from its token server, which is never followed with credentials".to_owned();
        return Err(RegistryError::Elsewhere { host, to: "another place".to_owned(), cause }.into());
    }
    if response.status() == StatusCode::UNAUTHORIZED && *credential == Credential::Anonymous {
        return Err(super::ask::nobody(&host).into());
    }
    if !response.status().is_success() {
        return Err(status(&host, "a token", response).await);
    }
    let answer = body(response, &host, "a token", MOST, None).await?;
    let not_understood =
        |cause: &str| RegistryError::Answer { host: host.clone(), what: "a token".to_owned(), cause: cause.to_owned() };
    let given: Given = serde_json::from_slice(&answer).map_err(|_| not_understood("something that is no token"))?;
    let filled = |token: Option<String>| token.filter(|token| !token.is_empty());
    let token = filled(given.token).or_else(|| filled(given.access_token)).ok_or_else(|| not_understood("no token"))?;
    let authorization = Authorization::Bearer(Secret(token));
    if authorization.header().is_none() {
        return Err(not_understood("a token that no request may carry").into());
    }
    let lifetime = given.expires_in.map_or(LIFETIME, Duration::from_secs).min(LONGEST);
    Ok((authorization, lifetime.saturating_sub(MARGIN)))
}

/// `None`: the credentials cannot be in a request.
fn request(
    client: &Client,
    mut realm: Url,
    service: Option<&str>,
    scope: &str,
    credential: &Credential,
) -> Option<RequestBuilder> {
    if let Credential::Identity(refresh) = credential {
        // OAuth 2.0: the form is written as a query of the same address would be.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT)
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", scope)
            .append_pair("refresh_token", &refresh.0);
        let form = form.query().unwrap_or_default().to_owned();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        return Some(client.post(realm).header(CONTENT_TYPE, kind).body(form));
    }
    if let Some(service) = service {
        realm.query_pairs_mut().append_pair("service", service);
    }
    realm.query_pairs_mut().append_pair("scope", scope);
    let Credential::Password { user, password } = credential else { return Some(client.get(realm)) };
    realm.query_pairs_mut().append_pair("account", user);
    let basic = Authorization::Basic { user: user.clone(), password: password.clone() };
    Some(client.get(realm).header(AUTHORIZATION, basic.header()?))
}
