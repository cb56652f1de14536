//! Asks a running gateway on its admin socket.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::UnixStream;

use super::{ConfigFile, Exit, Failure};

/// Which gateway is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct Client {
    #[command(flatten)]
    config: ConfigFile,
    /// The admin socket; without it the one that the configuration names.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 256 << 20;

impl Client {
    /// The gateway of a configuration, or that of a socket.
    pub(crate) const fn new(config: ConfigFile, socket: Option<PathBuf>) -> Self {
        Self { config, socket }
    }

    /// Reads from a route; `query` is written into the address.
    pub(crate) fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Json, Failure> {
        self.send("GET", &address(path, query), String::new())
    }

    /// Changes something.
    pub(crate) fn change(&self, method: &'static str, path: &[&str], body: Option<&Json>) -> Result<Json, Failure> {
        self.send(method, &address(path, &[]), body.map(ToString::to_string).unwrap_or_default())
    }

    /// Sends a file.
    pub(crate) fn upload(&self, path: &[&str], query: &[(&str, String)], file: String) -> Result<Json, Failure> {
        self.send("POST", &address(path, query), file)
    }

    fn send(&self, method: &'static str, address: &str, body: String) -> Result<Json, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => self.config.load()?.admin.socket,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        let late = |_| unavailable(&socket, "it does not answer");
        let exchange = exchange(&socket, method, address, body);
        // The timer needs the runtime, so it is made inside of it.
        let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, exchange).await });
        let (status, answer) = answer.map_err(late)??;
        let answer: Json = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() { Ok(answer) } else { Err(refused(status, &answer)) }
    }
}

async fn exchange(
    socket: &std::path::Path,
    method: &str,
    address: &str,
    body: String,
) -> Result<(hyper::StatusCode, Bytes), Failure> {
    let broken = |error: hyper::Error| unavailable(socket, &error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(|error| connect_failure(socket, &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(address)
        .header("host", "causeway")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| unavailable(socket, &error.to_string()))?.to_bytes();
    connection.abort();
    Ok((status, body))
}

fn connect_failure(socket: &std::path::Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | ConnectionRefused => unavailable(socket, "no gateway is running with this configuration"),
        PermissionDenied => {
            let remedy = "run as the gateway's user or as root, or see `admin.users` and `admin.socket_mode`";
            Failure::new(Exit::Denied, format!("{}: permission denied; {remedy}", socket.display()))
        }
        _ => unavailable(socket, &error.to_string()),
    }
}

fn unavailable(socket: &std::path::Path, why: &str) -> Failure {
    Failure::new(Exit::Unavailable, format!("{}: {why}", socket.display()))
}

fn refused(status: hyper::StatusCode, answer: &Json) -> Failure {
    let mut message = answer.get("error").and_then(Json::as_str).unwrap_or("the gateway refused").to_owned();
    for problem in answer.get("problems").and_then(Json::as_array).into_iter().flatten() {
        message.push_str(&format!("\n  {}", problem.as_str().unwrap_or_default()));
    }
    let exit = match status.as_u16() {
        401 | 403 => Exit::Denied,
        404 => Exit::No,
        400..=499 => Exit::Usage,
        // What it needs for that does not answer it.
        503 => Exit::Unavailable,
        _ => Exit::Internal,
    };
    Failure::new(exit, message)
}

/// Builds a path and query in which no part can be taken for more than a part.
fn address(path: &[&str], query: &[(&str, String)]) -> String {
    let mut address: String = path.iter().map(|part| format!("/{}", escaped(part))).collect();
    for (index, (name, value)) in query.iter().enumerate() {
        address.push(if index == 0 { '?' } else { '&' });
        address.push_str(&format!("{name}={}", escaped(value)));
    }
    address
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_part_of_the_address() {
        let query = [("where", "{\"a\":\"b&c\"}".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(
            address(&["v1", "devices", "a/../b ?ü"], &query),
            "/v1/devices/a%2F..%2Fb%20%3F%C3%BC?where=%7B%22a%22%3A%22b%26c%22%7D&limit=5"
        );
    }
}
