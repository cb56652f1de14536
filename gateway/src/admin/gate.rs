//! The one way from a request to a handler: who, may they, do it, write it down.

use std::collections::BTreeMap;

use axum::extract::rejection::{BytesRejection, QueryRejection, RawPathParamsRejection};
use axum::extract::{Extension, Query, RawPathParams};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use axum::{Json as Body, Router};
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::Context;
use super::caller::Access;
use super::metrics::Outcome;
use super::route::{Call, Method, Refused, Route};
use super::routes::ROUTES;
use crate::policy::{Request, Resource};
use crate::store::audit;

/// Makes the HTTP router of all routes.
pub(super) fn router(context: &Context) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, served(route, context.clone()));
    }
    let unknown = || async { Refused::unknown("there is no such route; GET /openapi.json lists them") };
    let wrong_method = || async { Refused::new(StatusCode::METHOD_NOT_ALLOWED, "the route has other methods") };
    router.fallback(unknown).method_not_allowed_fallback(wrong_method)
}

fn served(route: &'static Route, context: Context) -> MethodRouter {
    let handler = move |access: Extension<Access>,
                        headers: HeaderMap,
                        path: Result<RawPathParams, RawPathParamsRejection>,
                        query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
                        body: Result<Bytes, BytesRejection>| {
        let context = context.clone();
        async move {
            let caller = access.caller(&headers);
            let parts = parts(path, query, body);
            let answered = match caller {
                Ok(caller) => match parts {
                    Ok((path, query, body)) => answer(route, &context, Call { caller, path, query, body }).await,
                    Err(refused) => Err(refused),
                },
                Err(refused) => Err(refused),
            };
            respond(answered, &context)
        }
    };
    match route.method {
        Method::Get => routing::get(handler),
        Method::Post => routing::post(handler),
        Method::Put => routing::put(handler),
        Method::Delete => routing::delete(handler),
    }
}

type Parts = (BTreeMap<String, String>, BTreeMap<String, String>, Bytes);

fn parts(
    path: Result<RawPathParams, RawPathParamsRejection>,
    query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Parts, Refused> {
    let path = path.map_err(|refused| Refused::new(refused.status(), refused.body_text()))?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let Query(query) = query.map_err(|refused| Refused::new(refused.status(), refused.body_text()))?;
    let body = body.map_err(|refused| Refused::new(refused.status(), refused.body_text()))?;
    Ok((path, query, body))
}

/// Asks the policies, then does it. A change goes on to its entry in the audit log even if the caller goes away.
async fn answer(route: &'static Route, context: &Context, call: Call) -> Result<Json, Refused> {
    let principal = call.caller.principal();
    let request = Request { principal: &principal, action: route.action, resource: Resource::Area(route.area) };
    let decision = context.policies.decide(&request);
    if !decision.allowed {
        let reason = decision.reason.to_string();
        tracing::debug!(operator = call.caller.name, route = route.path, reason, "denied");
        if route.changes() {
            audit(route, context, &call, "denied", StatusCode::FORBIDDEN).await?;
        }
        let message = format!("{} may not {} {}: {reason}", call.caller.name, route.action.name(), route.area.name());
        return Err(Refused::new(StatusCode::FORBIDDEN, message));
    }
    if let Some(unknown) = call.query.keys().find(|key| !route.query.iter().any(|(known, _)| known == key)) {
        return Err(Refused::invalid(format!("`{unknown}` is not a parameter of {}", route.path)));
    }
    if !route.changes() {
        return (route.handler)(context.clone(), call).await;
    }
    let change = context.tasks.spawn(change(route, context.clone(), call));
    change.await.unwrap_or_else(|error| Err(Refused::internal(error)))
}

/// Does a change and writes down what came of it.
async fn change(route: &'static Route, context: Context, call: Call) -> Result<Json, Refused> {
    let asked = call.clone();
    let done = (route.handler)(context.clone(), call).await;
    let (outcome, status) = match &done {
        Ok(_) => ("done", StatusCode::OK),
        Err(refused) => ("failed", refused.status),
    };
    audit(route, &context, &asked, outcome, status).await?;
    done
}

/// What of a body is kept in the audit log; no route takes a secret in its body.
const MAX_AUDITED_BODY: usize = 2_048;

async fn audit(
    route: &Route,
    context: &Context,
    call: &Call,
    outcome: &'static str,
    status: StatusCode,
) -> Result<(), Refused> {
    let body = call.body.get(..MAX_AUDITED_BODY).unwrap_or(&call.body);
    let entry = audit::Entry {
        at_ms: context.clock.now_ms(),
        operator: call.caller.name.clone(),
        action: route.action.name().to_owned(),
        subject: subject(route, call),
        outcome: outcome.to_owned(),
        detail: json!({
            "route": format!("{} {}", route.method.word(), route.path),
            "query": call.query,
            "body": String::from_utf8_lossy(body),
            "body_bytes": call.body.len(),
            "via": call.caller.via,
            "status": status.as_u16(),
        })
        .to_string(),
    };
    let written = context.store.write_synced(move |tx| audit::append(tx, &entry)).await;
    written.map(|_| ()).map_err(|error| Refused::internal(format!("the audit log: {error}")))
}

/// What was to be changed: named by the path, or by the body, or else the whole area.
fn subject(route: &Route, call: &Call) -> String {
    if !call.path.is_empty() {
        return call.path.values().map(String::as_str).collect::<Vec<_>>().join(" ");
    }
    let body: Json = serde_json::from_slice(&call.body).unwrap_or_default();
    let named = ["id", "name"].into_iter().find_map(|key| body.get(key).and_then(Json::as_str));
    named.unwrap_or_else(|| route.area.name()).to_owned()
}

fn respond(answered: Result<Json, Refused>, context: &Context) -> Response {
    let outcome = match &answered {
        Ok(_) => Outcome::Done,
        Err(refused) => match refused.status {
            StatusCode::UNAUTHORIZED => Outcome::Unauthenticated,
            StatusCode::FORBIDDEN => Outcome::Denied,
            StatusCode::TOO_MANY_REQUESTS => Outcome::Limited,
            status if status.is_client_error() => Outcome::Invalid,
            _ => Outcome::Failed,
        },
    };
    context.metrics.count(outcome);
    answered.map_or_else(IntoResponse::into_response, |json| Body(json).into_response())
}
