//! What is printed: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tabwriter::TabWriter;

/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What needs attention.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// Writes a text in a style. Where the output takes no colours, the style is left out.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A table with a header.
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Table {
            text: header.join("\t") + "\n",
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // What a server sends must not break the table, or steer the terminal.
        let cells = cells.map(|cell| cell.replace(['\t', '\n', '\r'], " "));
        self.text.push_str(&cells.join("\t"));
        self.text.push('\n');
    }

    pub(crate) fn print(self) -> io::Result<()> {
        let mut writer = TabWriter::new(Vec::new()).padding(2).ansi(true);
        writer.write_all(self.text.as_bytes())?;
        let table = writer
            .into_inner()
            .map_err(|error| io::Error::other(error.error().to_string()))?;
        let mut out = anstream::stdout().lock();
        for line in String::from_utf8_lossy(&table).lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Writes a time as the API does, in Go's form: `3m0s`.
pub(crate) fn duration(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    if minutes == 0 && seconds == 0 && !time.is_zero() {
        return format!("{time:?}");
    }
    let seconds = format!("{seconds}.{:09}", time.subsec_nanos());
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Prints a line of text.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(anstream::stdout().lock(), "{text}")
}

/// Says that a change is made. The change stays made if the output is closed.
pub(crate) fn done(json: bool, value: &serde_json::Value, text: impl Display) {
    let _ = match json {
        true => self::json(value),
        false => line(text),
    };
}

/// Prints a note beside the output. A change goes on if nobody can read it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Makes text that a server sent safe to print: control characters become spaces.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The same for a text of several lines.
pub(crate) fn safe_lines(text: &str) -> String {
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (20_500, "20.5µs"),
            (200_000_000, "200ms"),
            (1_500_000_000, "1.5s"),
            (10_000_000_000, "10s"),
            (59_999_999_999, "59.999999999s"),
            (180_000_000_000, "3m0s"),
            (60_500_000_000, "1m0.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_000, "25h1m1s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }
}
