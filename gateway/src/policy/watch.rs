//! Notices that the files of the policies have changed, and asks for a reload.
//!
//! Looking is cheap, reading is left to the reload. A file that is being written is let alone until it is complete.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Policies;
use super::files::Fingerprint;

/// How often the files are looked at. A change is taken up when two looks agree, so within two of these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Calls `reload` for each change of the files, until `stop`. A change that was read already, by whomever, is none.
pub async fn watch<F>(policies: Policies, stop: CancellationToken, reload: impl Fn() -> F + Send)
where
    F: Future<Output = ()> + Send,
{
    run(policies, LOOK_EVERY, stop, reload).await;
}

async fn run<F>(policies: Policies, every: Duration, stop: CancellationToken, reload: impl Fn() -> F + Send)
where
    F: Future<Output = ()> + Send,
{
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let looking = policies.clone();
        // The directory may be on a slow disk. A look fails only when the runtime ends.
        let Ok((now, differs)) = tokio::task::spawn_blocking(move || look(&looking)).await else { return };
        if differs && now == last {
            reload().await;
        }
        last = now;
    }
}

/// What the files look like, and whether that is news.
fn look(policies: &Policies) -> (Option<Fingerprint>, bool) {
    let now = policies.origin().fingerprint();
    let differs = now.as_ref().is_some_and(|now| policies.differs(now));
    (now, differs)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::policy::{Problem, Reloaded, export};

    const SOON: Duration = Duration::from_secs(60);

    /// Watches a directory with the shipped policies while `act` runs, and counts the reloads.
    async fn watching<F: Future<Output = ()>>(act: impl FnOnce(Policies, tempfile::TempDir, Arc<AtomicUsize>) -> F) {
        let directory = tempfile::tempdir().unwrap();
        export(directory.path()).unwrap();
        let policies = Policies::load(Some(directory.path())).unwrap();
        let (stop, reloads) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (reader, counter) = (policies.clone(), Arc::clone(&reloads));
        let reload = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let _: Result<Reloaded, Vec<Problem>> = reader.reload();
            std::future::ready(())
        };
        let watching = tokio::spawn(run(policies.clone(), Duration::from_millis(1), stop.clone(), reload));
        tokio::time::timeout(SOON, act(policies, directory, reloads)).await.unwrap();
        stop.cancel();
        watching.await.unwrap();
    }

    /// Writes a file as an editor does, in one step, so that the number of reloads is certain.
    fn put(directory: &Path, text: &str) {
        let hidden = directory.join(".more.cedar");
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, directory.join("more.cedar")).unwrap();
    }

    fn forbid_all(directory: &Path) {
        put(directory, "forbid(principal, action, resource);");
    }

    #[tokio::test]
    async fn a_changed_file_is_in_force_soon() {
        watching(async |policies: Policies, directory: tempfile::TempDir, _| {
            let mut changed = policies.changed();
            forbid_all(directory.path());
            changed.changed().await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_broken_file_is_read_once_and_its_repair_again() {
        watching(async |policies: Policies, directory: tempfile::TempDir, reloads: Arc<AtomicUsize>| {
            put(directory.path(), "permit");
            while reloads.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let mut changed = policies.changed();
            forbid_all(directory.path());
            changed.changed().await.unwrap();
            assert_eq!(reloads.load(Ordering::SeqCst), 2);
        })
        .await;
    }

    #[test]
    fn what_was_read_already_is_no_news() {
        let directory = tempfile::tempdir().unwrap();
        export(directory.path()).unwrap();
        let policies = Policies::load(Some(directory.path())).unwrap();
        assert!(!look(&policies).1);
        forbid_all(directory.path());
        assert!(look(&policies).1);
        policies.reload().unwrap();
        assert!(!look(&policies).1);
    }

    #[test]
    fn the_shipped_policies_never_change() {
        assert_eq!(look(&Policies::load(None).unwrap()), (None, false));
    }
}
