//! A real registry with TLS by a private authority and passwords: what others push we pull, what we push they copy.

mod rules;

use bytes::Bytes;
use causeway::artifacts::registry::{Registries, RegistryError, Signatures};
use causeway::artifacts::{Digest, ImageReference, Reference};
use causeway::config::{ArtifactsConfig, RegistryConfig};
use causeway_tests::artifact::{digest, media};
use causeway_tests::registry::{PASSWORD, USER};
use causeway_tests::{Artifact, Pki, Registry, peers, registry};
use serde_json::json;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::time::Duration;

/// What the gateway asks registries through; nothing takes long here but what is meant to.
fn registries(registries: &[RegistryConfig]) -> Registries {
    let timeout = Duration::from_secs(60);
    Registries::new(&ArtifactsConfig { timeout, retries: 1, ..ArtifactsConfig::default() }, registries)
}

fn listed(host: &str) -> RegistryConfig {
    RegistryConfig { host: host.into(), docker_config: false, ..RegistryConfig::default() }
}

fn plain(host: &str) -> RegistryConfig {
    RegistryConfig { plain_http: true, ..listed(host) }
}

/// The registry with its authority, and this user's password.
fn secure(registry: &Registry, password: &str) -> RegistryConfig {
    let file = registry.path("password-of-the-gateway");
    std::fs::write(&file, password).unwrap();
    RegistryConfig {
        ca: Some(registry.ca()),
        username: Some(USER.into()),
        password_file: Some(file),
        ..listed(&registry.host())
    }
}

/// The image `name` (`repository:tag`) of a registry.
fn image(host: &str, name: &str) -> ImageReference {
    match format!("oci://{host}/{name}").parse().unwrap() {
        Reference::Registry(image) => image,
        other => panic!("{other}"),
    }
}

async fn fetch_blob(registries: &Registries, image: &ImageReference, bytes: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let mut file = tempfile::tempfile().unwrap();
    registries.blob(image, &Digest::of(bytes), bytes.len() as u64, &mut file).await?;
    let mut found = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut found).unwrap();
    Ok(found)
}

/// Pushes a component as ours do.
async fn push(registries: &Registries, image: &ImageReference, artifact: &Artifact) -> Digest {
    let blobs = [&artifact.config, &artifact.layer].map(|blob| Bytes::from(blob.clone()));
    registries.push(image, &blobs, artifact.manifest.clone().into(), media::MANIFEST).await.unwrap()
}

/// Half a megabyte and more: several chunks of any client.
fn layer() -> Vec<u8> {
    (0..600_000_u32).flat_map(|number| [b'w', number.to_le_bytes()[1]]).collect()
}

#[tokio::test]
async fn what_oras_pushed_is_pulled_and_hashes_to_what_was_asked_for() {
    let Some(registry) = Registry::start().await else { return };
    let pushed = registry::Artifact {
        layer: &layer(),
        layer_type: media::WASM,
        config: br#"{"architecture":"wasm","os":"wasip2","layerDigests":[]}"#,
        config_type: media::WASM_CONFIG,
        annotations: &[("org.opencontainers.image.version", "1.2.0")],
    };
    let Some(named) = registry.push_with_oras("team/plugin:1.2.0", &pushed) else { return };
    let registries = registries(&[secure(&registry, PASSWORD)]);
    let image = image(&registry.host(), "team/plugin:1.2.0");
    let resolved = registries.resolve(&image).await.unwrap();
    assert_eq!(resolved.to_string(), named);
    let manifest = registries.manifest(&image, &resolved).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "1.2.0");
    assert_eq!(manifest["layers"][0]["digest"], digest(pushed.layer));
    assert!(fetch_blob(&registries, &image, pushed.layer).await.unwrap() == pushed.layer);
    assert_eq!(registries.signatures(&image, &resolved).await.unwrap(), Signatures::Absent);
}

#[tokio::test]
async fn what_is_pushed_is_copied_by_skopeo_to_a_layout_and_back() {
    let (Some(registry), Some(_)) = (Registry::start().await, peers::require("skopeo")) else { return };
    let registries = registries(&[secure(&registry, PASSWORD)]);
    let (artifact, host) = (Artifact::component(&layer(), "1.0.0"), registry.host());
    let pushed = push(&registries, &image(&host, "team/plugin:1.0.0"), &artifact).await;
    assert_eq!(pushed.to_string(), artifact.digest());
    // What is there already is not pushed again, and that is no error.
    assert_eq!(push(&registries, &image(&host, "team/plugin:latest"), &artifact).await, pushed);
    let layout = registry.path("layout");
    registry.copy_to_layout("team/plugin:1.0.0", &layout, "1.0.0");
    assert!(layout.join("blobs/sha256").join(pushed.hex()).exists());
    registry.copy_from_layout(&layout, "1.0.0", "team/copy:1.0.0");
    assert_eq!(registries.resolve(&image(&host, "team/copy:1.0.0")).await.unwrap(), pushed);
}

#[tokio::test]
async fn signatures_are_found_under_cosigns_tag_and_bundles_by_what_refers_to_the_image() {
    let Some(registry) = Registry::start_plain().await else { return };
    let registries = registries(&[plain(&registry.host())]);
    let target = image(&registry.host(), "team/plugin:1");
    let pushed = push(&registries, &target, &Artifact::component(b"component", "1.0.0")).await;

    // A registry without the referrers API has them in an index under a tag.
    let bundle =
        Artifact::component(b"bundle", "1.0.0").edit(|manifest| manifest["artifactType"] = media::BUNDLE.into());
    push(&registries, &target.tagged("bundle"), &bundle).await;
    let entry = json!({"mediaType": media::MANIFEST, "digest": bundle.digest(), "size": bundle.manifest.len(), "artifactType": media::BUNDLE});
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [entry]}).to_string();
    let under = target.tagged(&format!("sha256-{}", pushed.hex()));
    registries.push(&under, &[], index.into(), media::INDEX).await.unwrap();
    assert_eq!(registries.signatures(&target, &pushed).await.unwrap(), Signatures::Bundle);

    let signature = Artifact::component(b"payload", "1.0.0");
    push(&registries, &target.tagged(&format!("sha256-{}.sig", pushed.hex())), &signature).await;
    let found = registries.signatures(&target, &pushed).await.unwrap();
    assert_eq!(found, Signatures::Cosign(signature.manifest.into()));
}

#[tokio::test]
async fn a_registry_of_another_authority_is_not_spoken_to() {
    let Some(registry) = Registry::start().await else { return };
    let other = Pki::create(&registry.path("other"), registry.address().ip());
    let foreign = RegistryConfig { ca: Some(other.authority_file()), ..secure(&registry, PASSWORD) };
    let unknown = RegistryConfig { ca: None, ..secure(&registry, PASSWORD) };
    for config in [foreign, unknown] {
        let error = registries(&[config]).resolve(&image(&registry.host(), "x:1")).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("name its authority's file as `ca` under `registries`"), "{error}");
    }
    let missing = RegistryConfig { ca: Some(PathBuf::from("/nowhere/ca.pem")), ..secure(&registry, PASSWORD) };
    let error = registries(&[missing]).resolve(&image(&registry.host(), "x:1")).await.unwrap_err().to_string();
    assert!(error.contains("`ca` /nowhere/ca.pem cannot be read"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_and_none_are_told_apart() {
    let Some(registry) = Registry::start().await else { return };
    let target = image(&registry.host(), "team/plugin:1");
    let wrong = registries(&[secure(&registry, "not it")]);
    let error = wrong.resolve(&target).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("401") && error.to_string().contains("check the credentials"), "{error}");
    let component = Artifact::component(b"x", "1.0.0");
    let error = wrong.push(&target, &[], component.manifest.into(), media::MANIFEST).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    let nobody = RegistryConfig { username: None, password_file: None, ..secure(&registry, PASSWORD) };
    let error = registries(&[nobody]).resolve(&target).await.unwrap_err().to_string();
    assert!(error.contains("there are none for it") && error.contains("`password_file`"), "{error}");
    // The right ones work for the very same registry, and then it says that there is no such image.
    let error = registries(&[secure(&registry, PASSWORD)]).resolve(&target).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn plain_http_and_tls_are_never_mistaken_for_each_other() {
    let (Some(secure), Some(open)) = (Registry::start().await, Registry::start_plain().await) else { return };
    let asked = registries(&[listed(&open.host())]).resolve(&image(&open.host(), "x:1")).await.unwrap_err().to_string();
    assert!(asked.contains("does not speak TLS") && asked.contains("plain_http: true"), "{asked}");
    let asked =
        registries(&[plain(&secure.host())]).resolve(&image(&secure.host(), "x:1")).await.unwrap_err().to_string();
    assert!(asked.contains("HTTPS"), "{asked}");
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_last() {
    let (Some(origin), Some(near), Some(mut dead)) =
        (Registry::start().await, Registry::start_plain().await, Registry::start_plain().await)
    else {
        return;
    };
    dead.unplug();
    let mirrors = vec![dead.host(), format!("{}/copies", near.host())];
    let mirrored = RegistryConfig { mirrors, ..secure(&origin, PASSWORD) };
    let direct = registries(&[secure(&origin, PASSWORD), plain(&near.host())]);
    let registries = registries(&[mirrored, plain(&near.host()), plain(&dead.host())]);

    let (copied, own) = (Artifact::component(&layer(), "1.0.0"), Artifact::component(b"own", "2.0.0"));
    let copy = push(&direct, &image(&near.host(), "copies/team/plugin:1"), &copied).await;
    let target = image(&origin.host(), "team/plugin:1");
    assert_eq!(registries.resolve(&target).await.unwrap(), copy);
    assert!(registries.manifest(&target, &copy).await.unwrap() == copied.manifest);
    assert!(fetch_blob(&registries, &target, &copied.layer).await.unwrap() == copied.layer);

    let target = image(&origin.host(), "team/plugin:2");
    let pushed = push(&registries, &target, &own).await;
    assert_eq!(registries.resolve(&target).await.unwrap(), pushed);
    assert!(fetch_blob(&registries, &target, b"own").await.unwrap() == b"own");
    let error = registries.resolve(&image(&origin.host(), "team/plugin:3")).await.unwrap_err();
    assert!(matches!(&error, RegistryError::NotFound { host, .. } if *host == origin.host()), "{error}");
}

#[tokio::test]
async fn a_damaged_blob_of_a_mirror_is_fetched_from_the_registry() {
    let (Some(origin), Some(near)) = (Registry::start_plain().await, Registry::start_plain().await) else { return };
    let mirrored = RegistryConfig { mirrors: vec![near.host()], ..plain(&origin.host()) };
    let registries = registries(&[mirrored, plain(&near.host())]);
    let artifact = Artifact::component(&layer(), "1.0.0");
    for host in [origin.host(), near.host()] {
        push(&registries, &image(&host, "team/plugin:1"), &artifact).await;
    }
    let file = near.blob_file(&Digest::of(&artifact.layer).hex());
    let mut damaged = artifact.layer.clone();
    damaged[300_000] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let found = fetch_blob(&registries, &image(&origin.host(), "team/plugin:1"), &artifact.layer).await.unwrap();
    assert!(found == artifact.layer);
    let error = fetch_blob(&registries, &image(&near.host(), "team/plugin:1"), &artifact.layer).await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
}
