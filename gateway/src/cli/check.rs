//! `causeway check`: everything an operator can get wrong, found without starting anything.

use clap::Args;
use serde_json::json;

use super::{ConfigFile, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let config = self.config.load()?;
        if output.is_json() {
            output.json(&json!({ "ok": true }));
        } else {
            let (listeners, bindings) = (config.listeners.len(), config.bindings.len());
            output.line(format_args!(
                "{}: ok ({listeners} listeners, {bindings} bindings)",
                self.config.path().display()
            ));
        }
        Ok(())
    }
}
