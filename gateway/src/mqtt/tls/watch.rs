//! Notices that an operator has replaced a listener's files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Tls;
use crate::config::TlsConfig;

/// How often the files are looked at. A change is taken over after it has been stable for one round, because
/// a certificate and its key are two files.
const ROUND: Duration = Duration::from_secs(1);

/// How often sessions ask again although no file changed: intermediates and authorities expire, too.
const RECHECK: Duration = Duration::from_secs(3_600);

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Tls {
    /// Calls `reload` for each change of the files, until `shutdown`, and logs at first what an operator should know
    /// about them. A change that was read already, by whomever, is none.
    ///
    /// Looks at the files rather than asking the kernel to tell: it also works on overlay and network file
    /// systems, and four `stat` calls a second cost nothing.
    pub async fn watch<F>(self, listener: String, shutdown: CancellationToken, reload: impl Fn() -> F + Send)
    where
        F: Future<Output = ()> + Send,
    {
        for warning in self.warnings() {
            tracing::warn!(listener, "{warning}");
        }
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Vec::new();
        let mut tried = Vec::new();
        let mut rechecked = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = round.tick() => {}
            }
            if rechecked.elapsed() >= RECHECK {
                rechecked = Instant::now();
                self.0.generation.send_modify(|generation| *generation = generation.wrapping_add(1));
            }
            let now = self.stamps().await;
            if now == seen && now != tried && now != self.0.current.load().stamps {
                reload().await;
                tried.clone_from(&now);
            }
            seen = now;
        }
    }

    async fn stamps(&self) -> Vec<Option<Stamp>> {
        let config = self.0.config.clone();
        tokio::task::spawn_blocking(move || stamps(&config)).await.unwrap_or_default()
    }
}

/// The state of a listener's files; a missing one has none.
pub(super) fn stamps(config: &TlsConfig) -> Vec<Option<Stamp>> {
    let files = [Some(&config.certificate), Some(&config.key), Some(&config.client_ca), config.crl.as_ref()];
    files.into_iter().flatten().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(file).ok()?;
    Some(Stamp { inode: meta.ino(), length: meta.len(), seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() })
}
