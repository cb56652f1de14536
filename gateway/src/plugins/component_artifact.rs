//! A component as an OCI artifact: what is pushed beside its bytes, and which layer of a manifest is the component.
//!
//! The media types are those of the CNCF's WebAssembly artifacts, so that other tools read what is made here and the
//! gateway what they make. Nothing is fetched or verified here.

use std::collections::BTreeMap;

use causeway_host::Outline;
use serde_json::json;
use thiserror::Error;

use crate::artifacts::{Descriptor, Manifest};

/// The media type of a component's description.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The media type of a component.
pub const COMPONENT: &str = "application/wasm";

/// The annotation with the time at which an artifact was made (RFC 3339).
pub const CREATED: &str = "org.opencontainers.image.created";

/// The annotation with the name for people, and of a layer with the file name under which other tools unpack it.
pub const TITLE: &str = "org.opencontainers.image.title";

/// The annotation with the revision of the source.
pub const REVISION: &str = "org.opencontainers.image.revision";

/// What is pushed besides the component itself.
#[derive(Clone, Debug)]
pub struct ComponentArtifact {
    /// Names the others.
    pub manifest: Manifest,
    /// The description of the component.
    pub config: Vec<u8>,
}

/// An artifact is not one of a component; whoever pushed it pushes it otherwise.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotAComponent {
    /// It describes something else.
    #[error("it is no component: its configuration is `{0}` and not `{CONFIG}`; `causeway plugin push` makes one")]
    Config(String),
    /// What to run would be a matter of luck.
    #[error("it has {0} layers and not the one that a component has; `causeway plugin push` makes such an artifact")]
    Layers(usize),
    /// Its layer is something else.
    #[error("its layer is `{0}` and not `{COMPONENT}`; `causeway plugin push` makes an artifact of a component")]
    Layer(String),
}

impl ComponentArtifact {
    /// Describes a component; `file` is its name for tools that unpack artifacts into files.
    ///
    /// The same arguments make the same artifact, to the byte.
    #[must_use]
    pub fn of(component: &[u8], outline: &Outline, file: &str, annotations: BTreeMap<String, String>) -> Self {
        let mut layer = Descriptor::of(COMPONENT, component);
        layer.annotations.insert(TITLE.to_owned(), file.to_owned());
        let mut config = json!({
            "architecture": "wasm",
            // The word of the format for components of today, with WASI or without.
            "os": "wasip2",
            "layerDigests": [layer.digest.to_string()],
            "component": { "exports": outline.exports(), "imports": outline.imports(), "target": null },
        });
        if let Some(created) = annotations.get(CREATED) {
            config["created"] = created.as_str().into();
        }
        let config = config.to_string().into_bytes();
        let described = Descriptor::of(CONFIG, &config);
        let manifest = Manifest { artifact_type: None, config: described, layers: vec![layer], annotations };
        Self { manifest, config }
    }
}

/// The one layer that is the component. What the manifest says of itself is compared, not only counted.
///
/// # Errors
/// [`NotAComponent`].
pub fn component(manifest: &Manifest) -> Result<&Descriptor, NotAComponent> {
    if manifest.config.media_type != CONFIG {
        return Err(NotAComponent::Config(shown(&manifest.config.media_type)));
    }
    let [layer] = manifest.layers.as_slice() else { return Err(NotAComponent::Layers(manifest.layers.len())) };
    if layer.media_type == COMPONENT { Ok(layer) } else { Err(NotAComponent::Layer(shown(&layer.media_type))) }
}

/// As much of a text as a message shows.
fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn artifact() -> ComponentArtifact {
        let bytes = wat::parse_str(
            r#"(component (import "causeway:plugin/log@0.1.0-draft" (instance $log)) (export "a:b/c" (instance $log)))"#,
        );
        let bytes = bytes.unwrap();
        let annotations = [(CREATED, "2026-01-31T12:00:00Z"), ("org.opencontainers.image.version", "1.2.0")];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        ComponentArtifact::of(&bytes, &Outline::read(&bytes).unwrap(), "a.wasm", annotations.into())
    }

    #[test]
    fn what_is_made_of_a_component_is_found_to_be_one() {
        let ComponentArtifact { manifest, config } = artifact();
        let read = Manifest::parse(&manifest.to_bytes()).unwrap();
        assert_eq!(component(&read), Ok(&manifest.layers[0]));
        assert_eq!(read.version(), Some("1.2.0"));
        let config: Json = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["component"]["imports"][0], "causeway:plugin/log@0.1.0-draft");
        assert_eq!(config["component"]["exports"][0], "a:b/c");
        assert_eq!(config["layerDigests"][0], manifest.layers[0].digest.to_string());
        assert_eq!((&config["os"], &config["created"]), (&"wasip2".into(), &"2026-01-31T12:00:00Z".into()));
    }

    #[test]
    fn the_same_component_makes_the_same_artifact() {
        let digest = || crate::artifacts::Digest::of(&artifact().manifest.to_bytes());
        assert_eq!(digest(), digest());
    }

    fn refused(change: impl FnOnce(&mut Manifest)) -> NotAComponent {
        let mut manifest = artifact().manifest;
        change(&mut manifest);
        component(&manifest).unwrap_err()
    }

    #[test]
    fn an_artifact_of_something_else_is_none_of_a_component() {
        assert_eq!(refused(|manifest| manifest.layers.clear()), NotAComponent::Layers(0));
        assert_eq!(refused(|manifest| manifest.layers.push(manifest.config.clone())), NotAComponent::Layers(2));
        let layer = |manifest: &mut Manifest| manifest.layers[0].media_type = "application/wasm+gzip".to_owned();
        assert_eq!(refused(layer), NotAComponent::Layer("application/wasm+gzip".to_owned()));
        let config = |manifest: &mut Manifest| manifest.config.media_type = "a\nb".to_owned();
        assert_eq!(refused(config), NotAComponent::Config("ab".to_owned()));
    }
}
