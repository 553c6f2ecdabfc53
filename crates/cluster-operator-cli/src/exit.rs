//! How a command ends.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use cluster_operator::Outcome;
use cluster_operator::client::ClientError;

use crate::output::safe_lines;

/// The end of a command that did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    end: End,
    text: String,
}

/// The kinds of ends, by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done = 0,
    Refused = 1,
    Usage = 2,
    PartlyDone = 3,
    Unknown = 4,
}

impl Failure {
    pub(crate) fn new(end: End, text: impl Into<String>) -> Self {
        Failure {
            end,
            text: text.into(),
        }
    }

    /// The command line, the environment or a file is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::new(End::Usage, text)
    }

    /// A file cannot be read.
    pub(crate) fn unreadable(file: &Path, error: impl fmt::Display) -> Self {
        Failure::usage(format!("cannot read {}: {error}", file.display()))
    }

    /// Nothing has changed.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Failure::new(End::Refused, text)
    }

    pub(crate) fn end(&self) -> End {
        self.end
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        ExitCode::from(end as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let changed = error
            .rings()
            .iter()
            .any(|ring| ring.error.is_none() || ring.outcome == Some(Outcome::Applied));
        let end = match error.outcome() {
            Outcome::NotApplied => End::Refused,
            Outcome::Applied => End::PartlyDone,
            Outcome::Unknown if changed => End::PartlyDone,
            Outcome::Unknown => End::Unknown,
        };
        // The text can be a server's.
        Failure::new(end, safe_lines(&error.to_string()))
    }
}

/// The input or the output is closed or broken, before anything was changed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::refused(format!("nothing was changed: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
