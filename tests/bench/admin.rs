//! An operator who asks the gateway over its socket, without a program of their own to start for each question.

use causeway_tests::Gateway;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// One request; the answer must be a good one.
pub(crate) fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = exchange(gateway, method, path, body);
    assert!(status.starts_with('2'), "{method} {path}: {status} {answer}");
    answer
}

/// Has a binding run another plugin: a file in the folder of the gateway.
pub(crate) fn set_plugin(gateway: &Gateway, binding: &str, plugin: &str) {
    let reference = gateway.setup().path(plugin);
    ask(gateway, "POST", &format!("/v1/bindings/{binding}/plugin"), &json!({ "reference": reference }));
}

/// One request and its status and answer.
pub(crate) fn exchange(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (String, Value) {
    let mut stream = UnixStream::connect(gateway.setup().path("admin.sock")).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: causeway\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, serde_json::from_str(body).unwrap_or_default())
}
