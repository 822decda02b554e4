//! Where log lines go and what they look like: text or JSON on standard error. Never decides what
//! is worth a line.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt};

use crate::cluster::settings::{Log, LogFormat};

/// Starts logging for the whole process. A second call changes nothing.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).expect("the configuration has checked the filter");
    let lines = fmt().with_env_filter(filter);
    let started = match log.format {
        // Names come from whoever connects: nothing of them may pass for a line, or colour one.
        LogFormat::Text => lines
            .with_ansi(false)
            .with_writer(|| OneLine(io::stderr()))
            .try_init(),
        LogFormat::Json => lines
            .with_writer(io::stderr)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

/// Writes each event as one line that reads as it is written: characters that would change that are written as escapes.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// One event, with its line feed.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let text = String::from_utf8_lossy(line);
        match text.contains(is_deceptive) {
            false => self.0.write_all(event)?,
            true => self
                .0
                .write_all(escaped(&text, line.len() < event.len()).as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// True for control characters, for those that some readers end a line at, and for those that turn the direction of what
/// stands behind them.
fn is_deceptive(character: char) -> bool {
    const TURNS: [char; 12] = [
        '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
        '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    let ends_line = matches!(character, '\u{2028}' | '\u{2029}');
    character.is_control() || ends_line || TURNS.contains(&character)
}

fn escaped(text: &str, ends: bool) -> String {
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_deceptive(character) {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    if ends {
        line.push('\n');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_names_are_in_it() {
        let mut out = Vec::new();
        let event = "2026 INFO user=a\n2026 INFO user=\u{1b}[31mroot\r\u{9b}x \u{e9} \u{2028}\u{202e}\u{2066}\n";
        OneLine(&mut out).write_all(event.as_bytes()).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(
            line,
            "2026 INFO user=a\\n2026 INFO user=\\u{1b}[31mroot\\r\\u{9b}x \u{e9} \\u{2028}\\u{202e}\\u{2066}\n"
        );
    }
}
