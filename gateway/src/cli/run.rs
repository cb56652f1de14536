//! `causeway run`: configuration, parts, signal, drain.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigFile, Exit, Failure};
use crate::app::{App, StartError};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigFile,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        crate::log::start(&config.log);
        let runtime = runtime(&config)?;
        runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate()).map_err(unexpected)?;
            let mut interrupted = signal(SignalKind::interrupt()).map_err(unexpected)?;
            let app = App::start(config, Some(self.config.path())).await?;
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            app.drain().await;
            Ok(())
        })
    }
}

/// The runtime that serves sockets.
pub(super) fn runtime(config: &Config) -> Result<tokio::runtime::Runtime, Failure> {
    // A second call in the same process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.gateway.threads > 0 {
        builder.worker_threads(config.gateway.threads);
    }
    builder.enable_all().build().map_err(unexpected)
}

fn unexpected(error: std::io::Error) -> Failure {
    Failure::new(Exit::Internal, error.to_string())
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Problems(problems) => Self::problems(problems),
            StartError::Line(line) => Self::new(Exit::Usage, line),
        }
    }
}
