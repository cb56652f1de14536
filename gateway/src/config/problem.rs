//! One thing that is wrong with what an operator wrote, and all of them together.
//!
//! A problem names the file, the line, the key and what to do. Everything that reads an operator's
//! files reports in this shape, so that `causeway check` prints one list.

use std::fmt;
use std::path::PathBuf;

/// Something the operator has to change before the gateway starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file the problem is in.
    pub file: PathBuf,
    /// The line, counted from 1, when it is known.
    pub line: Option<usize>,
    /// The key as a path, for example `listeners[0].bind`; empty when the whole file is meant.
    pub key: String,
    /// What stands there now, shortened; empty when nothing does.
    pub value: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.value.is_empty() {
            write!(f, " (found `{}`)", self.value)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n    {}", self.remedy)?;
        }
        Ok(())
    }
}
