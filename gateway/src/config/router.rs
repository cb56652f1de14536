//! `router:` the live fan-out.

use super::section::section;
use super::units::Size;

section! {
    /// The live fan-out between the shards of the front door.
    RouterConfig {
        /// Links into the router, one for each shard of the front door; `0` takes one for each processor, at most eight.
        links: usize = 0 => restart, in 0..=64;
        /// Messages on their way through the router; publishers wait for room.
        window_messages: usize = 4_096 => restart, in 16..=1_000_000, hit "causeway_router_window_waits_total";
        /// Bytes on their way through the router; publishers wait for room.
        window_bytes: Size = Size::mib(4) => restart, in Size::mib(1)..=Size::gib(4), hit "causeway_router_window_waits_total";
    }
}
