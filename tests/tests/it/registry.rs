//! A real registry with TLS by a private authority and passwords, and what others push to it and copy from it.

use causeway_tests::registry::Artifact;
use causeway_tests::{Registry, peers};

const COMPONENT: Artifact<'static> = Artifact {
    layer: b"\0asm not really",
    layer_type: "application/wasm",
    config: br#"{"architecture":"wasm","os":"wasip2","layerDigests":[]}"#,
    config_type: "application/vnd.wasm.config.v0+json",
    annotations: &[("org.opencontainers.image.version", "1.2.0")],
};

#[tokio::test]
async fn what_oras_pushed_is_copied_by_skopeo_to_a_layout_and_back() {
    let (Some(registry), Some(_)) = (Registry::start().await, peers::require("skopeo")) else { return };
    let Some(digest) = registry.push_with_oras("team/plugin:1.2.0", &COMPONENT) else { return };
    let layout = registry.path("layout");
    registry.copy_to_layout("team/plugin:1.2.0", &layout, "1.2.0");
    registry.copy_from_layout(&layout, "1.2.0", "team/copy:1.2.0");
    let manifest = layout.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
    assert!(manifest.exists(), "{digest} is not in the layout");
}
