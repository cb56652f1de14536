//! `listeners:` where devices connect and how they prove who they are.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::section::section;
use super::setting::{Node, Notes, Setting, choice, wrong};

section! {
    /// Where devices connect. Each listener has exactly one of `tls` and `plain`.
    ListenerConfig {
        /// Names the listener in logs, metrics and `causeway status`: lower-case letters, digits and `-`.
        name: String = String::new() => restart, required "devices";
        /// The address and port to listen on.
        bind: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 8883)) => restart, required "\"0.0.0.0:8883\"";
        /// Mutual TLS: the identity of a device is its certificate.
        tls: Option<TlsConfig> = None => restart;
        /// No TLS: every device here has an identity that nobody verified, which shipped policies deny everywhere.
        plain: Option<PlainConfig> = None => restart;
        /// What a denied publish of an MQTT 3.1.1 client meets, which has no reason code: an acknowledgement of a dropped message, or a closed connection.
        on_denied: OnDenied = OnDenied::Ack => restart, hit "causeway_mqtt_denied_publishes_total";
    }
}

section! {
    /// Mutual TLS on one listener. The files are read again at each reload and good clients stay connected.
    TlsConfig {
        /// The server certificate and its chain, PEM.
        certificate: PathBuf = PathBuf::new() => live, required "server.pem";
        /// The private key of the server certificate, PEM.
        key: PathBuf = PathBuf::new() => live, required "server-key.pem";
        /// The certificate authorities that device certificates must chain to, PEM.
        client_ca: PathBuf = PathBuf::new() => live, required "ca.pem";
        /// The revocation lists of those authorities, PEM, one for each; a revoked device loses its session at the reload.
        crl: Option<PathBuf> = None => live, hit "causeway_tls_handshakes_refused_total";
        /// Which names of a certificate are the identity, in order of preference; a certificate with two different names of the kind that decides is refused.
        identity: Vec<IdentitySource> = vec![IdentitySource::Uri, IdentitySource::Dns, IdentitySource::Cn] => restart;
    }
}

section! {
    /// A listener without TLS.
    PlainConfig {
        /// The identity of every device on this listener: `{fixed: legacy}`, or a text with the client id in it: `{client-id: "legacy/{client-id}"}`.
        identity: PlainIdentity = PlainIdentity::Fixed(String::new()) => restart, required "{fixed: legacy}";
    }
}

choice! {
    /// What a denied publish of an MQTT 3.1.1 client meets.
    OnDenied {
        /// The message is dropped and counted, and acknowledged as if it had been taken.
        Ack = "ack",
        /// The connection is closed.
        Close = "close",
    }
}

choice! {
    /// A name in a certificate.
    IdentitySource {
        /// The URI among the subject alternative names.
        Uri = "uri",
        /// The DNS name among the subject alternative names.
        Dns = "dns",
        /// The common name of the subject.
        Cn = "cn",
    }
}

/// Who a device on a plain listener is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainIdentity {
    /// The same identity for all.
    Fixed(String),
    /// A text in which `{client-id}` stands for the MQTT client id.
    ClientId(String),
}

/// What stands for the MQTT client id in [`PlainIdentity::ClientId`].
pub const CLIENT_ID: &str = "{client-id}";

impl Setting for PlainIdentity {
    fn kind() -> String {
        "`{fixed: NAME}` or `{client-id: \"PREFIX/{client-id}\"}`".to_owned()
    }

    fn read(node: &Node<'_>, notes: &mut Notes) -> Option<Self> {
        let Some(entries) = node.value.as_mapping().filter(|entries| entries.len() == 1) else {
            return wrong(node, notes);
        };
        let (fixed, pattern) = (entries.get("fixed"), entries.get("client-id"));
        match (fixed.and_then(|name| name.as_str()), pattern.and_then(|text| text.as_str())) {
            (Some(name), None) if !name.is_empty() => Some(Self::Fixed(name.to_owned())),
            (None, Some(text)) if text.contains(CLIENT_ID) => Some(Self::ClientId(text.to_owned())),
            _ => wrong(node, notes),
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::Fixed(name) => json!({ "fixed": name }),
            Self::ClientId(text) => json!({ "client-id": text }),
        }
    }
}
