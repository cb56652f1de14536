//! `bindings[].canary:` a second version of a binding's plugin that is watched and has no effect.

use super::section::section;
use super::setting::choice;
use super::units::Size;

section! {
    /// A second version of the plugin, on trial beside the one that the binding runs. A reload takes changes over.
    CanaryConfig {
        /// Where it comes from, as `plugin` of the binding.
        plugin: String = String::new() => live, required "oci://registry.example:5000/plugins/alarm:2.0.0";
        /// `shadow`: it is asked what the binding's version is asked, and what it returns is compared and discarded.
        mode: CanaryMode = CanaryMode::Shadow => live;
        /// The repository that its signature must name when it is found elsewhere, as `signed_as` of the binding.
        signed_as: Option<String> = None => live;
        /// Bytes that it may remember otherwise than the binding; beyond them it ends.
        max_state: Size = Size::mib(8) => live, in Size(0)..=Size::gib(4), hit "causeway_canary_state";
        /// Messages that wait for it; a further one is not shown to it.
        queue_messages: usize = 4096 => live, in 1..=1_000_000, hit "causeway_canary_inputs_total";
        /// Bytes of the messages that wait for it, with what its binding was answered and returned.
        queue_bytes: Size = Size::mib(8) => live, in Size::kib(64)..=Size::gib(1), hit "causeway_canary_inputs_total";
        /// Differences that are kept: the last ones.
        differences: usize = 100 => live, in 0..=10_000;
        /// Bytes of the differences that are kept.
        differences_bytes: Size = Size::kib(256) => live, in Size::kib(1)..=Size::mib(64);
        /// Whether a difference keeps what both versions returned, with all that is inside.
        outcomes: bool = false => live;
    }
}

choice! {
    /// How a second version is tried.
    CanaryMode {
        /// It sees everything and nothing that it returns has an effect.
        Shadow = "shadow",
    }
}
