//! The Unix socket itself.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::super::local;
use super::*;
use crate::config::{AdminConfig, SocketMode};

async fn get(socket: &std::path::Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn our_own_user_is_admin_on_the_socket_and_the_end_is_clean() {
    let fixture = fixture();
    let path = fixture.context.config.admin.socket.clone();
    let socket = bind_socket(&path, SocketMode::Owner).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(socket, None, fixture.context.clone(), stop.clone()));
    let answer = get(&path, "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("edge-1"), "{answer}");
    let body = r#"{"id":"d1"}"#;
    let add = format!(
        "POST /v1/devices HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(get(&path, &add).await.starts_with("HTTP/1.1 200"));
    let _idle = UnixStream::connect(&path).await.unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn oversized_and_broken_requests_are_refused_and_the_next_is_served() {
    let fixture = fixture_with(&format!("{CONFIG}\nadmin: {{max_body_bytes: 1KiB}}"));
    let path = fixture.context.config.admin.socket.clone();
    let socket = bind_socket(&path, SocketMode::Owner).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(socket, None, fixture.context.clone(), stop.clone()));
    let big = format!(
        "POST /v1/devices HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2000\r\n\r\n{}",
        "x".repeat(2_000)
    );
    assert!(get(&path, &big).await.starts_with("HTTP/1.1 413"));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert!(get(&path, &many).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let _ = UnixStream::connect(&path).await.unwrap().write_all(long.as_bytes()).await;
    assert!(get(&path, "no http at all\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let good = get(&path, "GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(40), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let live = bind_socket(&path, SocketMode::Owner).unwrap();
    assert!(matches!(bind_socket(&path, SocketMode::Owner), Err(SocketError::InUse(_))));
    drop(live);
    drop(bind_socket(&path, SocketMode::Group).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(local::bind(&path, SocketMode::Owner), Err(SocketError::Occupied(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn local_users_have_the_role_that_is_theirs() {
    let config = AdminConfig { users: [("1001".to_owned(), Role::Operator)].into(), ..AdminConfig::default() };
    let roles = |uid| Caller::local(uid, 999, &config).roles;
    assert_eq!(roles(0), [Role::Admin]);
    assert_eq!(roles(999), [Role::Admin]);
    assert_eq!(roles(1001), [Role::Operator]);
    assert_eq!(roles(1002), []);
}
