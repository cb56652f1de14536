//! `causeway campaign watch`: how a campaign goes on. On a terminal one picture that is drawn again, otherwise a line, or
//! with `-o json` an object, whenever something has changed.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use causeway_core::dfu::campaign::Standing;
use clap::Args;
use serde_json::Value as Json;

use super::{count, failing, states, waves};
use crate::cli::client::Client;
use crate::cli::output::printable;
use crate::cli::show::{items, text};
use crate::cli::{Exit, Failure, Output};
use crate::config::show_duration;

/// Characters of a bar.
const BAR: u64 = 30;

/// The time over which the rate is measured.
const PACE: Duration = Duration::from_secs(300);

/// Waves that a picture shows; the others are told as a number.
const SHOWN: usize = 16;

#[derive(Debug, Args)]
pub(super) struct Watch {
    name: String,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// Look once and end.
    #[arg(long)]
    once: bool,
}

impl Watch {
    pub(super) fn run(self, client: &Client, output: &mut Output) -> Result<(), Failure> {
        let (begin, drawn) = (Instant::now(), std::io::stdout().is_terminal() && !output.is_json());
        let (mut pace, mut last) = (Pace::default(), Json::Null);
        loop {
            let campaign = client.get(&["v1", "campaigns", &self.name], &[])?;
            pace.note(count(&campaign, "succeeded"), begin.elapsed());
            if drawn {
                // Home, and erase to the end (ECMA-48 8.3.21, 8.3.39).
                output.text("\x1b[H\x1b[J");
                picture(&campaign, &pace).iter().for_each(|line| output.line(line));
            } else if campaign != last {
                let told = if output.is_json() { campaign.to_string() } else { line(&campaign) };
                output.line(told);
            }
            let state = text(&campaign, "state");
            if state == "aborted" && !self.once {
                let why = campaign["why"].as_str().unwrap_or("no reason is known");
                return Err(Failure::new(Exit::No, format!("campaign {} was aborted: {why}", self.name)));
            }
            if self.once || state == "finished" || !output.is_read() {
                return Ok(());
            }
            last = campaign;
            thread::sleep(Duration::from_secs(self.interval));
        }
    }
}

/// How many devices succeeded, lately.
#[derive(Debug, Default)]
struct Pace(VecDeque<(Duration, u64)>);

impl Pace {
    fn note(&mut self, succeeded: u64, at: Duration) {
        self.0.push_back((at, succeeded));
        while self.0.len() > 2 && self.0.front().is_some_and(|(first, _)| at.saturating_sub(*first) > PACE) {
            self.0.pop_front();
        }
    }

    /// Devices in a second.
    fn rate(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.0.front()?, self.0.back()?);
        let seconds = to.saturating_sub(*from).as_secs_f64();
        let devices = after.checked_sub(*before).filter(|devices| *devices > 0)?;
        (seconds > 0.0).then(|| devices as f64 / seconds)
    }
}

fn picture(campaign: &Json, pace: &Pace) -> Vec<String> {
    let release = &campaign["release"];
    let [name, state] = ["name", "state"].map(|key| text(campaign, key));
    let [firmware, version] = ["name", "version"].map(|key| text(release, key));
    let why = campaign["why"].as_str().map(|why| format!(": {}", printable(why))).unwrap_or_default();
    let mut lines = vec![
        format!("{name}  {firmware} {version}  {state}{why}"),
        format!("all      {}  {}", bar(campaign), counts(campaign)),
    ];
    let all = items(campaign, "waves");
    // The newest open wave is in the picture, with what is around it.
    let current = campaign["wave"].as_u64().and_then(|wave| usize::try_from(wave).ok()).unwrap_or(0);
    let first = current.saturating_sub(SHOWN / 2).min(all.len().saturating_sub(SHOWN));
    for wave in all.iter().skip(first).take(SHOWN) {
        let open = if wave["open"] == true { counts(wave) } else { format!("{} wait", text(wave, "devices")) };
        lines.push(format!("wave {:<3} {}  {open}", text(wave, "wave"), bar(wave)));
    }
    if all.len() > SHOWN {
        lines.push(format!("         {} more waves", all.len() - SHOWN));
    }
    lines.push(pace_of(campaign, pace));
    lines
}

fn line(campaign: &Json) -> String {
    let [name, state] = ["name", "state"].map(|key| text(campaign, key));
    let why = campaign["why"].as_str().map(|why| format!(" ({})", printable(why))).unwrap_or_default();
    let waves = waves(campaign);
    format!("{name}: {state}{why}, wave {waves}, {} % done: {}", percent(campaign), counts(campaign))
}

/// The part that is done, and the part that fails.
fn bar(of: &Json) -> String {
    let devices = of["devices"].as_u64().unwrap_or(0).max(1);
    let part = |count: u64| usize::try_from(count * BAR / devices).unwrap_or(0);
    let done = part(count(of, "succeeded") + count(of, "skipped") + count(of, "cancelled"));
    let failing = part(failing(of));
    let width = usize::try_from(BAR).unwrap_or(0);
    let rest = width.saturating_sub(done + failing);
    format!("[{}{}{}] {:>3} %", "#".repeat(done), "!".repeat(failing), ".".repeat(rest), percent(of))
}

/// Devices that the campaign waits for no longer, of a hundred.
fn percent(of: &Json) -> u64 {
    let over = Standing::ALL.into_iter().filter(|standing| standing.is_final());
    let done = over.map(|standing| count(of, standing.word())).sum::<u64>();
    match of["devices"].as_u64() {
        None | Some(0) => 100,
        Some(devices) => done * 100 / devices,
    }
}

fn counts(of: &Json) -> String {
    let counts = states().into_iter().map(|state| (count(of, state), state)).filter(|(count, _)| *count > 0);
    counts.map(|(count, state)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}

fn pace_of(campaign: &Json, pace: &Pace) -> String {
    let open: u64 = ["queued", "offered", "in-progress", "failed"].iter().map(|state| count(campaign, state)).sum();
    match pace.rate() {
        Some(rate) => {
            let left = Duration::from_secs((open as f64 / rate).min(1e9) as u64);
            format!("{:.1} devices a minute, {open} left, about {}", rate * 60.0, show_duration(left))
        }
        None => format!("{open} devices left"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn campaign() -> Json {
        let counts = json!({ "succeeded": 3, "failed": 1, "queued": 6 });
        let waves = json!([
            { "wave": 1, "open": true, "devices": 4, "counts": { "succeeded": 3, "failed": 1 } },
            { "wave": 2, "open": false, "devices": 6, "counts": { "queued": 6 } },
        ]);
        let release = json!({ "name": "sensor", "version": "0.2.0" });
        json!({ "name": "one", "state": "paused", "why": "1 of 4\u{1b}", "release": release, "devices": 10,
                "wave": 1, "waves": waves, "counts": counts })
    }

    #[test]
    fn a_picture_has_the_waves_with_their_bars_and_what_is_left() {
        let mut pace = Pace::default();
        pace.note(1, Duration::ZERO);
        pace.note(3, Duration::from_secs(60));
        assert_eq!(
            picture(&campaign(), &pace),
            [
                "one  sensor 0.2.0  paused: 1 of 4\u{fffd}",
                "all      [#########!!!..................]  30 %  6 queued, 3 succeeded, 1 failed",
                "wave 1   [######################!!!!!!!.]  75 %  3 succeeded, 1 failed",
                "wave 2   [..............................]   0 %  6 wait",
                "2.0 devices a minute, 7 left, about 210s",
            ]
        );
    }

    #[test]
    fn a_line_says_what_a_picture_does() {
        let expected = "one: paused (1 of 4\u{fffd}), wave 1 of 2, 30 % done: 6 queued, 3 succeeded, 1 failed";
        assert_eq!(line(&campaign()), expected);
    }

    #[test]
    fn a_campaign_of_many_waves_shows_those_around_the_newest_open_one() {
        let waves: Vec<Json> =
            (1..=40).map(|wave| json!({ "wave": wave, "open": wave <= 30, "devices": 1, "counts": {} })).collect();
        let campaign = json!({ "name": "one", "state": "running", "wave": 30, "waves": waves, "devices": 40 });
        let lines = picture(&campaign, &Pace::default());
        assert!(lines.iter().any(|line| line.starts_with("wave 30 ")), "{lines:#?}");
        assert!(lines.len() <= SHOWN + 4);
    }

    #[test]
    fn the_rate_is_that_of_the_last_minutes() {
        let mut pace = Pace::default();
        assert_eq!(pace.rate(), None);
        for minute in 0..20 {
            pace.note(minute, Duration::from_secs(minute * 60));
        }
        assert_eq!(pace.rate(), Some(1.0 / 60.0));
    }
}
