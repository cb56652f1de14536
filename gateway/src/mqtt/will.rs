//! Wills that wait for their delay (MQTT5 3.1.3.2.2).
//!
//! A will is published when its delay is over or its session ends, whichever comes first, and is forgotten when the
//! client comes back before. Whether its publisher may still publish it is asked when it fires, by the broker.
//! The gateway's own shutdown fires no wills: the clients did not fail.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_core::message::Message;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::policy::Principal;

/// A will that is authorised and waits.
#[derive(Clone, Debug)]
pub struct Will {
    /// What is published; its time is set when it fires.
    pub message: Message,
    /// Who asked for it.
    pub principal: Principal,
    /// How long it waits after the connection was lost.
    pub delay: Duration,
}

/// The wills of sessions whose connection was lost; at most one for each session.
#[derive(Default)]
pub struct Wills {
    pending: Mutex<HashMap<u64, (Instant, Will)>>,
    changed: Notify,
}

impl Wills {
    /// The connection of a session was lost.
    pub fn schedule(&self, session: u64, will: Will) {
        self.lock().insert(session, (Instant::now() + will.delay, will));
        self.changed.notify_one();
    }

    /// The client came back to its session.
    pub fn cancel(&self, session: u64) {
        self.lock().remove(&session);
    }

    /// The session is over: its will waits no longer (MQTT5 3.1.2.5).
    pub fn session_ended(&self, session: u64) {
        if let Some((due, _)) = self.lock().get_mut(&session) {
            *due = Instant::now();
            self.changed.notify_one();
        }
    }

    /// Resolves with the next will whose time has come. Cancel-safe.
    pub async fn next(&self) -> Will {
        loop {
            let changed = self.changed.notified();
            match self.take_due(Instant::now()) {
                Ok(will) => return will,
                Err(Some(due)) => {
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
                Err(None) => changed.await,
            }
        }
    }

    /// A will that is due, or when the next one is.
    fn take_due(&self, now: Instant) -> Result<Will, Option<Instant>> {
        let mut pending = self.lock();
        let Some((&session, &(due, _))) = pending.iter().min_by_key(|(_, (due, _))| *due) else { return Err(None) };
        if due > now {
            return Err(Some(due));
        }
        pending.remove(&session).map(|(_, will)| will).ok_or(None)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Instant, Will)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn will(topic: &'static str, delay_s: u64) -> Will {
        let message = Message { topic: topic.into(), ..Message::default() };
        Will { message, principal: Principal::Gateway, delay: Duration::from_secs(delay_s) }
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    fn due(wills: &Wills, now: Instant) -> Option<String> {
        wills.take_due(now).ok().map(|will| will.message.topic.to_string())
    }

    #[test]
    fn wills_fire_in_the_order_of_their_delays() {
        let wills = Wills::default();
        wills.schedule(1, will("late", 20));
        wills.schedule(2, will("soon", 10));
        assert_eq!(due(&wills, after(5)), None);
        assert_eq!(due(&wills, after(30)), Some("soon".to_owned()));
        assert_eq!(due(&wills, after(30)), Some("late".to_owned()));
        assert_eq!(due(&wills, after(30)), None);
    }

    #[test]
    fn a_client_that_comes_back_cancels_its_will() {
        let wills = Wills::default();
        wills.schedule(1, will("cancelled", 1));
        wills.cancel(1);
        assert_eq!(due(&wills, after(60)), None);
    }

    #[tokio::test]
    async fn the_end_of_the_session_fires_its_will_at_once() {
        let wills = Wills::default();
        wills.schedule(1, will("ended", 3600));
        wills.session_ended(1);
        let next = tokio::time::timeout(Duration::from_secs(5), wills.next()).await.unwrap();
        assert_eq!(next.message.topic, "ended");
    }
}
