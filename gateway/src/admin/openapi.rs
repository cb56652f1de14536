//! The OpenAPI document, made from the route table.

use serde_json::{Map, Value as Json, json};

use super::route::Route;
use super::routes::ROUTES;

/// The document as it is served at `/openapi.json` and kept in `docs/reference/openapi.json`.
pub fn document() -> Json {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.word().to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Causeway admin API",
            "description": "Served on the Unix socket `admin.socket` and, when configured, on HTTPS.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{}, { "token": [] }, { "certificate": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
            "schemas": { "Error": {
                "type": "object",
                "required": ["error"],
                "properties": { "error": { "type": "string" } },
            } },
        },
    })
}

fn operation(route: &Route) -> Json {
    let in_path = route
        .parameters()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.query.iter().map(
        |(name, about)| json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } }),
    );
    let error = |description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        json!({ "description": description, "content": { "application/json": { "schema": schema } } })
    };
    let mut operation = json!({
        "summary": route.summary,
        "x-cedar-action": route.action.name(),
        "x-cedar-resource": route.area.name(),
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": {} } },
            "400": error("The request is not one that can be done."),
            "401": error("Nobody known sent the request."),
            "403": error("The policies do not permit it."),
            "404": error("There is no such thing."),
        },
    });
    if let (Some(about), Some(operation)) = (route.body, operation.as_object_mut()) {
        let body = json!({ "description": about, "required": true, "content": { "application/json": {} } });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}
