//! From a reference to verified bytes, for everything that comes to a gateway from outside and runs there.
//!
//! An artifact is found in a registry, a layout on a stick or a file; what it is known by is resolved first, then whose
//! signature it has, and only then is it fetched, by its digest. What it is for is not known here: plugins ask, and
//! firmware takes the same road.

pub mod cache;
pub mod digest;
pub mod files;
pub mod layout;
pub mod lockfile;
pub mod manifest;
pub mod reference;
pub mod signature;
pub mod trust;

mod error;
mod metrics;

use crate::config::{ArtifactsConfig, Config, RegistryConfig, TrustConfig};

pub use self::digest::Digest;
pub use self::error::{Because, FetchError};
pub use self::manifest::{Descriptor, Manifest};
pub use self::metrics::ArtifactsMetrics;
pub use self::reference::{ImageReference, Reference};

/// What the configuration says of artifacts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How they are fetched and kept.
    pub artifacts: ArtifactsConfig,
    /// What is known of registries.
    pub registries: Vec<RegistryConfig>,
    /// Whose artifacts run here.
    pub trust: TrustConfig,
}

impl Settings {
    /// The sections of a configuration that are about artifacts.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (artifacts, registries) = (config.artifacts.clone(), config.registries.clone());
        Self { artifacts, registries, trust: config.trust.clone() }
    }
}

/// Who uses the folder of what was fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// A running gateway: no other gateway may use it meanwhile, and what nobody needs is removed.
    Gateway,
    /// A command: it adds and reads beside a running gateway, and removes nothing.
    Shared,
}

/// What a tag stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lock {
    /// What the lockfile says; the registry is asked about what is not in it.
    Use,
    /// What the registry says now; the lockfile says so too from then on.
    Update,
}

/// Which artifact is wanted, and as what.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Wanted {
    /// Where it is found.
    pub reference: Reference,
    /// The repository that its signature must name, when it is found elsewhere: `host[:port]/repository`.
    pub signed_as: Option<String>,
    /// What it is to be used as: keys are for kinds.
    pub kind: &'static str,
}

/// An artifact whose manifest may be believed.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Where it was found.
    pub reference: Reference,
    /// What its manifest is known by.
    pub digest: Digest,
    /// What it consists of.
    pub manifest: Manifest,
    /// The key whose signature it has; none if the configuration does not ask for one.
    pub signed_by: Option<String>,
}
