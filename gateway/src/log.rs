//! Writes events to standard error, as lines for people or as JSON objects.
//!
//! An event names what it is about in fields and never holds a payload or a secret. What a peer wrote
//! (a client id, a topic) may stand in a field: control characters are escaped, so that one event is
//! always one line. How often one peer can cause a warning is bounded by [`PeerWarnings`].

mod limit;
mod line;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use self::limit::PeerWarnings;
use self::line::OneLine;
use crate::config::{LogConfig, LogFormat};

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(config: &LogConfig) {
    // Another subscriber is set only in tests, where it is right to keep it.
    let _ = tracing::subscriber::set_global_default(subscriber(config, || OneLine(std::io::stderr())));
}

/// What the libraries below us say is of interest when something is wrong; and rumqttd, which logs every
/// event of a link, only when it is broken.
fn filter(config: &LogConfig) -> EnvFilter {
    let level = config.level.word();
    let others = if matches!(level, "error" | "warn") { level } else { "warn" };
    EnvFilter::new(format!("{others},rumqttd=error,causeway={level},causeway_core={level},causeway_host={level}"))
}

fn subscriber<W>(config: &LogConfig, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter(config)).with_ansi(false).with_writer(writer);
    match config.format {
        LogFormat::Text => Box::new(builder.with_target(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::LogLevel;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(config: &LogConfig, event: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        tracing::subscriber::with_default(subscriber(config, move || OneLine(writer.clone())), event);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_a_peer_wrote_cannot_forge_a_line() {
        let evil = "a\r\nERROR forged\u{1b}[2J\u{7f}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let config = LogConfig { format, ..LogConfig::default() };
            let text = logged(&config, || tracing::warn!(client = %evil, topic = evil, "refused"));
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn json_events_are_objects_with_fields() {
        let config = LogConfig { format: LogFormat::Json, ..LogConfig::default() };
        let text = logged(&config, || tracing::info!(device = "d1", "connected"));
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["device"], &event["message"]), (&"d1".into(), &"connected".into()));
    }

    #[test]
    fn events_below_the_level_are_not_written() {
        let config = LogConfig { level: LogLevel::Warn, ..LogConfig::default() };
        assert_eq!(logged(&config, || tracing::info!("connected")), "");
    }
}
