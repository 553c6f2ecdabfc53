//! The one error of the library.

mod kind;
mod rings;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{InvalidKey, TEXT_LIMIT, cut_text};

pub use kind::ErrorKind;
pub use rings::{KeyringReply, RingOutcome};

/// Why an operation failed, and whether it happened all the same.
///
/// It serializes with everything but its source, so that the server that asked
/// knows as much as the one that failed. An error of a kind that this version does
/// not know yet is read as [`Backend`](ErrorKind::Backend), with its text. Neither it nor its texts contain keys or
/// tokens; a backend that makes one sees to it.
///
/// ```
/// use cluster_operator::{ErrorKind, OperatorError, Outcome};
///
/// let error = OperatorError::new(ErrorKind::NoLeader);
/// assert_eq!(error.kind().name(), "no-leader");
/// assert_eq!(error.outcome(), Outcome::NotApplied);
/// assert!(error.to_string().starts_with("no cluster leader"));
/// ```
#[derive(Debug, Clone)]
pub struct OperatorError {
    kind: Box<ErrorKind>,
    outcome: Outcome,
    /// What each ring did, where rings were asked.
    reply: Option<Box<KeyringReply>>,
    /// How many servers have handed this error on.
    forwards: u8,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Serialize for OperatorError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            #[serde(flatten)]
            kind: &'a ErrorKind,
            text: String,
            outcome: Outcome,
            #[serde(skip_serializing_if = "Option::is_none")]
            reply: Option<&'a KeyringReply>,
            forwards: u8,
        }
        let written = Written {
            kind: &self.kind,
            text: self.kind.to_string(),
            outcome: self.outcome,
            reply: self.reply.as_deref(),
            forwards: self.forwards,
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OperatorError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Read {
            /// `None` if this version does not know it.
            #[serde(flatten)]
            kind: Option<Box<ErrorKind>>,
            text: String,
            outcome: Outcome,
            reply: Option<Box<KeyringReply>>,
            #[serde(default)]
            forwards: u8,
        }
        let read = Read::deserialize(deserializer)?;
        let unknown = || Box::new(ErrorKind::Backend { message: read.text });
        Ok(OperatorError {
            kind: read.kind.unwrap_or_else(unknown),
            outcome: read.outcome,
            reply: read.reply,
            forwards: read.forwards,
            source: None,
        })
    }
}

/// Whether a failed operation changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing has changed and nothing will. It can be sent again.
    NotApplied,
    /// It has happened, although it is an error.
    Applied,
    /// It may have happened, may yet happen, or may never. Look before you send
    /// it again.
    Unknown,
}

impl Outcome {
    /// The name in answers and problem documents.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NotApplied => "not-applied",
            Outcome::Applied => "applied",
            Outcome::Unknown => "unknown",
        }
    }

    /// The outcome with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown];
        all.into_iter().find(|outcome| outcome.name() == name)
    }
}

impl OperatorError {
    /// An error of this kind.
    ///
    /// The outcome is [`Unknown`](Outcome::Unknown) for a missed deadline, a
    /// backend's own error, an answer that cannot be read and rings that failed,
    /// else [`NotApplied`](Outcome::NotApplied). Set what is known to be otherwise
    /// with [`with_outcome`](OperatorError::with_outcome).
    pub fn new(kind: ErrorKind) -> Self {
        OperatorError {
            outcome: kind.outcome(),
            kind: Box::new(kind),
            reply: None,
            forwards: 0,
            source: None,
        }
    }

    /// A failure of a backend, with the outcome unknown.
    pub fn backend(message: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::Backend {
            message: message.into(),
        })
    }

    /// Something that a backend cannot do.
    pub fn unsupported(what: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::Unsupported { what: what.into() })
    }

    /// Another server's answer that cannot be read.
    pub(crate) fn invalid_reply(reason: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::InvalidReply {
            reason: reason.into(),
        })
    }

    /// A parameter that makes no sense.
    pub fn invalid_request(reason: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::InvalidRequest {
            reason: reason.into(),
        })
    }

    /// The same error with what is known of the outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The same error with what caused it. A source stays in the process: it is
    /// not serialized.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error with what each ring did.
    #[must_use]
    pub fn with_reply(mut self, reply: KeyringReply) -> Self {
        self.reply = Some(Box::new(reply));
        self
    }

    /// The same error as another server forwards it.
    #[must_use]
    pub(crate) fn forwarded(mut self) -> Self {
        self.forwards = self.forwards.saturating_add(1);
        self
    }

    /// The same error of another server, no larger than one of this server would be:
    /// without what each ring did, and in words if its kind holds more than
    /// [`TEXT_LIMIT`] bytes.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        self.reply = None;
        let size = serde_json::to_vec(&self.kind).map(|kind| kind.len());
        if size.is_ok_and(|size| size > TEXT_LIMIT) {
            let message = cut_text(self.to_string());
            self.kind = Box::new(ErrorKind::Backend { message });
        }
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Whether it happened all the same.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What each ring did, for an operation on rings that some of them did not
    /// confirm.
    pub fn reply(&self) -> Option<&KeyringReply> {
        self.reply.as_deref()
    }

    /// What each ring did, if the error holds it; else the error itself.
    ///
    /// # Errors
    /// The error, if no ring was asked.
    pub fn into_reply(mut self) -> Result<KeyringReply, OperatorError> {
        match self.reply.take() {
            Some(reply) => Ok(*reply),
            None => Err(self),
        }
    }

    /// The same error without rings, of an operation that asks none.
    pub(crate) fn without_reply(mut self) -> Self {
        self.reply = None;
        self
    }

    /// How many servers have forwarded this error to the one that was asked.
    pub(crate) fn forwards(&self) -> u8 {
        self.forwards
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

impl Error for OperatorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}

/// Equal in everything but the source.
impl PartialEq for OperatorError {
    fn eq(&self, other: &Self) -> bool {
        let parts = |error: &Self| (error.outcome, error.forwards);
        self.kind == other.kind && parts(self) == parts(other) && self.reply == other.reply
    }
}

impl Eq for OperatorError {}

impl From<ErrorKind> for OperatorError {
    fn from(kind: ErrorKind) -> Self {
        OperatorError::new(kind)
    }
}

impl From<InvalidKey> for OperatorError {
    fn from(error: InvalidKey) -> Self {
        OperatorError::new(ErrorKind::InvalidKey(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_kept_in_the_process_and_left_out_of_the_serialized_form() {
        let error = OperatorError::backend("log is full").with_source(fmt::Error);
        assert!(error.source().unwrap().is::<fmt::Error>());
        let json = serde_json::to_string(&error).unwrap();
        let back: OperatorError = serde_json::from_str(&json).unwrap();
        assert_eq!(back, error);
        assert!(back.source().is_none());
    }

    #[test]
    fn error_of_a_kind_that_is_not_known_yet_keeps_its_text_and_outcome() {
        let json = r#"{"kind":"on-strike","data":{"until":7},"text":"come back at 7",
            "outcome":"not-applied","forwards":1}"#;
        let error: OperatorError = serde_json::from_str(json).unwrap();
        assert_eq!(error.kind().name(), "backend");
        assert_eq!(error.to_string(), "come back at 7");
        assert_eq!(
            (error.outcome(), error.forwards()),
            (Outcome::NotApplied, 1)
        );
    }
}
