//! What is to become of a device: what it is to get, and how it stands with that.

use causeway_core::dfu::update::{Attempt, Standing, State};
use causeway_core::dfu::{Assignment, Hold, Orders};

use super::Parts;
use crate::devices::Device;
use crate::dfu::Desire;
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

/// How a device stands with a release.
struct Stands {
    /// What it was to get is decided: it runs it, or failed at it too often.
    settled: bool,
    attempt: u32,
    restart: bool,
    astray: bool,
    made: Attempt,
}

impl Stands {
    fn of(standing: &Standing, version: &str) -> Self {
        Self {
            settled: matches!(standing.state, State::Confirmed | State::Quarantined),
            attempt: standing.attempt(version),
            restart: standing.restart(version),
            astray: standing.is_astray(),
            made: standing.attempts.of(version),
        }
    }
}

impl Parts {
    pub(super) fn decide(&self, device: &Device, now_ms: u64) -> Decision {
        let running = self.table.look(&device.id, |entry| entry.standing.running.clone()).flatten();
        let desire = self.sources.desire(device, running.as_deref(), now_ms);
        self.follow(device, running.as_deref(), desire, now_ms)
    }

    /// What follows for a device that runs this version from what it is to get.
    pub(super) fn follow(
        &self,
        device: &Device,
        running: Option<&str>,
        desire: Option<Desire>,
        now_ms: u64,
    ) -> Decision {
        let Some(Desire { by, release, hold, swap, refused, .. }) = desire else { return Decision::stay(None) };
        if let Some(refused) = refused {
            return Decision::stay(Some(refused));
        }
        let version = release.as_ref().map_or("", |release| &release.version);
        let known = self.table.look(&device.id, |entry| Stands::of(&entry.standing, version));
        let full = known.is_none() && !self.table.has_room();
        let Stands { settled, attempt, restart, astray, made } =
            known.unwrap_or_else(|| Stands::of(&Standing::default(), version));
        let release = match release {
            Ok(release) => release,
            // What was found of it holds, although it cannot be looked up now.
            Err(hold) if settled => return Decision::stay(Some(why(&hold))),
            Err(hold) => return Decision::hold(hold),
        };
        if running == Some(release.version.as_str()) {
            return Decision::stay(None);
        }
        if full {
            return Decision::hold(Hold::Full);
        }
        if made.quarantined {
            let why = format!("quarantined for {} after {} failed attempts", release.version, made.made);
            return Decision::stay(Some(why));
        }
        if let Some(hold) = hold {
            return Decision::hold(hold);
        }
        if made.until_ms > now_ms {
            return Decision::hold(Hold::BackOff { until_ms: made.until_ms });
        }
        if astray {
            return Decision::stay(Some("it is to begin anew, and counts on from where it was".to_owned()));
        }
        let why = (!swap).then(|| "it is not to be started yet".to_owned());
        Decision { orders: Orders::Update(Assignment { release, by, swap, attempt, restart }), why }
    }
}
