//! What a registry may make us do: where it may lead us, what it is shown, how often it is asked, how much it may send.

use super::{fetch_blob, image, layer, plain, registries};
use causeway::artifacts::registry::{Registries, RegistryError, Signatures};
use causeway::artifacts::{Digest, ImageReference};
use causeway::config::{ArtifactsConfig, RegistryConfig, Size};
use causeway_tests::artifact::{digest, media};
use causeway_tests::mutating::{Answer, End, Request, Role};
use causeway_tests::{Artifact, Mutating};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A registry with one artifact, whose layer is [`layer`].
fn stocked() -> (Mutating, Artifact, ImageReference) {
    let (registry, artifact) = (Mutating::plain(), Artifact::component(&layer(), "1.0.0"));
    registry.shelf().put("team/plugin", "1", &artifact);
    let image = image(&registry.host(), "team/plugin:1");
    (registry, artifact, image)
}

/// The registry with this user's password.
fn with_password(registry: &Mutating, folder: &Path) -> RegistryConfig {
    let file = folder.join("password");
    std::fs::write(&file, "sesame\n").unwrap();
    RegistryConfig { username: Some("ali".into()), password_file: Some(file), ..plain(&registry.host()) }
}

/// Wants a token of `realm` for whatever lies under `/v2/`.
fn want_token(realm: String) -> impl Fn(&Request, &mut Answer) + Send + Sync + 'static {
    move |request, answer| {
        if request.path.starts_with("/v2/") && request.header("authorization") != Some("Bearer a-token") {
            *answer = Answer::new(401, "{}");
            answer.set("www-authenticate", format!(r#"Bearer realm="{realm}",service="the shelf""#));
        }
    }
}

fn requests(registry: &Mutating, path: &str) -> Vec<Request> {
    registry.seen().into_iter().filter(|request| request.path.starts_with(path)).collect()
}

#[tokio::test]
async fn a_token_is_asked_for_once_with_the_password_and_shown_from_then_on() {
    let ((registry, artifact, target), folder) = (stocked(), tempfile::tempdir().unwrap());
    registry.mutate(want_token(format!("http://{}/token", registry.host())));
    let registries = registries(&[with_password(&registry, folder.path())]);
    let found = registries.resolve(&target).await.unwrap();
    registries.manifest(&target, &found).await.unwrap();
    assert!(fetch_blob(&registries, &target, &artifact.layer).await.unwrap() == artifact.layer);
    let tokens = requests(&registry, "/token");
    let [asked] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!(asked.header("authorization"), Some("Basic YWxpOnNlc2FtZQ=="));
    let query = asked.path.split_once('?').unwrap().1;
    assert!(
        query.contains("service=the+shelf") && query.contains("scope=repository%3Ateam%2Fplugin%3Apull"),
        "{query}"
    );
    let shown: Vec<_> = requests(&registry, "/v2/")
        .iter()
        .filter_map(|asked| asked.header("authorization").map(str::to_owned))
        .collect();
    assert!(shown.len() == 3 && shown.iter().all(|shown| shown == "Bearer a-token"), "{shown:?}");
}

#[tokio::test]
async fn a_token_is_asked_for_without_credentials_where_there_are_none() {
    let (registry, _, target) = stocked();
    registry.mutate(want_token(format!("http://{}/token", registry.host())));
    registries(&[plain(&registry.host())]).resolve(&target).await.unwrap();
    assert_eq!(requests(&registry, "/token")[0].header("authorization"), None);
}

#[tokio::test]
async fn credentials_are_not_taken_to_a_token_server_that_is_not_listed() {
    let ((registry, _, target), thief, folder) = (stocked(), Mutating::plain(), tempfile::tempdir().unwrap());
    registry.mutate(want_token(format!("http://{}/token", thief.host())));
    let config = with_password(&registry, folder.path());
    let error = registries(std::slice::from_ref(&config)).resolve(&target).await.unwrap_err();
    assert!(matches!(error, RegistryError::Elsewhere { .. }), "{error}");
    assert!(error.to_string().contains(&format!("add `{}` to its `token_hosts`", thief.host())), "{error}");
    let pushed = registries(std::slice::from_ref(&config)).push(&target, &[], "{}".into(), media::MANIFEST).await;
    assert!(matches!(pushed, Err(RegistryError::Elsewhere { .. })), "{pushed:?}");
    assert!(thief.seen().is_empty(), "{:?}", thief.seen());

    let listed = RegistryConfig { token_hosts: vec![thief.host()], ..config };
    registries(&[listed, plain(&thief.host())]).resolve(&target).await.unwrap();
    assert_eq!(thief.seen().len(), 1);
}

#[tokio::test]
async fn a_token_server_that_leads_elsewhere_is_not_followed() {
    let ((registry, _, target), thief, folder) = (stocked(), Mutating::plain(), tempfile::tempdir().unwrap());
    let want = want_token(format!("http://{}/token", registry.host()));
    let to = format!("http://{}/token", thief.host());
    registry.mutate(move |request, answer| {
        want(request, answer);
        if request.path.starts_with("/token") {
            answer.redirect(to.clone());
        }
    });
    let error = registries(&[with_password(&registry, folder.path())]).resolve(&target).await.unwrap_err();
    assert!(matches!(error, RegistryError::Elsewhere { .. }), "{error}");
    assert!(thief.seen().is_empty());
}

/// Answers requests for layers with a redirect to the same path of `host`.
fn redirect_layers(host: String) -> impl Fn(&Request, &mut Answer) + Send + Sync + 'static {
    move |request, answer| {
        if request.role == Role::Layer {
            answer.redirect(format!("http://{host}{}", request.path));
        }
    }
}

#[tokio::test]
async fn a_redirect_is_followed_to_a_listed_host_and_without_credentials() {
    let ((registry, artifact, target), (cdn, ..), folder) = (stocked(), stocked(), tempfile::tempdir().unwrap());
    let (want, redirect) = (want_token(format!("http://{}/token", registry.host())), redirect_layers(cdn.host()));
    registry.mutate(move |request, answer| {
        redirect(request, answer);
        want(request, answer);
    });
    let config = with_password(&registry, folder.path());
    let error = fetch_blob(&registries(std::slice::from_ref(&config)), &target, &artifact.layer).await.unwrap_err();
    assert!(matches!(error, RegistryError::Elsewhere { .. }), "{error}");
    assert!(error.to_string().contains(&format!("add `{}` to its `redirects`", cdn.host())), "{error}");
    assert!(cdn.seen().is_empty());

    let listed = RegistryConfig { redirects: vec![cdn.host()], ..config };
    let registries = registries(&[listed, plain(&cdn.host())]);
    assert!(fetch_blob(&registries, &target, &artifact.layer).await.unwrap() == artifact.layer);
    assert!(cdn.seen().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn redirects_without_end_are_not_followed() {
    let (registry, artifact, target) = stocked();
    registry.mutate(redirect_layers(registry.host()));
    let error = fetch_blob(&registries(&[plain(&registry.host())]), &target, &artifact.layer).await.unwrap_err();
    assert!(matches!(error, RegistryError::Elsewhere { .. }), "{error}");
    assert_eq!(registry.seen().len(), 4);
}

#[tokio::test]
async fn a_host_that_asks_for_credentials_after_a_redirect_gets_none() {
    let ((registry, artifact, target), (cdn, ..), folder) = (stocked(), stocked(), tempfile::tempdir().unwrap());
    registry.mutate(redirect_layers(cdn.host()));
    cdn.mutate(|_, answer| {
        *answer = Answer::new(401, "{}");
        answer.set("www-authenticate", "Basic realm=\"mine\"");
    });
    let listed = RegistryConfig { redirects: vec![cdn.host()], ..with_password(&registry, folder.path()) };
    let error = fetch_blob(&registries(&[listed, plain(&cdn.host())]), &target, &artifact.layer).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Denied { host, .. } if *host == cdn.host()), "{error}");
    let seen = [registry.seen(), cdn.seen()].concat();
    assert!(seen.iter().all(|request| request.header("authorization").is_none()), "{seen:?}");
}

/// Answers the first `times` requests otherwise.
fn first(
    times: usize,
    change: impl Fn(&mut Answer) + Send + Sync + 'static,
) -> impl Fn(&Request, &mut Answer) + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |_, answer| {
        if asked.fetch_add(1, Ordering::Relaxed) < times {
            change(answer);
        }
    }
}

fn patient(retries: u32, idle: Duration) -> ArtifactsConfig {
    ArtifactsConfig { retries, idle_timeout: idle, ..ArtifactsConfig::default() }
}

#[tokio::test]
async fn a_registry_that_is_busy_or_broken_is_asked_again_and_not_for_ever() {
    let (registry, _, target) = stocked();
    let registries = Registries::new(&patient(2, Duration::from_secs(10)), &[plain(&registry.host())]);
    for status in [429, 500, 502, 503] {
        registry.mutate(first(2, move |answer| *answer = Answer::new(status, "busy")));
        registries.resolve(&target).await.unwrap();
        registry.forget();
        registry.mutate(move |_, answer| *answer = Answer::new(status, "busy"));
        let error = registries.resolve(&target).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Unreachable { .. }) && error.to_string().contains(&status.to_string()),
            "{error}"
        );
        assert_eq!(registry.seen().len(), 3);
    }
    registry.forget();
    registry
        .mutate(|_, answer| *answer = Answer::new(400, r#"{"errors":[{"code":"NAME_INVALID","message":"no\nway"}]}"#));
    let error = registries.manifest(&target, &Digest::of(b"")).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Answer { .. }) && error.to_string().ends_with("NAME_INVALID no way"),
        "{error}"
    );
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_registry_is_left_alone_for_as_long_as_it_asks_within_reason() {
    let (registry, _, target) = stocked();
    let registries = registries(&[plain(&registry.host())]);
    let busy = |seconds: &'static str| {
        move |answer: &mut Answer| {
            *answer = Answer::new(429, "");
            answer.set("retry-after", seconds);
        }
    };
    let began = Instant::now();
    registry.mutate(first(1, busy("1")));
    registries.resolve(&target).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    registry.forget();
    registry.mutate(first(1, busy("86400")));
    registries.resolve(&target).await.unwrap_err();
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke_off() {
    let (registry, artifact, target) = stocked();
    let whole = artifact.layer.len();
    for serves_ranges in [true, false] {
        registry.forget();
        registry.mutate(move |request, answer| {
            let from = request.header("range").map(|range| range[6..range.len() - 1].parse::<usize>().unwrap());
            match from {
                Some(from) if serves_ranges => {
                    let rest = answer.body.split_off(from);
                    *answer = Answer::new(206, rest);
                    answer.set("content-range", format!("bytes {from}-{}/{whole}", whole - 1));
                }
                Some(_) => {}
                None => {
                    answer.length = Some(whole as u64);
                    answer.body.truncate(400_000);
                }
            }
        });
        let registries = registries(&[plain(&registry.host())]);
        assert!(fetch_blob(&registries, &target, &artifact.layer).await.unwrap() == artifact.layer);
        assert_eq!(registry.seen().len(), 2);
        let sent = if serves_ranges { whole } else { whole + 400_000 };
        assert_eq!(registry.sent(), sent as u64);
    }
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    let (registry, artifact, target) = stocked();
    let whole = artifact.layer.len();
    registry.mutate(move |request, answer| match request.header("range") {
        None => {
            answer.length = Some(whole as u64);
            answer.body.truncate(400_000);
        }
        Some(_) => {
            *answer = Answer::new(206, answer.body.split_off(500_000));
            answer.set("content-range", format!("bytes 500000-{}/{whole}", whole - 1));
        }
    });
    let error = fetch_blob(&registries(&[plain(&registry.host())]), &target, &artifact.layer).await.unwrap_err();
    assert!(matches!(error, RegistryError::Answer { .. }), "{error}");
}

/// What comes of fetching the layer when the registry changes its answer.
async fn layer_with(change: impl Fn(&mut Answer) + Send + Sync + 'static) -> (RegistryError, u64) {
    let (registry, artifact, target) = stocked();
    registry.mutate(move |request, answer| {
        if request.role == Role::Layer {
            change(answer);
        }
    });
    let registries = Registries::new(&patient(0, Duration::from_millis(500)), &[plain(&registry.host())]);
    let error = fetch_blob(&registries, &target, &artifact.layer).await.unwrap_err();
    (error, registry.sent())
}

#[tokio::test]
async fn no_more_is_taken_than_was_announced() {
    let (error, _) = layer_with(|answer| answer.body.push(0)).await;
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
    let (error, sent) = layer_with(|answer| answer.end = End::Endless).await;
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
    assert!(sent < 50_000_000, "{sent}");
    let (error, _) = layer_with(|answer| answer.set("content-encoding", "gzip")).await;
    assert!(error.to_string().contains("compressed"), "{error}");
    let (error, _) = layer_with(|answer| answer.body[1000] ^= 1).await;
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_says_nothing_more_is_not_waited_for() {
    for end in [End::Stalled, End::Silent] {
        let began = Instant::now();
        let (error, _) = layer_with(move |answer| {
            answer.length = Some(answer.body.len() as u64);
            answer.body.truncate(1000);
            answer.end = end;
        })
        .await;
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    for end in [End::Garbage, End::EndlessHead] {
        let (error, _) = layer_with(move |answer| answer.end = end).await;
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_mirror_that_drips_leaves_the_registry_its_time() {
    let ((origin, artifact, target), (slow, ..)) = (stocked(), stocked());
    slow.mutate(|_, answer| answer.end = End::Dripping);
    let fetch = ArtifactsConfig { timeout: Duration::from_secs(4), ..ArtifactsConfig::default() };
    let mirrored = RegistryConfig { mirrors: vec![slow.host()], ..plain(&origin.host()) };
    let registries = Registries::new(&fetch, &[mirrored, plain(&slow.host())]);
    assert!(fetch_blob(&registries, &target, &artifact.layer).await.unwrap() == artifact.layer);
}

#[tokio::test]
async fn a_manifest_larger_than_the_bound_is_not_read() {
    let (registry, artifact, target) = stocked();
    let named = artifact.digest().parse().unwrap();
    for end in [End::Closed, End::Endless] {
        registry.forget();
        registry.mutate(move |_, answer| {
            answer.body = vec![b' '; 100_000];
            answer.end = end;
        });
        let fetch = ArtifactsConfig { max_manifest: Size::kib(64), ..patient(0, Duration::from_secs(10)) };
        let error = Registries::new(&fetch, &[plain(&registry.host())]).manifest(&target, &named).await.unwrap_err();
        assert!(matches!(error, RegistryError::Size { .. }), "{error}");
        assert!(registry.sent() < 20_000_000);
    }
}

#[tokio::test]
async fn a_tag_is_resolved_where_head_is_not_answered() {
    let (registry, artifact, target) = stocked();
    registry.mutate(|request, answer| {
        if request.method == "HEAD" {
            *answer = Answer::new(405, "");
        }
    });
    let found = registries(&[plain(&registry.host())]).resolve(&target).await.unwrap();
    assert_eq!(found.to_string(), artifact.digest());
}

#[tokio::test]
async fn a_bundle_is_found_by_the_referrers_api() {
    let (registry, artifact, target) = stocked();
    let bundle =
        json!([{"mediaType": media::MANIFEST, "digest": digest(b"b"), "size": 1, "artifactType": media::BUNDLE}]);
    registry.shelf().referrers("team/plugin", &artifact.digest(), &bundle);
    let registries = registries(&[plain(&registry.host())]);
    let found = registries.signatures(&target, &artifact.digest().parse().unwrap()).await.unwrap();
    assert_eq!(found, Signatures::Bundle);
}

#[tokio::test]
async fn a_push_ends_well_whatever_the_registry_answers() {
    let (registry, artifact, target) = stocked();
    let registries = registries(&[plain(&registry.host())]);
    for location in ["", "relative", "http://[", "/v2/\u{7f}"] {
        registry.mutate(move |request, answer| {
            if request.method != "GET" && request.method != "HEAD" {
                *answer = Answer::new(202, "");
                answer.set("location", location);
            }
        });
        let blobs = [b"something new".as_slice().into()];
        let error =
            registries.push(&target, &blobs, artifact.manifest.clone().into(), media::MANIFEST).await.unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
