//! SUBSCRIBE and UNSUBSCRIBE (MQTT5 3.8, 3.10): their filters and subscription options.

use super::properties::{Place, walk};
use super::{FrameError, Input, Limits, Reason, Version};

pub(super) fn check(input: &mut Input<'_>, version: Version, limits: &Limits) -> Result<(), FrameError> {
    input.packet_id()?;
    if version == Version::V5 {
        walk(input, Place::SUBSCRIBE, limits, |_, _| Ok(()))?;
    }
    filters(input, version, limits, |input, shared| check_options(input.u8("subscription options")?, version, shared))
}

pub(super) fn check_unsubscribe(input: &mut Input<'_>, version: Version, limits: &Limits) -> Result<(), FrameError> {
    input.packet_id()?;
    if version == Version::V5 {
        walk(input, Place::UNSUBSCRIBE, limits, |_, _| Ok(()))?;
    }
    filters(input, version, limits, |_, _| Ok(()))
}

/// Reads filters up to the end, each followed by what `after` reads; it is told whether the filter is a shared one.
fn filters(
    input: &mut Input<'_>,
    version: Version,
    limits: &Limits,
    mut after: impl FnMut(&mut Input<'_>, bool) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    if input.is_empty() {
        return Err(FrameError::protocol("payload", "has no topic filter"));
    }
    let mut count = 0;
    while !input.is_empty() {
        count += 1;
        if count > limits.filters {
            return Err(FrameError::new(Reason::QuotaExceeded, "filters", "are more than one packet may carry"));
        }
        let filter = input.any_text("topic filter")?;
        let shared = check_one(filter, version, limits)?;
        after(input, shared)?;
    }
    Ok(())
}

/// Checks a filter and says whether it is a shared subscription, which exists in MQTT 5 only (MQTT5 4.8.2).
fn check_one(filter: &str, version: Version, limits: &Limits) -> Result<bool, FrameError> {
    let shared = if version == Version::V5 { filter.strip_prefix("$share/") } else { None };
    let Some(shared) = shared else {
        return limits.filter(filter).map(|()| false);
    };
    let reason = Reason::TopicFilterInvalid;
    let Some((group, filter)) = shared.split_once('/') else {
        return Err(FrameError::new(reason, "shared subscription", "has no filter after its group"));
    };
    if group.is_empty() {
        return Err(FrameError::new(reason, "shared subscription", "has an empty group"));
    }
    if group.contains(['+', '#']) {
        return Err(FrameError::new(reason, "shared subscription", "has a wildcard in its group"));
    }
    if group.contains('\0') {
        return Err(FrameError::new(reason, "shared subscription", "has the character U+0000 in its group"));
    }
    limits.filter(filter)?;
    Ok(true)
}

fn check_options(options: u8, version: Version, shared: bool) -> Result<(), FrameError> {
    let (no_local, retain_handling) = (options & 0b100 != 0, (options >> 4) & 3);
    match version {
        _ if options & 3 == 3 => Err(FrameError::malformed("requested QoS", "is 3")),
        Version::V311 if options > 2 => Err(FrameError::malformed("requested QoS", "has reserved bits set")),
        Version::V5 if options & 0b1100_0000 != 0 => {
            Err(FrameError::malformed("subscription options", "have reserved bits set"))
        }
        Version::V5 if retain_handling == 3 => Err(FrameError::protocol("retain handling", "is 3")),
        // MQTT5 3.8.3-4.
        Version::V5 if no_local && shared => Err(FrameError::protocol("no local", "is set on a shared subscription")),
        Version::V311 | Version::V5 => Ok(()),
    }
}
