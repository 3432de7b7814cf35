//! Log lines on standard error.

use std::fmt::Write as _;
use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FormatFields, debug_fn};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter text has a mistake.
    #[error("log.filter = {filter:?} is not a filter such as `info,darktower_server=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// Where the mistake is.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another part of the process logs already.
    #[error("logging was set up before")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the events of this process to standard error. Once per process.
///
/// # Errors
/// [`LogError`].
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    subscriber(settings, io::stderr)?.try_init().map_err(LogError::from)
}

fn subscriber(
    settings: &LogSettings,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, LogError> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|source| LogError::Filter { filter: settings.filter.clone(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match settings.format {
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
        LogFormat::Text => Box::new(builder.with_ansi(false).fmt_fields(escaped_fields()).finish()),
    })
}

/// Fields as `name=value` with every control character escaped: names and reasons come from peers, and a line break in
/// one of them must not forge a log line.
fn escaped_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        if field.name() != "message" {
            write!(writer, "{field}=")?;
        }
        let mut text = String::new();
        write!(text, "{value:?}")?;
        for character in text.chars() {
            if is_control(character) {
                write!(writer, "{}", character.escape_default())?;
            } else {
                writer.write_char(character)?;
            }
        }
        Ok(())
    })
    .delimited(" ")
}

/// Control characters, and the invisible ones that reorder what a terminal shows.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, event: impl FnOnce()) -> String {
        let sink = Sink::default();
        let settings = LogSettings { format, filter: "info".to_owned() };
        let writer = {
            let sink = sink.clone();
            move || sink.clone()
        };
        tracing::subscriber::with_default(subscriber(&settings, writer).expect("a valid filter"), event);
        let bytes = sink.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn names_of_peers_cannot_forge_lines() {
        let hostile = "x\r\n2026-01-01 ERROR all is lost\u{1b}[2J\u{202e}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format, || {
                let span = tracing::info_span!("request", name = %hostile);
                span.in_scope(|| tracing::warn!(name = %hostile, other = ?hostile, "joined: {hostile}"));
            });
            assert_eq!(log.lines().count(), 1, "{log:?}");
            assert!(!log.contains('\u{1b}') && !log.contains('\r'), "{log:?}");
        }
    }

    #[test]
    fn json_lines_are_json() {
        let log = logged(LogFormat::Json, || tracing::info!(count = 3, "hello \"you\""));
        let line: serde_json::Value = serde_json::from_str(&log).expect("one object");
        assert_eq!((&line["count"], &line["message"]), (&3.into(), &"hello \"you\"".into()));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let settings = LogSettings { filter: "info,=,=".to_owned(), ..LogSettings::default() };
        let error = init(&settings).expect_err("no filter").to_string();
        assert!(error.contains("info,=,="), "{error}");
    }
}
