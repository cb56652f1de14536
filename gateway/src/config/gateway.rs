//! `gateway:` who this gateway is.

use super::section::section;

section! {
    /// Who this gateway is among others.
    GatewayConfig {
        /// Names the gateway in its logs and in what it sends upstream; without it the common name of the first listener's server certificate is taken.
        id: Option<String> = None => restart;
        /// Threads that serve sockets; `0` takes one for each processor.
        threads: usize = 0 => restart, in 0..=256;
    }
}
