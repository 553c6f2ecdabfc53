//! The one error of the library.

mod rings;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::text::{self, TEXT_LIMIT};
use crate::types::{
    Access, ConfigVersion, DatacenterName, Identity, InvalidKey, LeaderHint, PeerSelector, Pool,
    Resource, ServerId,
};

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

/// What went wrong, for programs. Servers and the client for programs share it.
///
/// It serializes as `{"kind": NAME, "data": {..}}`, in a problem document too; its
/// [name](ErrorKind::name) is in the header `X-Operator-Error` of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A parameter of the request makes no sense.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// The gossip key is malformed.
    #[error("{0}: give a key of 16, 24 or 32 bytes in padded standard base64")]
    InvalidKey(InvalidKey),
    /// The token does not allow the operation.
    #[error(fmt = denied)]
    PermissionDenied {
        /// What was to be read or changed.
        resource: Resource,
        /// Which of the two.
        access: Access,
        /// Whose token it is.
        identity: Identity,
    },
    /// Nobody has this token.
    #[error("the ACL token is not known: it may be mistyped, expired or deleted")]
    UnknownToken,
    /// The authorizer is unavailable.
    #[error("cannot check the ACL token now, try again: {reason}")]
    AuthorizerUnavailable {
        /// In the authorizer's words.
        reason: String,
    },
    /// The servers of the datacenter have no leader at this moment.
    #[error("no cluster leader: check that a majority of the voters is up, or ask with ?stale")]
    NoLeader,
    /// This server is not in the Raft configuration: it was removed, or has not
    /// joined.
    #[error(
        "this server ({id}) is not in the Raft configuration, so it knows no leader: ask another \
         server, or join it again"
    )]
    NotMember {
        /// The server's id.
        id: ServerId,
    },
    /// This server does not lead, or no longer.
    #[error(fmt = not_leader)]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<LeaderHint>,
    },
    /// No such datacenter is known.
    #[error("no path to datacenter {datacenter:?}: check its name, and that it is joined")]
    NoPathToDatacenter {
        /// The name asked for.
        datacenter: DatacenterName,
    },
    /// A server or datacenter could not be reached.
    #[error("cannot reach {target}: {reason}")]
    Unreachable {
        /// The server or datacenter.
        target: String,
        /// In the transport's words.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("no answer from {target} within {} ms", after.as_millis())]
    DeadlineExceeded {
        /// Who did not answer.
        target: String,
        /// The time that was waited.
        after: Duration,
    },
    /// The server is not in the Raft configuration.
    #[error("{0} was not found in the Raft configuration")]
    UnknownServer(PeerSelector),
    /// The server is the last voter, and a cluster needs one.
    #[error("the last voter cannot be removed from the Raft configuration")]
    LastVoter,
    /// The voters that stay would be without the majority that the quorum guard
    /// asks for.
    #[error(
        "removing this voter would leave {alive} of {voters} voters alive, and {needed} are \
         needed: remove the dead ones first, bring them back, or add a voter"
    )]
    QuorumLoss {
        /// How many voters would be left.
        voters: usize,
        /// How many of those are alive.
        alive: usize,
        /// How many of those have to be.
        needed: usize,
    },
    /// Too few of the voters that stay have confirmed that they are alive.
    #[error(
        "only {confirmed} of the voters that stay confirmed a new log entry within {} ms, and \
         {needed} are needed, so nothing was changed: check that the others are up",
        after.as_millis()
    )]
    QuorumUnproven {
        /// How many have confirmed it.
        confirmed: usize,
        /// How many have to.
        needed: usize,
        /// The time that was waited.
        after: Duration,
    },
    /// The Raft configuration has another version than was expected.
    #[error(fmt = conflict)]
    Conflict {
        /// The version that was expected.
        expected: ConfigVersion,
        /// The version that it has.
        actual: ConfigVersion,
    },
    /// The leader's term is another one than was expected.
    #[error(
        "the leader's term is {actual}, not {expected}: read the Raft configuration again, then \
         repeat it"
    )]
    TermChanged {
        /// The term that was expected.
        expected: u64,
        /// The term that it is.
        actual: u64,
    },
    /// Another change of the Raft configuration is not finished.
    #[error(
        "another change of the Raft configuration is in progress: repeat it once that is committed"
    )]
    ChangeInProgress,
    /// The server that is to lead leads already.
    #[error("server {id} leads already")]
    AlreadyLeader {
        /// The server's id.
        id: ServerId,
    },
    /// The server that is to lead has no vote.
    #[error("server {id} has no vote, so it cannot lead: name a voter")]
    NotVoter {
        /// The server's id.
        id: ServerId,
    },
    /// There is no other voter that could lead.
    #[error("no other voter is up that could lead: add a voter, or bring one back")]
    NoTransferTarget,
    /// Some rings did not confirm the operation.
    #[error(fmt = rings_failed)]
    RingsFailed {
        /// The rings that did not.
        failed: Vec<(DatacenterName, Pool)>,
        /// How many rings there are.
        rings: usize,
    },
    /// The server has no backend for this, or the backend cannot do it.
    #[error("{what} is not supported by this server")]
    Unsupported {
        /// What was asked.
        what: String,
    },
    /// The request was forwarded too often.
    #[error("the request was forwarded {hops} times without meeting the leader: try again")]
    TooManyHops {
        /// How often it was.
        hops: u8,
    },
    /// Two servers speak different versions of the server call.
    #[error("the server call cannot be read: {reason}")]
    IncompatibleServer {
        /// Which of them is too old.
        reason: String,
    },
    /// A server's answer cannot be read.
    #[error("the answer cannot be read: {reason}")]
    InvalidReply {
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot do it at this moment.
    #[error("{reason}")]
    Unavailable {
        /// In the server's words.
        reason: String,
    },
    /// The backend or the server failed, in its words.
    #[error("{message}")]
    Backend {
        /// The words.
        message: String,
    },
}

fn denied(
    resource: &Resource,
    access: &Access,
    identity: &Identity,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("permission denied: ")?;
    match identity {
        Identity::Accessor(id) => write!(f, "token with AccessorID '{id}'")?,
        Identity::Anonymous => f.write_str("anonymous token")?,
        _ => f.write_str("token")?,
    }
    write!(f, " lacks permission '{resource}:{access}'")
}

fn conflict(
    expected: &ConfigVersion,
    actual: &ConfigVersion,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if expected.index == actual.index {
        return write!(
            f,
            "the Raft configuration at index {} is of term {}, not {}: read it again",
            actual.index, actual.term, expected.term
        );
    }
    write!(
        f,
        "the Raft configuration is at index {}, not {}: read it again",
        actual.index, expected.index
    )
}

fn not_leader(leader: &Option<LeaderHint>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match leader {
        Some(leader) => write!(f, "this server does not lead: ask {}", leader.address),
        None => f.write_str("this server does not lead, and does not know who does: try again"),
    }
}

/// How many of the rings that failed an error's text names.
const RINGS_NAMED: usize = 8;

fn rings_failed(
    failed: &[(DatacenterName, Pool)],
    rings: &usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{} of {rings} rings did not confirm:", failed.len())?;
    for (at, (datacenter, pool)) in failed.iter().take(RINGS_NAMED).enumerate() {
        write!(
            f,
            "{} {datacenter} ({pool})",
            if at == 0 { "" } else { "," }
        )?;
    }
    match failed.len().saturating_sub(RINGS_NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

impl ErrorKind {
    /// The name of the kind, as in the header `X-Operator-Error`.
    pub fn name(&self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest { .. } => "invalid-request",
            ErrorKind::InvalidKey(_) => "invalid-key",
            ErrorKind::PermissionDenied { .. } => "permission-denied",
            ErrorKind::UnknownToken => "unknown-token",
            ErrorKind::AuthorizerUnavailable { .. } => "authorizer-unavailable",
            ErrorKind::NoLeader => "no-leader",
            ErrorKind::NotMember { .. } => "not-member",
            ErrorKind::NotLeader { .. } => "not-leader",
            ErrorKind::NoPathToDatacenter { .. } => "no-path-to-datacenter",
            ErrorKind::Unreachable { .. } => "unreachable",
            ErrorKind::DeadlineExceeded { .. } => "deadline-exceeded",
            ErrorKind::UnknownServer(_) => "unknown-server",
            ErrorKind::LastVoter => "last-voter",
            ErrorKind::QuorumLoss { .. } => "quorum-loss",
            ErrorKind::QuorumUnproven { .. } => "quorum-unproven",
            ErrorKind::Conflict { .. } => "conflict",
            ErrorKind::TermChanged { .. } => "term-changed",
            ErrorKind::ChangeInProgress => "change-in-progress",
            ErrorKind::AlreadyLeader { .. } => "already-leader",
            ErrorKind::NotVoter { .. } => "not-voter",
            ErrorKind::NoTransferTarget => "no-transfer-target",
            ErrorKind::RingsFailed { .. } => "rings-failed",
            ErrorKind::Unsupported { .. } => "unsupported",
            ErrorKind::TooManyHops { .. } => "too-many-hops",
            ErrorKind::IncompatibleServer { .. } => "incompatible-server",
            ErrorKind::InvalidReply { .. } => "invalid-reply",
            ErrorKind::Unavailable { .. } => "unavailable",
            ErrorKind::Backend { .. } => "backend",
        }
    }

    /// The default outcome of this kind: unknown only where an operation may have
    /// been under way when the answer was given up.
    fn outcome(&self) -> Outcome {
        match self {
            ErrorKind::DeadlineExceeded { .. }
            | ErrorKind::RingsFailed { .. }
            | ErrorKind::InvalidReply { .. }
            | ErrorKind::Backend { .. } => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
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
            let message = text::cut(self.to_string());
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

    #[test]
    fn rings_that_failed_are_named() {
        let error = OperatorError::new(ErrorKind::RingsFailed {
            failed: vec![("dc1".into(), Pool::Wan), ("dc2".into(), Pool::Lan)],
            rings: 3,
        });
        assert_eq!(
            error.to_string(),
            "2 of 3 rings did not confirm: dc1 (WAN), dc2 (LAN)"
        );
    }

    #[test]
    fn only_the_first_of_many_failed_rings_are_named() {
        let segment = |n: u32| ("dc1".into(), Pool::Segment(format!("{n}").into()));
        let text = |failed: u32| {
            let failed = (0..failed).map(segment).collect();
            OperatorError::new(ErrorKind::RingsFailed { failed, rings: 99 }).to_string()
        };
        assert!(text(8).ends_with(", dc1 (segment 7)"));
        assert!(text(48).ends_with(", dc1 (segment 7) and 40 more"));
    }
}
