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
    /// Takes over changed files until `shutdown`, and logs what an operator should know about them.
    ///
    /// Looks at the files rather than asking the kernel to tell: it also works on overlay and network file
    /// systems, and four `stat` calls a second cost nothing.
    pub async fn watch(self, listener: String, shutdown: CancellationToken) {
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
                self.take_over(&listener).await;
                tried.clone_from(&now);
            }
            seen = now;
        }
    }

    async fn take_over(&self, listener: &str) {
        let tls = self.clone();
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(warnings)) => {
                tracing::info!(listener, "certificates reloaded");
                for warning in warnings {
                    tracing::warn!(listener, "{warning}");
                }
            }
            Ok(Err(problems)) => {
                for problem in problems {
                    tracing::error!(listener, "certificates not reloaded, the old ones stay: {problem}");
                }
            }
            // The only way to get here is a panic in a parser of files that only the operator writes.
            Err(error) => tracing::error!(listener, %error, "certificates not reloaded, the old ones stay"),
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
