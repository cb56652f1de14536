//! The review of standing: a change of policies or devices reaches the live sessions.
//!
//! A removed or disabled device loses its connections; every other connection is told to check its own subscriptions
//! against the new rules. Certificates are watched by the connections themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::broker::Broker;
use super::session::{Order, Session};
use super::wire::Reason;

/// Changes that come together are reviewed together.
const GATHER: Duration = Duration::from_millis(100);

/// Reviews after each change until `shutdown`.
pub async fn run(broker: Arc<Broker>, shutdown: CancellationToken) {
    let mut devices = broker.devices.changed();
    let mut policies = broker.policies.changed();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = devices.changed() => {
                if changed.is_err() {
                    return;
                }
                // Attributes are what policies decide on: nothing that was decided before holds.
                broker.policies.bump();
            }
            changed = policies.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(GATHER).await;
        devices.mark_unchanged();
        policies.mark_unchanged();
        for session in broker.sessions.all() {
            review(&broker, &session);
        }
    }
}

fn review(broker: &Broker, session: &Session) {
    let device = session.lock().live.as_ref().and_then(|live| live.device.clone());
    let standing = device.map(|device| broker.devices.get(&device.id).filter(|device| device.enabled));
    if let Some(None) = standing {
        info!(device = %session.key.device, client = %session.key.client, "the device was removed or disabled");
        session.order(Order::Close(Reason::NotAuthorized, "the device was removed or disabled"));
    } else {
        session.order(Order::Review);
    }
}
