//! What a route is, what it is asked and what it answers.
//!
//! A route is one value of [`Route`]: without its action and area it does not compile, and nothing is
//! served that is not such a value.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::str::FromStr;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::Context;
use super::caller::Caller;
use crate::policy::{Action, Area};

/// One entry of the route table.
pub(super) struct Route {
    pub(super) method: Method,
    /// With its parameters in braces: `/v1/devices/{id}`.
    pub(super) path: &'static str,
    /// What the caller must be permitted.
    pub(super) action: Action,
    /// On which part of the gateway.
    pub(super) area: Area,
    pub(super) summary: &'static str,
    /// Query parameters, each with what it means; others are refused.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// What to send; none if there is no body.
    pub(super) body: Option<&'static str>,
    pub(super) handler: fn(Context, Call) -> Answering,
}

/// A handler's work.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Json, Refused>> + Send>>;

impl Route {
    /// Whether the route changes anything and therefore belongs in the audit log.
    pub(super) fn changes(&self) -> bool {
        self.action != Action::View
    }

    /// The names of the parameters in the path.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// The methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A request that was permitted.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) path: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl Call {
    /// A parameter of the path; empty only if the table does not have it.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A query parameter.
    pub(super) fn asked<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refused> {
        let parse = |text: &String| {
            text.parse().map_err(|_| Refused::invalid(format!("`{text}` is not a value for the parameter `{name}`")))
        };
        self.query.get(name).map(parse).transpose()
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(&self.body).map_err(|error| Refused::invalid(format!("the body: {error}")))
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// More for the caller, beside the message.
    pub(super) detail: Json,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: Json::Null }
    }

    /// The caller has to change the request.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What the path names does not exist.
    pub(super) fn unknown(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// The gateway's own fault; the operator finds more in its log.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "an admin request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    pub(super) fn with(mut self, detail: Json) -> Self {
        self.detail = detail;
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message });
        if let (Some(body), Json::Object(detail)) = (body.as_object_mut(), self.detail) {
            body.extend(detail);
        }
        (self.status, axum::Json(body)).into_response()
    }
}
