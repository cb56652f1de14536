//! `causeway store verify`: whether what a stopped gateway left on disk is whole, and what to do when it is not.

use clap::Args;
use serde_json::json;

use crate::cli::{ConfigFile, Exit, Failure, Output};
use crate::{journal, store};

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// Make indexes and counts anew first.
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    config: ConfigFile,
}

const RESTORE_JOURNAL: &str =
    "these messages are lost: restore the data directory from a backup, or start and have devices send again";

impl Verify {
    pub(in crate::cli) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let config = self.config.load()?;
        let refused = |error: String| Failure::new(Exit::Usage, error);
        let found = store::verify(&config.data_dir, self.repair).map_err(|error| refused(error.to_string()))?;
        let log = journal::verify(&config.journal_dir()).map_err(|error| refused(error.to_string()))?;
        let mut findings: Vec<(String, &str)> =
            found.findings.iter().map(|finding| (format!("store: {}", finding.problem), finding.remedy)).collect();
        if log.damaged > 0 {
            findings.push((format!("journal: {} damaged records", log.damaged), RESTORE_JOURNAL));
        }
        if log.unreadable > 0 {
            findings.push((format!("journal: {} unreadable files", log.unreadable), RESTORE_JOURNAL));
        }
        if output.is_json() {
            let shown: Vec<_> =
                findings.iter().map(|(problem, remedy)| json!({ "problem": problem, "remedy": remedy })).collect();
            let cursors: serde_json::Map<_, _> =
                found.cursors.iter().map(|(name, at)| (name.clone(), (*at).into())).collect();
            output.json(&json!({
                "ok": findings.is_empty(),
                "findings": shown,
                "collections": found.collections,
                "cursors": cursors,
                "journal": { "segments": log.segments, "records": log.records, "last": log.last },
            }));
        } else {
            output.line(format_args!("store     {}: {} collections", config.store_file().display(), found.collections));
            output.line(format_args!(
                "journal   {}: {} records in {} segments, up to {}",
                config.journal_dir().display(),
                log.records,
                log.segments,
                log.last
            ));
            for (problem, remedy) in &findings {
                output.line(format_args!("{problem}\n    {remedy}"));
            }
        }
        match findings.len() {
            0 => Ok(()),
            1 => Err(Failure::new(Exit::No, "1 finding")),
            count => Err(Failure::new(Exit::No, format!("{count} findings"))),
        }
    }
}
