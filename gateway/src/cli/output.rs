//! Where commands print: the only writer to standard output.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::exit::{Exit, Failure};
use crate::config::Problem;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints results and remembers whether that worked.
pub(crate) struct Output {
    format: Format,
    writer: Box<dyn Write>,
    failure: Option<io::Error>,
}

impl Output {
    /// Prints to standard output.
    pub(super) fn standard(format: Format) -> Self {
        Self { format, writer: Box::new(io::stdout()), failure: None }
    }

    /// Whether the command is to print JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) {
        let written = writeln!(self.writer, "{text}");
        self.remember(written);
    }

    /// Prints a text that has its own line ends, such as a file.
    pub(crate) fn text(&mut self, text: &str) {
        let written = self.writer.write_all(text.as_bytes());
        self.remember(written);
    }

    /// Prints a JSON value over several lines.
    pub(crate) fn json(&mut self, value: &Json) {
        self.line(format_args!("{value:#}"));
    }

    /// Prints rows in aligned columns; without rows, a line that says so.
    pub(crate) fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return self.line("none");
        }
        let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
        let widest = |column: usize| cells(column).map(|cell| cell.chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> =
            heads.iter().enumerate().map(|(column, head)| widest(column).max(head.chars().count())).collect();
        let heads: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
        for row in std::iter::once(&heads).chain(rows) {
            let padded: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", printable(cell))).collect();
            self.line(padded.join("  ").trim_end());
        }
    }

    /// Flushes; whether anybody still reads.
    pub(super) fn is_read(&mut self) -> bool {
        let flushed = self.writer.flush();
        self.remember(flushed);
        self.failure.is_none()
    }

    /// Flushes, and fails if anything could not be printed.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        let flushed = self.writer.flush();
        self.remember(flushed);
        match self.failure.take() {
            // The reader, for example `head`, has seen enough.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(Failure::new(Exit::Io, format!("standard output: {error}"))),
            None => Ok(()),
        }
    }

    fn remember(&mut self, written: io::Result<()>) {
        if let (None, Err(error)) = (&self.failure, written) {
            self.failure = Some(error);
        }
    }
}

/// What a device or a stranger wrote may stand in a line and must not steer the terminal.
pub(super) fn printable(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A problem as JSON.
pub(super) fn problem_json(problem: &Problem) -> Json {
    json!({
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "value": problem.value,
        "message": problem.message,
        "remedy": problem.remedy,
    })
}
