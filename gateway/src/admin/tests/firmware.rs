//! Firmware, as operators see it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_nobody_has_is_asked_for_and_listed_with_the_reason() {
    let fixture = fixture();
    let reference = "oci-layout:///nowhere:1";
    let body = format!(r#"{{"reference": "{reference}"}}"#);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let asked = loop {
        let (status, asked) = fixture.admin("POST", "/v1/firmware/pull", &body).await;
        assert_eq!(status, 200);
        if asked["state"] != "fetching" {
            break asked;
        }
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    };
    assert_eq!(asked["state"], "unavailable");
    let (_, listed) = fixture.admin("GET", "/v1/firmware", "").await;
    assert_eq!(listed[0]["reference"], reference);
    assert!(listed[0]["problem"].as_str().unwrap().contains("/nowhere"), "{listed}");

    let (status, told) = fixture.admin("POST", "/v1/firmware/pin", r#"{"reference": "motor:1"}"#).await;
    assert_eq!(status, 409, "{told}");
    let (status, _) = fixture.admin("POST", "/v1/firmware/pin", &body).await;
    assert_eq!(status, 503);
    let wrong = format!(r#"{{"reference": "{reference}", "digest": "sha256:00"}}"#);
    assert_eq!(fixture.admin("POST", "/v1/firmware/pin", &wrong).await.0, 400);
    assert_eq!(fixture.ask(Some(Role::Viewer), "POST", "/v1/firmware/pin", &body).await.0, 403);
}
