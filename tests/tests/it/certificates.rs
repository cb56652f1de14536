//! Certificates from the gateway's own tool, in the hands of others; and what a reload does to live sessions.

use crate::setup;
use causeway_tests::wire::Wire;
use causeway_tests::{Connect, Device, Identity, Publish, Setup, Version, peers, pki};
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

mod bad;

/// Runs `causeway certs` in the folder `pki-tool` of a setup.
fn certs(setup: &Setup, arguments: &[&str]) {
    let mut all = vec!["certs", "--dir", "tool"];
    all.extend(arguments);
    let output = setup.command(&all);
    assert!(output.status.success(), "{all:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A gateway whose PKI was made by its own tool.
fn with_own_tool() -> Setup {
    let setup = setup();
    certs(&setup, &["init", "--san", &setup.address(0).ip().to_string()]);
    let tls = json!({ "certificate": "tool/server.pem", "key": "tool/server-key.pem", "client_ca": "tool/ca.pem",
                      "crl": "tool/ca-crl.pem" });
    setup.set("listeners.0.tls", tls)
}

fn identity(setup: &Setup, name: &str) -> Identity {
    let file = |name: String| setup.path("tool").join(name);
    let (certificate, key) = (file(format!("{name}.pem")), file(format!("{name}-key.pem")));
    let client = pki::client(&file("ca.pem".into()), Some((&certificate, &key)));
    Identity { name: name.into(), certificate, key, client }
}

async fn connect(setup: &Setup, identity: &Identity) -> Device {
    Device::connect(setup.address(8883), identity, &Connect::new(Version::V5, &identity.name)).await
}

/// Whether a handshake and a CONNECT lead to a CONNACK; the session is not that of [`connect`].
async fn is_served(setup: &Setup, identity: &Identity) -> bool {
    let Ok(mut wire) = Wire::tls(setup.address(8883), identity, Version::V5).await else { return false };
    wire.send(&Connect::new(Version::V5, "probe").bytes()).await.is_ok() && wire.receive().await.is_some()
}

#[tokio::test]
async fn certificates_of_the_tool_work_with_mosquitto() {
    let Some(publish) = peers::require("mosquitto_pub") else { return };
    let setup = with_own_tool();
    certs(&setup, &["issue", "d1"]);
    certs(&setup, &["issue", "d2"]);
    let gateway = setup.start().await;
    let mut device = connect(gateway.setup(), &identity(gateway.setup(), "d2")).await;
    device.subscribe("t", 1).await;
    let address = gateway.address(8883).ip().to_string();
    let output = std::process::Command::new(publish)
        .current_dir(gateway.setup().path("tool"))
        .args(["-h", &address, "-p", "8883", "--cafile", "ca.pem", "--cert", "d1.pem", "--key", "d1-key.pem"])
        .args(["-q", "1", "-t", "t", "-m", "hello"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(device.message().await.text(), "hello");
}

#[tokio::test]
async fn a_revoked_device_loses_its_live_session_and_others_stay() {
    let setup = with_own_tool();
    certs(&setup, &["issue", "good"]);
    certs(&setup, &["issue", "lost"]);
    let gateway = setup.start().await;
    let setup = gateway.setup();
    let mut good = connect(setup, &identity(setup, "good")).await;
    let mut lost = connect(setup, &identity(setup, "lost")).await;
    assert_eq!((good.code, lost.code), (0, 0));

    certs(setup, &["revoke", "lost"]);
    gateway.signal(Signal::HUP);
    let began = Instant::now();
    lost.closed().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!is_served(setup, &identity(setup, "lost")).await);
    good.ping().await;
    gateway.assert_no_panic();
}

#[tokio::test]
async fn a_new_server_certificate_and_authority_come_without_dropping_anyone() {
    let setup = with_own_tool();
    certs(&setup, &["issue", "old"]);
    let gateway = setup.start().await;
    let setup = gateway.setup();
    let mut old = connect(setup, &identity(setup, "old")).await;
    for _ in 0..5 {
        certs(setup, &["server", "--force", "--san", &gateway.address(0).ip().to_string()]);
        gateway.signal(Signal::HUP);
        assert!(is_served(setup, &identity(setup, "old")).await);
    }
    // A second authority beside the first: devices of both are served.
    let mut second = vec!["certs", "--dir", "second", "init"];
    assert!(setup.command(&second).status.success());
    second.truncate(3);
    second.extend(["issue", "new"]);
    assert!(setup.command(&second).status.success());
    let bundle =
        [setup.path("tool/ca.pem"), setup.path("second/ca.pem")].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(setup.path("tool/ca.pem"), bundle.concat()).unwrap();
    let lists = [setup.path("tool/ca-crl.pem"), setup.path("second/ca-crl.pem")];
    let lists = lists.map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(setup.path("tool/ca-crl.pem"), lists.concat()).unwrap();
    gateway.signal(Signal::HUP);
    let files = ["new.pem", "new-key.pem"].map(|file| setup.path("second").join(file));
    let client = pki::client(&setup.path("tool/ca.pem"), Some((&files[0], &files[1])));
    let new = Identity { name: "new".into(), certificate: files[0].clone(), key: files[1].clone(), client };
    causeway_tests::wait::until("the new authority is known", async || is_served(setup, &new).await.then_some(()))
        .await;
    old.ping().await;
    assert!(old.publish(Publish::new("t", "still here", 1)).await < 0x80);
}

#[tokio::test]
async fn a_changed_certificate_is_noticed_without_a_signal_and_shown_as_the_last_reload() {
    let setup = with_own_tool();
    certs(&setup, &["issue", "d1"]);
    let gateway = setup.start().await;
    let setup = gateway.setup();
    let mut device = connect(setup, &identity(setup, "d1")).await;
    assert!(gateway.query(&["status"])["last_reload"].is_null());
    certs(setup, &["server", "--force", "--san", &gateway.address(0).ip().to_string()]);
    let last = causeway_tests::wait::until("the reload is shown", async || {
        let last = gateway.query(&["status"])["last_reload"].clone();
        (!last.is_null()).then_some(last)
    })
    .await;
    assert_eq!((&last["what"], &last["problems"]), (&json!("certificates"), &json!([])));
    std::fs::write(setup.path("tool/server.pem"), "broken").unwrap();
    causeway_tests::wait::until("the refused reload is shown", async || {
        gateway.query(&["status"])["last_reload"].to_string().contains("server.pem").then_some(())
    })
    .await;
    device.ping().await;
}

#[tokio::test]
async fn a_session_ends_with_its_certificate() {
    let setup = setup();
    let mut params = pki::leaf("short", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(4);
    let gateway = setup.start().await;
    let short = gateway.setup().pki().device_with("short", &params);
    let mut device = connect(gateway.setup(), &short).await;
    assert_eq!(device.code, 0);
    device.ping().await;
    device.closed().await;
    let late = time::OffsetDateTime::now_utc() - params.not_after;
    assert!(late.whole_seconds() < 5, "{late}");
    assert!(!is_served(gateway.setup(), &short).await);
}
