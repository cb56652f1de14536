//! How a command ends: an exit code for programs and a message for people.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::output::{Format, problem_json};
use crate::config::Problem;

/// The exit codes, by the numbers of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The question was answered with no, or a test failed.
    No = 1,
    /// The operator has to change a command, a configuration, a certificate or a policy.
    Usage = 64,
    /// The gateway does not run, or cannot be reached.
    Unavailable = 69,
    /// The gateway failed in a way that the operator did not cause.
    Internal = 70,
    /// A file could not be read or written.
    Io = 74,
    /// The gateway runs and said no.
    Denied = 77,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    problems: Vec<Problem>,
}

impl Failure {
    /// A failure with one line that says what and why.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), problems: Vec::new() }
    }

    /// What and why, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Everything that an operator has to correct.
    pub(crate) fn problems(problems: Vec<Problem>) -> Self {
        let message = match problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        Self { exit: Exit::Usage, message, problems }
    }
}

/// Prints what is wrong with the arguments, or the help that was asked for.
pub(super) fn usage(usage: &clap::Error) -> ExitCode {
    // Nothing is left to tell anyone when even this cannot be printed.
    let _ = usage.print();
    if usage.use_stderr() { code(Exit::Usage) } else { ExitCode::SUCCESS }
}

/// Prints a failure and turns it into an exit code.
pub(super) fn report(done: Result<(), Failure>, format: Format) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    let mut text = String::new();
    match format {
        Format::Json => {
            let problems: Vec<_> = failure.problems.iter().map(problem_json).collect();
            text = json!({ "error": failure.message, "problems": problems }).to_string();
        }
        Format::Text => {
            text.extend(failure.problems.iter().map(|problem| format!("{problem}\n")));
            text.push_str(&format!("causeway: {}", failure.message));
        }
    }
    let _ = writeln!(std::io::stderr(), "{text}");
    code(failure.exit)
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
