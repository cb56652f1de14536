//! Makes problems in the shape that everything reports in which reads an operator's files.

use crate::config::Problem;

/// A problem with a place in a file; a remedy is empty where the message says it.
pub(super) fn problem(
    file: &str,
    line: Option<usize>,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Problem {
    Problem {
        file: file.into(),
        line,
        key: String::new(),
        value: String::new(),
        message: message.into(),
        remedy: remedy.into(),
    }
}
