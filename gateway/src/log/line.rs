//! Keeps one event on one line, whatever stands in its fields.

use std::io::{self, Write};

/// Escapes control characters on their way to the writer, except the line end that closes an event.
///
/// The subscriber hands over each event as a whole.
pub(super) struct OneLine<W>(pub(super) W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let event = text.trim_end_matches('\n');
        if event.chars().any(char::is_control) {
            let mut escaped = String::with_capacity(event.len() + 8);
            for c in event.chars() {
                if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
            }
            escaped.push('\n');
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
