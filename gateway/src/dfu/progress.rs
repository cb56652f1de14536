//! What is published of a device's progress: when it turns, and now and then while blocks go out.
//!
//! Publications are not retained: who subscribes late asks `/v1/dfu/devices`, and a device that is gone leaves nothing
//! behind in the broker.

use std::time::Duration;

use bytestring::ByteString;
use causeway_core::dfu::update::{Standing, State};
use causeway_core::message::{Message, Properties};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What was published of a device last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    step: u64,
    at_ms: u64,
}

/// How often progress is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    /// Percent from one publication to the next.
    pub(super) percent: u64,
    /// Time between two.
    pub(super) interval: Duration,
}

impl Published {
    /// Whether so many percent are worth a publication, which is counted as done then.
    pub(super) fn is_due(&mut self, percent: u64, pacing: Pacing, now_ms: u64) -> bool {
        let step = percent / pacing.percent.max(1);
        let interval_ms = u64::try_from(pacing.interval.as_millis()).unwrap_or(u64::MAX);
        let due = step != self.step && now_ms.saturating_sub(self.at_ms) >= interval_ms;
        if due {
            *self = Self { step, at_ms: now_ms };
        }
        due
    }

    /// A turning point was published.
    pub(super) fn turned(&mut self, percent: u64, pacing: Pacing, now_ms: u64) {
        *self = Self { step: percent / pacing.percent.max(1), at_ms: now_ms };
    }
}

/// How much of `size` a device has, in percent.
pub(super) fn percent(standing: &Standing, size: u64) -> u64 {
    let offset = standing.target.as_ref().map_or(0, |target| target.tally.offset);
    match standing.state {
        State::Swapping | State::Confirmed => 100,
        State::Transferring => (offset.min(size) * 100).checked_div(size).unwrap_or_default(),
        State::Idle | State::Assigned | State::Failed | State::Quarantined => 0,
    }
}

/// The publication of a device's progress.
pub(super) fn message(topic: &ByteString, device: &str, standing: &Standing, size: u64, now_ms: u64) -> Message {
    let target = standing.target.as_deref();
    let text = json!({
        "device": device,
        "version": standing.running,
        "target": target.map(|target| &target.version),
        "state": standing.state.word(),
        "offset": target.map_or(0, |target| target.tally.offset),
        "size": size,
        "percent": percent(standing, size),
        "attempt": standing.latest_attempt(),
        "reason": standing.reason,
        "at": rfc3339(now_ms),
    });
    Message {
        topic: topic.clone(),
        payload: text.to_string().into(),
        received_ms: now_ms,
        properties: Properties { content_type: Some("application/json".into()), utf8: true, ..Properties::default() },
        ..Message::default()
    }
}

/// A time as people read it.
pub(super) fn rfc3339(ms: u64) -> Option<String> {
    let seconds = i64::try_from(ms / 1_000).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACING: Pacing = Pacing { percent: 5, interval: Duration::from_secs(1) };

    #[test]
    fn progress_is_published_every_few_percent_and_not_too_often() {
        let mut published = Published::default();
        let due: Vec<_> = [(0, 0), (4, 2_000), (5, 3_000), (7, 9_000), (12, 3_500), (12, 4_000), (100, 4_999)]
            .map(|(percent, now_ms)| published.is_due(percent, PACING, now_ms))
            .to_vec();
        assert_eq!(due, [false, false, true, false, false, true, false]);
        published.turned(100, PACING, 5_000);
        assert!(!published.is_due(100, PACING, 9_000));
        assert!(published.is_due(0, PACING, 9_000), "a device that begins anew");
    }

    #[test]
    fn a_transfer_of_nothing_is_at_its_beginning_until_it_is_at_its_end() {
        let mut standing = Standing { state: State::Transferring, ..Standing::default() };
        assert_eq!(percent(&standing, 0), 0);
        standing.state = State::Swapping;
        assert_eq!(percent(&standing, 0), 100);
    }
}
