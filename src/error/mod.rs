//! Errors of operations, and the outcomes that they report.

mod kind;
mod rings;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{InvalidKey, RemovalPlan, TEXT_LIMIT, cut_text};

pub use kind::ErrorKind;
pub use rings::{KeyringReply, RingOutcome};

/// The error of an operation: its kind, and whether the operation took effect.
///
/// It serializes with everything but its source, so that an error of another server
/// arrives complete. A kind that this version does not know is deserialized as
/// [`Backend`](ErrorKind::Backend) with the error's text.
///
/// An error must not contain keys or tokens. Backends ensure this for the errors that
/// they return.
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
    /// The outcome of each ring, if rings were asked.
    reply: Option<Box<KeyringReply>>,
    /// The plan of the removal, if it was rejected by it.
    plan: Option<Box<RemovalPlan>>,
    /// The number of servers that have forwarded this error.
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
            #[serde(skip_serializing_if = "Option::is_none")]
            plan: Option<&'a RemovalPlan>,
            forwards: u8,
        }
        let written = Written {
            kind: &self.kind,
            text: self.kind.to_string(),
            outcome: self.outcome,
            reply: self.reply.as_deref(),
            plan: self.plan.as_deref(),
            forwards: self.forwards,
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OperatorError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A newer server's plan may have a guard that this version does not know.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Plan {
            Known(Box<RemovalPlan>),
            Unknown(IgnoredAny),
        }

        #[derive(Deserialize)]
        struct Read {
            /// `None` if this version does not know the kind.
            #[serde(flatten)]
            kind: Option<Box<ErrorKind>>,
            text: String,
            outcome: Outcome,
            reply: Option<Box<KeyringReply>>,
            plan: Option<Plan>,
            #[serde(default)]
            forwards: u8,
        }
        let read = Read::deserialize(deserializer)?;
        let unknown = || Box::new(ErrorKind::Backend { message: read.text });
        Ok(OperatorError {
            kind: read.kind.unwrap_or_else(unknown),
            outcome: read.outcome,
            reply: read.reply,
            plan: match read.plan {
                Some(Plan::Known(plan)) => Some(plan),
                Some(Plan::Unknown(_)) | None => None,
            },
            forwards: read.forwards,
            source: None,
        })
    }
}

/// The effect of a failed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing has changed, and nothing will. The operation can be retried. For a
    /// leadership transfer: the named server does not lead, see
    /// [`TransferredElsewhere`](ErrorKind::TransferredElsewhere).
    NotApplied,
    /// The operation took effect although it failed.
    Applied,
    /// The operation may have taken effect, or may still do so. Check the state before
    /// you retry.
    Unknown,
}

impl Outcome {
    /// Returns the name used in answers and problem documents.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NotApplied => "not-applied",
            Outcome::Applied => "applied",
            Outcome::Unknown => "unknown",
        }
    }

    /// Returns the outcome with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown];
        all.into_iter().find(|outcome| outcome.name() == name)
    }
}

impl OperatorError {
    /// Creates an error of this kind.
    ///
    /// The outcome is [`Unknown`](Outcome::Unknown) for
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded),
    /// [`RingsFailed`](ErrorKind::RingsFailed),
    /// [`InvalidReply`](ErrorKind::InvalidReply) and [`Backend`](ErrorKind::Backend),
    /// and [`NotApplied`](Outcome::NotApplied) for all other kinds. Set it with
    /// [`with_outcome`](OperatorError::with_outcome) where more is known.
    pub fn new(kind: ErrorKind) -> Self {
        OperatorError {
            outcome: kind.outcome(),
            kind: Box::new(kind),
            reply: None,
            plan: None,
            forwards: 0,
            source: None,
        }
    }

    /// Creates a [`Backend`](ErrorKind::Backend) error. Its outcome is unknown.
    pub fn backend(message: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::Backend {
            message: message.into(),
        })
    }

    /// Creates an [`Unsupported`](ErrorKind::Unsupported) error.
    pub fn unsupported(what: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::Unsupported { what: what.into() })
    }

    /// Creates an [`InvalidReply`](ErrorKind::InvalidReply) error.
    pub(crate) fn invalid_reply(reason: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::InvalidReply {
            reason: reason.into(),
        })
    }

    /// Creates an [`InvalidRequest`](ErrorKind::InvalidRequest) error.
    pub fn invalid_request(reason: impl Into<String>) -> Self {
        OperatorError::new(ErrorKind::InvalidRequest {
            reason: reason.into(),
        })
    }

    /// Sets the outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Sets the source. It stays in the process, because it is not serialized.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Adds the outcome of each ring.
    #[must_use]
    pub fn with_reply(mut self, reply: KeyringReply) -> Self {
        self.reply = Some(Box::new(reply));
        self
    }

    /// Adds the plan by which a removal was rejected.
    #[must_use]
    pub fn with_plan(mut self, plan: RemovalPlan) -> Self {
        self.plan = Some(Box::new(plan));
        self
    }

    /// Counts one more server that forwards this error.
    #[must_use]
    pub(crate) fn forwarded(mut self) -> Self {
        self.forwards = self.forwards.saturating_add(1);
        self
    }

    /// Limits the size of an error of another server: drops the outcomes of rings and the
    /// plan, and replaces a kind of more than [`TEXT_LIMIT`] bytes with its text, cut to
    /// the limit.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        self.reply = None;
        self.plan = None;
        let size = serde_json::to_vec(&self.kind).map(|kind| kind.len());
        if size.is_ok_and(|size| size > TEXT_LIMIT) {
            let message = cut_text(self.to_string());
            self.kind = Box::new(ErrorKind::Backend { message });
        }
        self
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether the operation took effect.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the outcome of each ring, for a keyring operation that some rings did
    /// not confirm.
    pub fn reply(&self) -> Option<&KeyringReply> {
        self.reply.as_deref()
    }

    /// Returns the plan of a removal that was rejected by its arithmetic: a
    /// [`QuorumLoss`](ErrorKind::QuorumLoss) or a [`LastVoter`](ErrorKind::LastVoter)
    /// of the service.
    pub fn plan(&self) -> Option<&RemovalPlan> {
        self.plan.as_deref()
    }

    /// Returns the ways around a rejection by a plan, to be appended to the text of the
    /// kind; empty without a plan.
    pub(crate) fn ways_around(&self) -> String {
        let plan = self.plan.as_deref();
        plan.map(RemovalPlan::ways_around).unwrap_or_default()
    }

    /// Converts the error into the outcome of each ring.
    ///
    /// # Errors
    /// The error itself, if no ring was asked.
    pub fn into_reply(mut self) -> Result<KeyringReply, OperatorError> {
        match self.reply.take() {
            Some(reply) => Ok(*reply),
            None => Err(self),
        }
    }

    /// Drops the outcomes of rings.
    pub(crate) fn without_reply(mut self) -> Self {
        self.reply = None;
        self
    }

    /// Returns the number of servers that have forwarded this error.
    pub(crate) fn forwards(&self) -> u8 {
        self.forwards
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)?;
        f.write_str(&self.ways_around())
    }
}

impl Error for OperatorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}

/// Compares everything but the source.
impl PartialEq for OperatorError {
    fn eq(&self, other: &Self) -> bool {
        let parts = |error: &Self| (error.outcome, error.forwards);
        self.kind == other.kind
            && parts(self) == parts(other)
            && self.reply == other.reply
            && self.plan == other.plan
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
    fn source_is_not_serialized() {
        let error = OperatorError::backend("log is full").with_source(fmt::Error);
        assert!(error.source().unwrap().is::<fmt::Error>());
        let json = serde_json::to_string(&error).unwrap();
        let back: OperatorError = serde_json::from_str(&json).unwrap();
        assert_eq!(back, error);
        assert!(back.source().is_none());
    }

    #[test]
    fn unreadable_plan_leaves_the_rest_of_the_error() {
        let json = r#"{"kind":"last-voter","text":"","outcome":"not-applied","forwards":0,
            "plan":{"ID":"a","QuorumGuard":"astrology"}}"#;
        let error: OperatorError = serde_json::from_str(json).unwrap();
        assert_eq!(error, OperatorError::new(ErrorKind::LastVoter));
    }

    #[test]
    fn error_of_unknown_kind_keeps_its_text_and_outcome() {
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
