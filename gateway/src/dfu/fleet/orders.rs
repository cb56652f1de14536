//! What is to become of a device: what it is to get, and how it stands with that.

use causeway_core::dfu::update::{Attempt, State};
use causeway_core::dfu::{Assignment, Hold, Orders};

use super::Parts;
use crate::devices::Device;
use crate::dfu::progress::rfc3339;

/// Orders, and what an operator wants to know beside them.
pub(super) struct Decision {
    pub(super) orders: Orders,
    /// Why it does not get what is assigned to it.
    pub(super) why: Option<String>,
}

impl Decision {
    fn stay(why: Option<String>) -> Self {
        Self { orders: Orders::Stay, why }
    }

    fn hold(hold: Hold) -> Self {
        Self { why: Some(why(&hold)), orders: Orders::Hold(hold) }
    }
}

/// Why a device waits, and until when.
fn why(hold: &Hold) -> String {
    let until = match hold {
        Hold::BackOff { until_ms } => Some(*until_ms),
        Hold::Window { opens_ms } => *opens_ms,
        Hold::Image(_) | Hold::Paused | Hold::Full => None,
    };
    let until = until.and_then(rfc3339).map(|until| format!(" until {until}"));
    format!("{hold}{}", until.unwrap_or_default())
}

impl Parts {
    pub(super) fn decide(&self, device: &Device, now_ms: u64) -> Decision {
        let known = self.table.look(&device.id, |entry| entry.standing.running.clone());
        let running = known.clone().flatten();
        let Some(desire) = self.sources.desire(device, running.as_deref(), now_ms) else {
            return Decision::stay(None);
        };
        if let Some(refused) = desire.refused {
            return Decision::stay(Some(refused));
        }
        if known.is_none() && !self.table.has_room() {
            return Decision::hold(Hold::Full);
        }
        let release = match desire.release {
            Ok(release) => release,
            // What was found of it holds: it runs what it was to get, or failed at it too often.
            Err(hold) if self.is_settled(device) => return Decision::stay(Some(why(&hold))),
            Err(hold) => return Decision::hold(hold),
        };
        if running.as_deref() == Some(release.version.as_str()) {
            return Decision::stay(None);
        }
        let (attempt, restart, made) = self
            .table
            .look(&device.id, |entry| {
                let standing = &entry.standing;
                let version = &release.version;
                (standing.attempt(version), standing.restart(version), standing.attempts.of(version))
            })
            .unwrap_or_else(|| (1, false, Attempt::default()));
        if made.quarantined {
            let why = format!("quarantined for {} after {} failed attempts", release.version, made.made);
            return Decision::stay(Some(why));
        }
        if let Some(hold) = desire.hold {
            return Decision::hold(hold);
        }
        if made.until_ms > now_ms {
            return Decision::hold(Hold::BackOff { until_ms: made.until_ms });
        }
        if self.table.look(&device.id, |entry| entry.standing.is_astray()).unwrap_or(false) {
            return Decision::stay(Some("it is to begin anew, and counts on from where it was".to_owned()));
        }
        let why = (!desire.swap).then(|| "it is not to be started yet".to_owned());
        let orders = Orders::Update(Assignment { release, by: desire.by, swap: desire.swap, attempt, restart });
        Decision { orders, why }
    }

    fn is_settled(&self, device: &Device) -> bool {
        let settled = |state| matches!(state, State::Confirmed | State::Quarantined);
        self.table.look(&device.id, |entry| settled(entry.standing.state)).unwrap_or(false)
    }
}
