//! `causeway reload`: configuration, certificates and policies are read again, as by SIGHUP, and the outcome is told.

use clap::Args;

use super::client::Client;
use super::show::items;
use super::show::plain;
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    client: Client,
}

impl Reload {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let done = self.client.change("POST", &["v1", "reload"], None)?;
        if output.is_json() {
            output.json(&done);
            return Ok(());
        }
        output.line("configuration, certificates and policies are good and in force");
        for warning in items(&done, "warnings") {
            output.line(plain(warning));
        }
        Ok(())
    }
}
