//! `metrics:` the port for machines that watch.

use std::net::SocketAddr;
use std::time::Duration;

use super::section::section;

section! {
    /// The port for machines that watch: `/metrics`, `/healthz`, `/readyz`. It has no authentication; keep it on the loopback address.
    MetricsConfig {
        /// The address and port to listen on.
        bind: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9464)) => restart;
        /// Whether the port is opened at all.
        enabled: bool = true => restart;
        /// Time for `/healthz` to prove that each listener answers.
        probe_timeout: Duration = Duration::from_secs(2) => restart, in Duration::from_millis(10)..=Duration::from_secs(30);
    }
}
