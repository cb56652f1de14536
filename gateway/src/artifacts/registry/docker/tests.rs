//! Configurations of Docker and helpers, good and bad.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.into(), password: Secret(password.into()) }
}

/// What `config` has for `host`.
async fn found(config: &str, host: &str) -> Result<Credential, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, config).unwrap();
    read(&path, host, SOON).await
}

async fn check(config: &str, host: &str, expected: Credential) {
    assert_eq!(found(config, host).await, Ok(expected), "{config}");
}

#[tokio::test]
async fn a_login_is_found_by_its_host() {
    // "user:pass:word"
    let config = r#"{"auths":{"https://registry.example:5000/v2/":{"auth":"dXNlcjpwYXNzOndvcmQ="},"other":{}}}"#;
    check(config, "registry.example:5000", password("user", "pass:word")).await;
    check(config, "registry.example", Credential::Anonymous).await;
    check(config, "other", Credential::Anonymous).await;
    check("{}", "registry.example", Credential::Anonymous).await;
}

#[tokio::test]
async fn tokens_go_before_passwords() {
    check(r#"{"auths":{"r":{"username":"u","password":"p"}}}"#, "r", password("u", "p")).await;
    let identity = r#"{"auths":{"r":{"auth":"dTpw","identitytoken":"i"}}}"#;
    check(identity, "r", Credential::Identity(Secret("i".into()))).await;
    let token = r#"{"auths":{"r":{"auth":"dTpw","registrytoken":"t"}}}"#;
    check(token, "r", Credential::Token(Secret("t".into()))).await;
}

#[tokio::test]
async fn docker_hub_has_several_names() {
    check(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#, "registry-1.docker.io", password("u", "p"))
        .await;
}

#[tokio::test]
async fn a_file_that_is_no_configuration_is_named_and_not_shown() {
    let error = found("{\"auths\": \"hunter2\"", "r").await.unwrap_err();
    assert!(error.contains("config.json") && error.contains("docker_config: false"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_helper_with_a_path_for_a_name_is_not_run() {
    for helper in ["../../bin/sh", "", "a b", "x;y"] {
        let error = found(&serde_json::json!({"credHelpers": {"r": helper}}).to_string(), "r").await.unwrap_err();
        assert!(error.contains("cannot be a program"), "{error}");
    }
}

/// Runs a helper that is `script`.
fn helped(script: &str, timeout: Duration) -> Result<Credential, String> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("docker-credential-test");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    run(program.to_str().unwrap(), "registry.example", timeout)
}

#[test]
fn a_helper_is_asked_for_the_registry() {
    let script = r#"read -r server; [ "$1" = get ] && echo "{\"ServerURL\":\"$server\",\"Username\":\"u\",\"Secret\":\"for $server\"}""#;
    assert_eq!(helped(script, SOON), Ok(password("u", "for registry.example")));
    let script = r#"echo '{"Username":"<token>","Secret":"refresh"}'"#;
    assert_eq!(helped(script, SOON), Ok(Credential::Identity(Secret("refresh".into()))));
}

#[test]
fn a_helper_without_credentials_means_nobody() {
    let script = "echo 'credentials not found in native keychain'; exit 1";
    assert_eq!(helped(script, SOON), Ok(Credential::Anonymous));
}

#[test]
fn a_helper_that_fails_or_never_answers_is_said_so() {
    let failed = helped("echo 'the keychain is locked'; exit 3", SOON).unwrap_err();
    assert!(failed.contains("exit status: 3") && failed.contains("keychain is locked"), "{failed}");
    assert_eq!(helped("echo nonsense", SOON).unwrap_err(), "prints no credentials");
    assert_eq!(helped("exec sleep 100", Duration::from_millis(200)).unwrap_err(), "did not answer within 200ms");
    let endless = helped("yes", SOON).unwrap_err();
    assert!(endless.contains("ended") || endless.contains("prints no credentials"), "{endless}");
}
