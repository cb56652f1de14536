//! `log:` what is written to standard error.

use super::section::section;
use super::setting::choice;

section! {
    /// What is written to standard error. Payloads and secrets never are.
    LogConfig {
        /// Lines for people, or one JSON object for each event.
        format: LogFormat = LogFormat::Text => restart;
        /// The least severe events that are written.
        level: LogLevel = LogLevel::Info => restart;
        /// Warnings that one peer can cause in a minute; further ones are counted.
        max_warnings_per_peer: u32 = 6 => restart, in 1..=10_000, hit "causeway_log_suppressed_total";
    }
}

choice! {
    /// How events are written.
    LogFormat {
        /// A line for people.
        Text = "text",
        /// A JSON object.
        Json = "json",
    }
}

choice! {
    /// How severe an event is.
    LogLevel {
        /// Something was lost or is broken.
        Error = "error",
        /// Something was refused or needs attention.
        Warn = "warn",
        /// A turning point.
        Info = "info",
        /// A decision.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}
