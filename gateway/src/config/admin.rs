//! `admin:` how operators reach the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::section::section;
use super::setting::choice;
use super::units::Size;

section! {
    /// How operators reach the gateway: a Unix socket always, HTTPS when configured.
    AdminConfig {
        /// The Unix socket; without it `<data_dir>/admin.sock`. Root and the gateway's own user have the role `admin` there.
        socket: PathBuf = PathBuf::new() => restart;
        /// Further local users that may use the socket: user id to role. Needs `socket_mode` to let them in.
        users: BTreeMap<String, Role> = BTreeMap::new() => restart;
        /// Whom the file mode of the socket lets in: the owner, or its group too.
        socket_mode: SocketMode = SocketMode::Owner => restart;
        /// HTTPS for operators on other machines.
        https: Option<HttpsConfig> = None => restart;
        /// Connections at a time; further ones wait.
        max_connections: usize = 64 => restart, in 1..=10_000, hit "causeway_admin_connection_waits_total";
        /// Largest request body.
        max_body_bytes: Size = Size::mib(8) => restart, in Size::kib(1)..=Size::mib(256), hit "causeway_admin_requests_total";
        /// Time for one request, from its first byte to the end of its answer.
        request_timeout: Duration = Duration::from_secs(30) => restart, in Duration::from_millis(100)..=Duration::from_secs(600), hit "causeway_admin_request_timeouts_total";
    }
}

section! {
    /// HTTPS for operators on other machines. At least one of `client_ca` and `tokens` is needed.
    HttpsConfig {
        /// The address and port to listen on.
        bind: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8443)) => restart;
        /// The server certificate and its chain, PEM.
        certificate: PathBuf = PathBuf::new() => restart, required "server.pem";
        /// The private key of the server certificate, PEM.
        key: PathBuf = PathBuf::new() => restart, required "server-key.pem";
        /// The certificate authorities of operator certificates, PEM; keep them apart from those of devices.
        client_ca: Option<PathBuf> = None => restart;
        /// Operators with a certificate: common name to role.
        users: BTreeMap<String, Role> = BTreeMap::new() => restart;
        /// Operators with a bearer token: name to the hash of the token and the role.
        tokens: BTreeMap<String, TokenConfig> = BTreeMap::new() => restart;
        /// Refused attempts of one address in a minute; further ones are answered with 429.
        max_failures_per_minute: u32 = 10 => restart, in 1..=1_000, hit "causeway_admin_requests_total";
    }
}

section! {
    /// An operator with a bearer token.
    TokenConfig {
        /// SHA-256 of the token in hexadecimal; `causeway config token` makes a token and its hash.
        sha256: String = String::new() => restart, required "6a09e667...";
        /// What it may do.
        role: Role = Role::Viewer => restart;
    }
}

choice! {
    /// What an operator may do; the policies say what each means.
    Role {
        /// Looks.
        Viewer = "viewer",
        /// Looks, and changes devices.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    }
}

choice! {
    /// Whom the file mode of the admin socket lets in.
    SocketMode {
        /// Mode 0600.
        Owner = "owner",
        /// Mode 0660.
        Group = "group",
    }
}
