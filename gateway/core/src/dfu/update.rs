//! What becomes of one device's update: a state machine of what the device says and what it is told.
//!
//! Which release a device is to get is decided elsewhere and is an argument, like the time. What has to be on the disk
//! before anybody can see what follows from it is returned: [`Outcome`].

mod attempts;
mod state;
mod target;

use std::mem;
use std::sync::Arc;

pub use attempts::{Attempt, Attempts};
pub use state::State;
pub use target::{End, Ended, Tally, Target};

use super::{Assignment, By, Heard, Release, Step, Turn};

/// How failures are met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Attempts at a release before a device does not get it any more.
    pub attempts: u32,
    /// Time between a first failed attempt and the next, in milliseconds; it doubles with each.
    pub back_off_ms: u64,
    /// That time at most.
    pub max_back_off_ms: u64,
    /// How often a device that runs what it ran, and still has all of the release, is told to start it, before that is
    /// a failed attempt: it may not have heard.
    pub swaps: u32,
    /// How often a device may begin anew in one attempt; once more is a failed attempt.
    pub restarts: u32,
}

/// What a device is to get, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// Nothing.
    Nothing,
    /// It cannot be said now: the release cannot be looked up.
    Unknown,
    /// This release, by that assignment.
    Release(&'a Arc<Release>, &'a By),
}

/// What has to be on the disk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Turning points in their order, each with whose assignment it is about.
    pub turns: Vec<(By, Turn)>,
    /// Attempts that are over.
    pub ended: Vec<Ended>,
    /// Attempts do not count any more, without a turning point that says so.
    pub taken_back: bool,
}

impl Outcome {
    /// Whether nothing turned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.ended.is_empty() && !self.taken_back
    }
}

/// What is known of one device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// What it runs, once it has said so.
    pub running: Option<Arc<str>>,
    /// When it was last heard, Unix ms.
    pub heard_ms: u64,
    /// Where its update is.
    pub state: State,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// The release that the state is about.
    pub target: Option<Box<Target>>,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// The attempts at releases.
    pub attempts: Attempts,
}

impl Standing {
    /// The device said how it is.
    pub fn heard(&mut self, heard: &Heard, wanted: Wanted<'_>, limits: &Limits, now_ms: u64) -> Outcome {
        let mut outcome = Outcome::default();
        if self.running.as_deref() != Some(heard.version.as_str()) {
            self.running = Some(heard.version.as_str().into());
        }
        self.heard_ms = now_ms;
        self.conclude(heard, wanted, limits, &mut outcome, now_ms);
        self.want(wanted, &mut outcome, now_ms);
        self.follow(heard);
        outcome
    }

    /// The device is about to be told something under an assignment. The order to start the release waits from then on
    /// until it is [`sent`](Self::sent) or is not; until then no other is given.
    pub fn told(&mut self, assignment: &Assignment, step: &Step, now_ms: u64) -> Outcome {
        let mut outcome = Outcome::default();
        self.want(Wanted::Release(&assignment.release, &assignment.by), &mut outcome, now_ms);
        match step {
            Step::Wait | Step::Sync => outcome.taken_back = self.unsent(now_ms),
            Step::Write { offset, length, patch } => {
                outcome.taken_back = self.unsent(now_ms);
                if self.state != State::Transferring {
                    self.begin(&mut outcome, now_ms);
                }
                if let Some(target) = &mut self.target {
                    target.tally.write(*offset, *length, patch);
                }
            }
            Step::Swap => self.swap(&mut outcome, now_ms),
        }
        outcome
    }

    /// The order to start the release goes out now; `false` if it must not any more, for something else has come of the
    /// device since.
    pub fn sent(&mut self) -> bool {
        self.target.as_mut().is_some_and(|target| mem::take(&mut target.waiting))
    }

    /// The order to start the release does not go out, and is none; `false` if none waits.
    pub fn unsent(&mut self, now_ms: u64) -> bool {
        let Some(target) = self.target.as_mut().filter(|target| target.waiting) else { return false };
        target.waiting = false;
        target.tally.swaps = target.tally.swaps.saturating_sub(1);
        if target.tally.swaps == 0 {
            self.attempts.uncount(&target.version);
            self.enter(State::Transferring, now_ms);
        }
        true
    }

    /// Lets the device have again what it failed at; `false` if there is nothing to forgive.
    pub fn forgive(&mut self, now_ms: u64) -> bool {
        let blamed = matches!(self.state, State::Failed | State::Quarantined);
        if !blamed && !self.attempts.blocked() {
            return false;
        }
        self.attempts.clear();
        if let (State::Swapping, Some(target)) = (self.state, &self.target) {
            // The attempt that is under way goes on, as the first.
            self.attempts.count(&target.version);
        }
        if blamed {
            self.reason = None;
            self.enter(State::Assigned, now_ms);
        }
        true
    }

    /// Whether an attempt is under way and the device says nothing.
    #[must_use]
    pub const fn is_stalled(&self, stalled_ms: u64, now_ms: u64) -> bool {
        self.state.is_under_way() && now_ms.saturating_sub(self.heard_ms) >= stalled_ms
    }

    /// Which attempt at a version the next block or start belongs to, from 1.
    #[must_use]
    pub fn attempt(&self, version: &str) -> u32 {
        let made = self.attempts.of(version).made;
        let running = self.state == State::Swapping && self.is_about(version);
        if running { made } else { made.saturating_add(1) }
    }

    /// Which attempt the state is about, from 1; 0 if there was none.
    #[must_use]
    pub fn latest_attempt(&self) -> u32 {
        let Some(target) = &self.target else { return 0 };
        match self.state {
            State::Assigned | State::Transferring => self.attempt(&target.version),
            _ => self.attempts.of(&target.version).made,
        }
    }

    /// Whether what the device has stored of a version is not to be built on.
    #[must_use]
    pub fn restart(&self, version: &str) -> bool {
        match &self.target {
            Some(target) if target.version == version => target.restart,
            _ => self.state.is_under_way() || self.attempts.of(version).made > 0,
        }
    }

    /// Whether the device is to be told that what it runs is right, so that it begins anew with the release.
    #[must_use]
    pub fn is_astray(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.astray)
    }

    fn is_about(&self, version: &str) -> bool {
        self.target.as_ref().is_some_and(|target| target.version == version)
    }

    /// What the device runs now says how an attempt ended.
    fn conclude(&mut self, heard: &Heard, wanted: Wanted<'_>, limits: &Limits, outcome: &mut Outcome, now_ms: u64) {
        let Some(target) = &self.target else { return };
        if heard.version == target.version {
            if self.state != State::Confirmed {
                self.confirm(outcome, now_ms);
            }
            return;
        }
        match self.state {
            State::Swapping if target.given() == 0 => {}
            State::Swapping if target.may_not_be_heard(heard) && target.given() < limits.swaps => {}
            State::Swapping => {
                let reason = format!("it runs {} after it was told to start {}", heard.version, target.version);
                self.fail(reason, limits, outcome, now_ms);
            }
            State::Confirmed => {
                let (version, name) = (&target.version, &target.name);
                let still = matches!(wanted, Wanted::Unknown)
                    || matches!(wanted, Wanted::Release(release, _) if release.version == *version && release.name == *name);
                if still {
                    let reason = format!("it runs {} although it has run {version}", heard.version);
                    self.fail(reason, limits, outcome, now_ms);
                }
            }
            State::Transferring if target.begins_anew(heard) && target.tally.restarts >= limits.restarts => {
                let reason = format!("it began {} anew more than {} times", target.version, limits.restarts);
                self.fail(reason, limits, outcome, now_ms);
            }
            State::Transferring if target.goes_astray(heard) && target.tally.restarts >= limits.restarts => {
                let reason = format!("it was to begin {} anew more than {} times", target.version, limits.restarts);
                self.fail(reason, limits, outcome, now_ms);
            }
            State::Idle | State::Assigned | State::Transferring | State::Failed | State::Quarantined => {}
        }
    }

    /// The device is to get what is wanted from now on.
    fn want(&mut self, wanted: Wanted<'_>, outcome: &mut Outcome, now_ms: u64) {
        match wanted {
            Wanted::Unknown => {}
            Wanted::Nothing => {
                let runs_it = self.state == State::Confirmed && self.runs_target();
                if self.target.is_some() && !runs_it {
                    self.supersede(outcome, now_ms);
                    self.target = None;
                    self.reason = None;
                    self.enter(State::Idle, now_ms);
                }
            }
            Wanted::Release(release, by) => match &mut self.target {
                Some(target) if target.is(release) && target.by == *by => {}
                Some(target) if target.is(release) => {
                    target.by = by.clone();
                    outcome.turns.push((by.clone(), Turn::Assigned));
                    self.tell_end(by, outcome);
                }
                _ => self.assign(release, by, outcome, now_ms),
            },
        }
    }

    /// Another release than before.
    fn assign(&mut self, release: &Arc<Release>, by: &By, outcome: &mut Outcome, now_ms: u64) {
        self.supersede(outcome, now_ms);
        let stored = self.target.as_ref().is_some_and(|target| {
            self.state.is_under_way() || (target.version == release.version && target.image != release.image)
        });
        let from = self.running.as_deref().unwrap_or_default().to_owned();
        let restart = stored || self.attempts.of(&release.version).made > 0;
        self.target = Some(Box::new(Target::new(release, by, from, restart)));
        self.reason = None;
        outcome.turns.push((by.clone(), Turn::Assigned));
        let state = if self.runs_target() {
            State::Confirmed
        } else if self.attempts.of(&release.version).quarantined {
            State::Quarantined
        } else {
            State::Assigned
        };
        self.enter(state, now_ms);
        self.tell_end(by, outcome);
    }

    /// Whoever assigns what is decided already hears how it was decided.
    fn tell_end(&self, by: &By, outcome: &mut Outcome) {
        match self.state {
            State::Confirmed => outcome.turns.push((by.clone(), Turn::Confirmed)),
            State::Quarantined => outcome.turns.push((by.clone(), Turn::Quarantined)),
            _ => {}
        }
    }

    /// What there was before is over; an attempt that is under way ends without a verdict and does not count.
    fn supersede(&mut self, outcome: &mut Outcome, now_ms: u64) {
        if self.state.is_under_way() {
            self.end(End::Superseded, outcome, now_ms);
        }
        let Some(target) = &self.target else { return };
        match self.state {
            // What went well is no blame, should it be assigned again one day.
            State::Confirmed => outcome.taken_back |= self.attempts.forget(&target.version),
            State::Swapping => self.attempts.uncount(&target.version),
            _ => {}
        }
    }

    fn begin(&mut self, outcome: &mut Outcome, now_ms: u64) {
        let Some(target) = &mut self.target else { return };
        if let Some(running) = &self.running {
            target.from = running.as_ref().to_owned();
        }
        target.started_ms = Some(now_ms);
        target.tally = Tally::default();
        outcome.turns.push((target.by.clone(), Turn::Started));
        self.enter(State::Transferring, now_ms);
    }

    fn swap(&mut self, outcome: &mut Outcome, now_ms: u64) {
        if self.target.as_ref().is_some_and(|target| target.waiting) {
            return;
        }
        if !self.state.is_under_way() {
            self.begin(outcome, now_ms);
        }
        let Some(target) = &mut self.target else { return };
        if target.tally.patch.is_none() {
            target.tally.offset = target.size;
        }
        target.tally.swaps = target.tally.swaps.saturating_add(1);
        target.waiting = true;
        let (by, version) = (target.by.clone(), target.version.clone());
        if self.state != State::Swapping {
            self.attempts.count(&version);
            self.enter(State::Swapping, now_ms);
        }
        outcome.turns.push((by, Turn::SwapSent(self.attempts.of(&version).made)));
    }

    fn confirm(&mut self, outcome: &mut Outcome, now_ms: u64) {
        let Some(target) = &self.target else { return };
        let by = target.by.clone();
        // A device that comes up late runs the release all the same.
        if self.state != State::Assigned {
            self.end(End::Confirmed, outcome, now_ms);
        }
        outcome.turns.push((by, Turn::Confirmed));
        self.reason = None;
        if let Some(target) = &self.target {
            self.attempts.settle(&target.version);
        }
        self.enter(State::Confirmed, now_ms);
    }

    fn fail(&mut self, reason: String, limits: &Limits, outcome: &mut Outcome, now_ms: u64) {
        let Some(target) = &self.target else { return };
        let (by, version) = (target.by.clone(), target.version.clone());
        self.end(End::Failed(reason.clone()), outcome, now_ms);
        if self.state == State::Transferring {
            // It counts although the device was never told to start the release.
            self.attempts.count(&version);
        }
        let attempt = self.attempts.of(&version).made;
        outcome.turns.push((by.clone(), Turn::Failed { attempt, reason: reason.clone() }));
        self.reason = Some(reason);
        if let Some(target) = &mut self.target {
            target.restart = true;
        }
        let quarantined = self.attempts.fail(&version, limits, now_ms);
        if quarantined {
            outcome.turns.push((by, Turn::Quarantined));
        }
        self.enter(if quarantined { State::Quarantined } else { State::Failed }, now_ms);
    }

    fn end(&self, end: End, outcome: &mut Outcome, now_ms: u64) {
        let Some(target) = &self.target else { return };
        outcome.ended.push(Ended { target: (**target).clone(), attempt: self.latest_attempt(), end, at_ms: now_ms });
    }

    /// The device's own word on how far it is.
    fn follow(&mut self, heard: &Heard) {
        let Some(target) = self.target.as_mut().filter(|_| self.state == State::Transferring) else { return };
        let offset = target.offset(heard);
        target.astray = target.goes_astray(heard);
        if target.astray || target.begins_anew(heard) {
            target.tally.restarts = target.tally.restarts.saturating_add(1);
        }
        // It has taken the first block: from here on it has this image.
        if (1..=u64::from(target.tally.first)).contains(&offset) {
            target.restart = false;
        }
        // What it counts on from is not of this image; that it begins anew then is counted already.
        target.tally.offset = if target.astray { 0 } else { offset };
    }

    fn runs_target(&self) -> bool {
        self.running.as_deref().is_some_and(|running| self.is_about(running))
    }

    fn enter(&mut self, state: State, now_ms: u64) {
        if let Some(target) = &mut self.target {
            target.waiting &= state == State::Swapping;
            target.astray &= state == State::Transferring;
        }
        self.state = state;
        self.since_ms = now_ms;
    }
}

#[cfg(test)]
mod tests;
