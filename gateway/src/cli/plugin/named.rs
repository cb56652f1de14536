//! The plugins that a configuration names: those that bindings run, and their canaries.

use crate::artifacts::Reference;
use crate::config::{Config, PluginKind};

/// A plugin of the configuration.
pub(super) struct Named<'c> {
    /// The binding that names it.
    pub(super) binding: &'c str,
    pub(super) reference: Reference,
    /// The repository that its signature must name, if that is another than the reference's.
    pub(super) signed_as: Option<&'c str>,
    /// The kind of its binding.
    pub(super) kind: PluginKind,
}

/// All of them, in the order of the configuration; a canary follows the plugin of its binding.
pub(super) fn plugins(config: &Config) -> impl Iterator<Item = Named<'_>> {
    config.bindings.iter().flat_map(|binding| {
        let canary = binding.canary.as_ref().map(|canary| (&canary.plugin, &canary.signed_as));
        let both = [(&binding.plugin, &binding.signed_as)].into_iter().chain(canary);
        both.filter_map(|(plugin, signed_as)| {
            let (reference, signed_as) = (plugin.parse().ok()?, signed_as.as_deref());
            Some(Named { binding: &binding.name, reference, signed_as, kind: binding.kind })
        })
    })
}
