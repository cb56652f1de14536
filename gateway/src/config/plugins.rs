//! `plugins:` what holds for all plugins.

use std::time::Duration;

use super::section::section;
use super::units::Size;

section! {
    /// What holds for all plugins. What one call of one plugin may use stands in `bindings[].limits`.
    PluginsConfig {
        /// The clock of call deadlines; a call overstays its deadline by at most one tick.
        tick: Duration = Duration::from_millis(10) => restart, in Duration::from_millis(1)..=Duration::from_secs(1);
        /// The deepest stack of a plugin.
        max_stack: Size = Size::kib(512) => restart, in Size::kib(64)..=Size::mib(1), hit "causeway_dispatch_traps_total";
        /// The largest component that is loaded.
        max_component: Size = Size::mib(64) => restart, in Size::kib(1)..=Size::gib(1), hit "causeway_plugins_refused_total";
        /// Address space of the process that compiles a component.
        compile_memory: Size = Size::gib(1) => restart, in Size::mib(256)..=Size::gib(64), hit "causeway_plugins_refused_total";
        /// How long compiling a component may take, and how much processor time of all processors together.
        compile_time: Duration = Duration::from_secs(180) => restart, in Duration::from_secs(1)..=Duration::from_secs(3_600), hit "causeway_plugins_refused_total";
    }
}
