//! A campaign: one release for a fixed set of devices, wave by wave.
//!
//! `draft → scheduled → running ⇄ paused → finished | aborted`. The next wave opens when enough devices of the last one
//! succeeded; when too many of a wave fail, the campaign pauses or ends. This file decides; what is decided is kept and
//! made to happen by whoever asks. Time and counts are arguments.

mod plan;
mod target;

use std::time::Duration;

use thiserror::Error;

pub use plan::{MAX_WAVES, OnError, Plan, Share, ShareError, Start};
pub use target::{Change, Standing, Tally, Target};

use super::window::{Opening, opening};
use super::{Hold, Release, transition};

const MINUTE: Duration = Duration::from_secs(60);

/// How far a campaign is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// It waits for its approval or for its start by hand.
    Draft,
    /// It begins by itself.
    Scheduled,
    /// Devices are updated.
    Running,
    /// An operator or a threshold stopped it; it goes on when an operator says so.
    Paused,
    /// It waits for no device any more.
    Finished,
    /// An operator or a threshold ended it.
    Aborted,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Scheduled, Self::Running, Self::Paused, Self::Finished, Self::Aborted];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing happens in it any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Aborted)
    }
}

/// How far a campaign is, and how it came to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// How far it is.
    pub state: State,
    /// Why it is paused or was aborted, for the operator.
    pub why: Option<String>,
    /// Whether it was approved.
    pub approved: bool,
    /// The last wave that is open; 0 before the first.
    pub wave: u32,
    /// Failing devices in spite of which an operator let it go on.
    pub tolerated: u64,
    /// Whether an operator let it go on although its last wave is over and too few succeeded.
    pub passed: bool,
    /// When it began, Unix ms.
    pub started_ms: Option<u64>,
    /// When it was over, Unix ms.
    pub ended_ms: Option<u64>,
}

/// What an operator says to a campaign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// It may begin.
    Approve,
    /// It begins.
    Start,
    /// It stops until it is resumed.
    Pause,
    /// It goes on, also in spite of what stopped it.
    Resume,
    /// It ends.
    Abort,
}

/// Why a campaign does not do what it was told.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CommandError {
    /// It is not in a state for that.
    #[error("it is {state} and cannot be {done}", state = .state.word())]
    State {
        /// Its state.
        state: State,
        /// What it was to be.
        done: &'static str,
    },
    /// It needs an approval first.
    #[error("it waits for its approval; `causeway campaign approve` gives it")]
    Unapproved,
    /// It was approved, or needs no approval.
    #[error("it needs no approval")]
    Approved,
}

/// What a campaign means to one of its devices now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Offer {
    /// Nothing: others may give it something.
    Nothing,
    /// It keeps what it runs until its wave opens; nobody else may give it anything.
    Stay,
    /// It gets the release, not now.
    Hold(Hold),
    /// It gets the release.
    Get {
        /// Whether it may be told to start it.
        swap: bool,
    },
}

/// What a release is to a device that runs something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fitness {
    /// It is to get it.
    Due,
    /// It runs it.
    Done,
    /// It may not have it, for this reason.
    Unfit(String),
}

/// What the release is to a device; what a device runs that never said so is found when it asks.
#[must_use]
pub fn fitness(running: Option<&str>, release: &Release, downgrade: bool) -> Fitness {
    match running {
        Some(running) if running == release.version => Fitness::Done,
        Some(running) => match transition::check(running, release, downgrade) {
            Ok(()) => Fitness::Due,
            Err(error) => Fitness::Unfit(error.to_string()),
        },
        None => Fitness::Due,
    }
}

impl Progress {
    /// That of a campaign that has just been made.
    #[must_use]
    pub const fn new(plan: &Plan) -> Self {
        let waits = plan.approval || matches!(plan.start, Start::ByHand);
        Self {
            state: if waits { State::Draft } else { State::Scheduled },
            why: None,
            approved: false,
            wave: 0,
            tolerated: 0,
            passed: false,
            started_ms: None,
            ended_ms: None,
        }
    }

    /// Does what an operator says. `tallies` are those of the waves, from wave 0 on.
    ///
    /// # Errors
    /// [`CommandError`]; nothing changes then.
    pub fn command(&self, command: &Command, plan: &Plan, tallies: &[Tally], at_ms: u64) -> Result<Self, CommandError> {
        use State::{Aborted, Draft, Paused, Running, Scheduled};
        let refused = |done| CommandError::State { state: self.state, done };
        let to = |state| Self { state, why: None, ..self.clone() };
        match (command, self.state) {
            (Command::Approve, Draft) if plan.approval && !self.approved => {
                let state = if plan.start == Start::ByHand { Draft } else { Scheduled };
                Ok(Self { approved: true, ..to(state) })
            }
            (Command::Approve, Draft | Scheduled | Running | Paused) => Err(CommandError::Approved),
            (Command::Approve, _) => Err(refused("approved")),
            (Command::Start, Draft) if plan.approval && !self.approved => Err(CommandError::Unapproved),
            (Command::Start, Draft | Scheduled) => Ok(self.begun(at_ms)),
            (Command::Start, _) => Err(refused("started")),
            (Command::Pause, Scheduled | Running) => {
                Ok(Self { why: Some("an operator paused it".to_owned()), ..to(Paused) })
            }
            (Command::Pause, _) => Err(refused("paused")),
            (Command::Resume, Paused) if self.wave == 0 => Ok(to(Scheduled)),
            (Command::Resume, Paused) => {
                let over = tally(tallies, self.wave).open() == 0;
                Ok(Self { tolerated: self.erring(tallies), passed: over, ..to(Running) })
            }
            (Command::Resume, _) => Err(refused("resumed")),
            (Command::Abort, state) if state.is_over() => Err(refused("aborted")),
            (Command::Abort, _) => {
                let why = Some("an operator aborted it".to_owned());
                Ok(Self { why, ended_ms: Some(at_ms), ..to(Aborted) })
            }
        }
    }

    /// The next thing that happens by itself, if one does now; there may be another one behind it.
    #[must_use]
    pub fn next(&self, plan: &Plan, tallies: &[Tally], at_ms: u64) -> Option<Self> {
        match self.state {
            State::Scheduled if matches!(plan.start, Start::At(start_ms) if start_ms > at_ms) => None,
            State::Scheduled => Some(self.begun(at_ms)),
            State::Running => self
                .stopped(plan, tallies, at_ms)
                .or_else(|| self.relieved(tallies))
                .or_else(|| self.advanced(plan, tallies, at_ms)),
            State::Draft | State::Paused | State::Finished | State::Aborted => None,
        }
    }

    /// What the campaign means to one of its devices.
    #[must_use]
    pub fn offer(&self, plan: &Plan, target: &Target, at_ms: u64) -> Offer {
        let began = self.wave > 0 && matches!(self.state, State::Running | State::Paused);
        if !began || target.standing.is_final() && !target.standing.may_come() {
            return Offer::Nothing;
        }
        if target.wave > self.wave {
            return Offer::Stay;
        }
        if self.state == State::Paused {
            return Offer::Hold(Hold::Paused);
        }
        match opening(&plan.windows, at_ms) {
            Opening::Open => Offer::Get { swap: true },
            Opening::Shut(_) if plan.preload => Offer::Get { swap: false },
            Opening::Shut(opens) => Offer::Hold(Hold::Window { opens_ms: Some(opens) }),
        }
    }

    /// Whether time counts for devices that are in progress: not in a pause, and not between two windows.
    #[must_use]
    pub fn is_going(&self, plan: &Plan, at_ms: u64) -> bool {
        self.state == State::Running && opening(&plan.windows, at_ms) == Opening::Open
    }

    /// The end of the wait for a device that takes too long: one that has been in progress for `passed`, of the time that
    /// counts ([`Self::is_going`]).
    #[must_use]
    pub fn overdue(&self, plan: &Plan, target: &Target, passed: Duration, at_ms: u64) -> Option<Change> {
        let minutes = plan.device_timeout?;
        let waits = self.state == State::Running && target.standing == Standing::InProgress;
        (waits && passed >= MINUTE * minutes).then(|| Change::timed_out(minutes, at_ms))
    }

    /// Applies a change to one of its devices; false if it comes too late to matter. When the campaign is over, all that
    /// can still be is that a device has the release.
    pub fn apply(&self, target: &mut Target, change: &Change) -> bool {
        (!self.state.is_over() || change.to == Standing::Succeeded) && target.apply(change)
    }

    fn begun(&self, at_ms: u64) -> Self {
        Self { state: State::Running, why: None, wave: 1, started_ms: Some(at_ms), ..self.clone() }
    }

    /// Devices of open waves that fail.
    fn erring(&self, tallies: &[Tally]) -> u64 {
        (1..=self.wave).map(|wave| tally(tallies, wave).erring()).sum()
    }

    /// Stopped by the error threshold of an open wave.
    fn stopped(&self, plan: &Plan, tallies: &[Tally], at_ms: u64) -> Option<Self> {
        let error = u64::from(plan.error?);
        if self.erring(tallies) <= self.tolerated {
            return None;
        }
        let beyond = |wave: &u32| {
            let tally = tally(tallies, *wave);
            tally.erring() > 0 && tally.erring() * 100 >= error * tally.counted()
        };
        let wave = (1..=self.wave).find(beyond)?;
        let tally = tally(tallies, wave);
        let why = format!("{} of {} devices of wave {wave} failed", tally.erring(), tally.counted());
        Some(self.ended_by(plan.on_error, why, at_ms))
    }

    /// Fewer fail than were tolerated: the next one that fails counts.
    fn relieved(&self, tallies: &[Tally]) -> Option<Self> {
        let tolerated = self.erring(tallies);
        (tolerated < self.tolerated).then(|| Self { tolerated, ..self.clone() })
    }

    fn ended_by(&self, on_error: OnError, why: String, at_ms: u64) -> Self {
        let (state, ended_ms) = match on_error {
            OnError::Pause => (State::Paused, None),
            OnError::Abort => (State::Aborted, Some(at_ms)),
        };
        Self { state, why: Some(why), ended_ms, ..self.clone() }
    }

    /// The next wave open, the campaign finished, or stopped because its last wave has too few successes.
    fn advanced(&self, plan: &Plan, tallies: &[Tally], at_ms: u64) -> Option<Self> {
        if tallies.iter().all(|tally| tally.open() == 0) {
            return Some(Self { state: State::Finished, why: None, ended_ms: Some(at_ms), ..self.clone() });
        }
        let last = u32::try_from(tallies.len().saturating_sub(1)).unwrap_or(u32::MAX);
        if self.wave >= last {
            return None;
        }
        let tally = tally(tallies, self.wave);
        let (succeeded, counted) = (tally.count(Standing::Succeeded), tally.counted());
        if succeeded * 100 >= u64::from(plan.success) * counted || self.passed && tally.open() == 0 {
            return Some(Self { wave: self.wave + 1, passed: false, ..self.clone() });
        }
        (tally.open() == 0).then(|| {
            let why = format!(
                "wave {} is over and {succeeded} of {counted} devices succeeded, fewer than {} %",
                self.wave, plan.success
            );
            Self { state: State::Paused, why: Some(why), ..self.clone() }
        })
    }
}

fn tally(tallies: &[Tally], wave: u32) -> Tally {
    usize::try_from(wave).ok().and_then(|wave| tallies.get(wave)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
