//! Routes about server certificates, authorities and revocation lists.

use serde_json::{Value as Json, json};

use super::Context;
use super::reload::What;
use super::route::{Call, Refused};

/// What each listener presents and until when it is good.
pub(super) async fn list(context: Context, _: Call) -> Result<Json, Refused> {
    let listeners = context.tls.iter().map(|(name, tls)| {
        let warnings: Vec<String> = tls.warnings().iter().map(ToString::to_string).collect();
        json!({
            "listener": name,
            "server_name": tls.server_name(),
            "not_after_ms": tls.not_after_ms(),
            "next_update_ms": tls.next_update_ms(),
            "warnings": warnings,
        })
    });
    Ok(listeners.collect())
}

/// Reads the files of all listeners again.
pub(super) async fn reload(context: Context, _: Call) -> Result<Json, Refused> {
    super::policies::reloaded(context.reloads.run(What::Certificates).await)
}
