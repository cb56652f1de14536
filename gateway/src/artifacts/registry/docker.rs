//! The credentials that `docker login`, `podman login` or `oras login` left, in `config.json` or with a helper program.
//!
//! Of the file only what is needed is read; a helper has a deadline and may print so much and no more.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credentials::Credential;
use super::error::clean;
use super::secret::{self, Secret};

/// What a helper prints in place of a user name when the secret is a refresh token.
const TOKEN_USER: &str = "<token>";
const MOST_OUTPUT: u64 = 64 * 1024;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Login>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// The credentials for the registry `host`; nobody's if there is no file or nothing for this host in it.
pub(super) async fn find(host: &str, helper_timeout: Duration) -> Result<Credential, String> {
    match path() {
        Some(path) if path.exists() => read(&path, host, helper_timeout).await,
        _ => Ok(Credential::Anonymous),
    }
}

fn path() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let own = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    Some(named.or_else(own)?.join("config.json"))
}

async fn read(path: &Path, host: &str, helper_timeout: Duration) -> Result<Credential, String> {
    let wrong = |why: String| {
        format!(
            "{} cannot be read: {}; mend it, or set `docker_config: false` under `registries`",
            path.display(),
            clean(&why)
        )
    };
    let text = secret::read(path).await.map_err(|error| wrong(error.to_string()))?;
    // serde's own message could show a part of the file.
    let file: File = serde_json::from_str(&text).map_err(|error| wrong(format!("no JSON at line {}", error.line())))?;
    let for_host = |name: &String| host_of(name) == host_of(host);
    if let Some((server, helper)) = file.cred_helpers.iter().find(|(name, _)| for_host(name)) {
        return ask(helper, server, helper_timeout).await;
    }
    let login = file.auths.iter().find(|(name, _)| for_host(name));
    if let Some(credential) = login.and_then(|(_, login)| login.credential()) {
        return Ok(credential);
    }
    match (file.creds_store, login) {
        // Docker keeps an empty entry for what its store has; the store knows it by that name.
        (Some(store), Some((server, _))) => ask(&store, server, helper_timeout).await,
        (Some(store), None) => ask(&store, host, helper_timeout).await,
        (None, _) => Ok(Credential::Anonymous),
    }
}

impl Login {
    fn credential(&self) -> Option<Credential> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Some(Credential::Token(Secret(token)));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Some(Credential::Identity(Secret(token)));
        }
        if let (Some(user), Some(password)) = (filled(&self.username), filled(&self.password)) {
            return Some(Credential::Password { user, password: Secret(password) });
        }
        let decoded = STANDARD.decode(filled(&self.auth)?).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, password) = decoded.trim_end_matches('\0').split_once(':')?;
        Some(Credential::Password { user: user.to_owned(), password: Secret(password.to_owned()) })
    }
}

/// The host of a name in the file, which may be an address with scheme and path.
fn host_of(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    let host = name.split('/').next().unwrap_or(name);
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// Asks the program `docker-credential-<helper>` for the credentials of `server`.
async fn ask(helper: &str, server: &str, timeout: Duration) -> Result<Credential, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(plain) {
        return Err("the Docker configuration names a credential helper that cannot be a program".to_owned());
    }
    let (program, server) = (format!("docker-credential-{helper}"), server.to_owned());
    let named = program.clone();
    let answer = tokio::task::spawn_blocking(move || run(&program, &server, timeout)).await;
    answer.unwrap_or_else(|_| Err("ended unexpectedly".to_owned())).map_err(|cause| {
        format!(
            "`{named}` of the Docker configuration {cause}; mend it, or set `docker_config: false` under `registries`"
        )
    })
}

/// Runs a helper to its end, which is no later than `timeout`. Blocks.
fn run(program: &str, server: &str, timeout: Duration) -> Result<Credential, String> {
    let deadline = Instant::now() + timeout;
    let unusable = |error: std::io::Error| format!("cannot be run: {error}");
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Ended(command.spawn().map_err(unusable)?);
    if let Some(mut input) = child.0.stdin.take() {
        // A helper that needs no name may have closed its input already; a name is shorter than any pipe.
        let _ = input.write_all(server.as_bytes());
    }
    let (sender, printed) = mpsc::channel();
    if let Some(output) = child.0.stdout.take() {
        // It ends with the output, at the latest when the helper is killed.
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = sender.send(output.take(MOST_OUTPUT).read_to_string(&mut text).map(|_| text));
        });
    }
    let late = || format!("did not answer within {timeout:?}");
    let left = deadline.saturating_duration_since(Instant::now());
    let output = printed.recv_timeout(left).map_err(|_| late())?.map_err(|_| "prints no text".to_owned())?;
    let status = child.wait(deadline).map_err(unusable)?.ok_or_else(late)?;
    if !status.success() {
        // The words are part of the protocol of helpers.
        let unknown = output.contains("credentials not found");
        return if unknown {
            Ok(Credential::Anonymous)
        } else {
            Err(format!("ended with {status}: {}", clean(&output)))
        };
    }
    let Helped { username, secret } = serde_json::from_str(&output).map_err(|_| "prints no credentials".to_owned())?;
    let secret = Secret(secret);
    let identity = username == TOKEN_USER;
    Ok(if identity { Credential::Identity(secret) } else { Credential::Password { user: username, password: secret } })
}

/// A helper that does not outlive who asked it.
struct Ended(Child);

impl Ended {
    /// How it ended; `None`: not before `deadline`.
    fn wait(&mut self, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
        const LOOK_AGAIN: Duration = Duration::from_millis(5);
        loop {
            match self.0.try_wait()? {
                None if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                ended => return Ok(ended),
            }
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests;
