//! Keeps the policies like their files: reloads on SIGHUP, and when the files have changed and stopped changing.
//!
//! A refused set is logged with each of its problems; the one before stays in force.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::files::Fingerprint;
use super::{Policies, Problem, Reloaded};

/// How often the files are looked at. A change is taken up when two looks agree, so within two of these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until `stop`; fails only if the signal cannot be listened for.
pub async fn watch(policies: Policies, stop: CancellationToken) -> io::Result<()> {
    run(policies, LOOK_EVERY, stop).await
}

async fn run(policies: Policies, every: Duration, stop: CancellationToken) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut files = Settled::default();
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangup.recv() => true,
            _ = looks.tick() => false,
        };
        let reader = policies.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let changed = reader.origin().fingerprint().is_some_and(|now| files.look(now));
            let reloaded = (asked || changed).then(|| reader.reload());
            (files, reloaded)
        });
        // The task ends early only when the runtime does.
        let Ok((seen, reloaded)) = looked.await else { return Ok(()) };
        files = seen;
        if let Some(reloaded) = reloaded {
            report(&reloaded, policies.generation());
        }
    }
}

/// Tells a change that is complete from one that is being written: the files must look the same twice.
#[derive(Default)]
struct Settled {
    last: Option<Fingerprint>,
    taken: Option<Fingerprint>,
}

impl Settled {
    /// Takes note of a look at the files; true if they have changed since they were last taken up and are settled.
    fn look(&mut self, now: Fingerprint) -> bool {
        let settled = self.last.as_ref() == Some(&now);
        let news = self.taken.as_ref() != Some(&now);
        if settled && news {
            self.taken = Some(now.clone());
        }
        self.last = Some(now);
        settled && news
    }
}

fn report(reloaded: &Result<Reloaded, Vec<Problem>>, generation: u64) {
    match reloaded {
        Ok(Reloaded::Unchanged) => tracing::debug!("policies are unchanged"),
        Ok(Reloaded::Changed { policies, templates }) => {
            tracing::info!(policies, templates, generation, "policies reloaded");
        }
        Err(problems) => {
            for problem in problems {
                let (file, line) = (problem.file.display(), problem.line);
                tracing::error!(%file, line, remedy = problem.remedy, "policy problem: {}", problem.message);
            }
            tracing::error!(problems = problems.len(), "policies refused, the earlier ones stay in force");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::policy::export;

    fn fingerprint(bytes: u64) -> Fingerprint {
        [(PathBuf::from("a.cedar"), (bytes, None))].into()
    }

    #[test]
    fn a_change_is_taken_up_once_and_only_when_it_is_complete() {
        let mut files = Settled::default();
        let looks = [1, 1, 1, 2, 3, 3, 3, 1, 1].map(|bytes| files.look(fingerprint(bytes)));
        assert_eq!(looks, [false, true, false, false, false, true, false, false, true]);
    }

    #[tokio::test]
    async fn a_changed_file_is_in_force_soon_and_watching_ends_when_told() {
        let directory = tempfile::tempdir().unwrap();
        export(directory.path()).unwrap();
        let policies = Policies::load(Some(directory.path())).unwrap();
        let stop = CancellationToken::new();
        let watching = tokio::spawn(run(policies.clone(), Duration::from_millis(2), stop.clone()));
        let mut changed = policies.changed();
        fs::write(directory.path().join("more.cedar"), "forbid(principal, action, resource);").unwrap();
        tokio::time::timeout(Duration::from_secs(60), changed.changed()).await.unwrap().unwrap();
        assert_eq!(policies.generation(), 2);
        stop.cancel();
        watching.await.unwrap().unwrap();
    }
}
