//! The one error of the library.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::acl::{Access, AccessorId, Resource};
use crate::keyring::{InvalidKey, Pool};
use crate::name::DatacenterName;
use crate::raft::{LeaderHint, PeerSelector};

/// Why an operation failed, and whether it happened all the same.
///
/// It serializes with everything but its source, so that the asking server
/// knows as much as the one that failed. Neither it nor its texts contain keys
/// or tokens; a backend that makes one sees to it.
///
/// ```
/// use cluster_operator::{ErrorKind, OperatorError, Outcome};
///
/// let error = OperatorError::new(ErrorKind::NoLeader);
/// assert_eq!(error.outcome(), Outcome::NotApplied);
/// assert!(error.to_string().starts_with("no cluster leader"));
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorError {
    kind: Box<ErrorKind>,
    outcome: Outcome,
    /// How many servers have handed this error on.
    #[serde(default)]
    forwards: u8,
    #[serde(skip)]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Whether a failed operation changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing has changed and nothing will. It can be sent again.
    NotApplied,
    /// It has happened, although it is an error.
    Applied,
    /// It may have happened, may yet happen, or may never. Look before you send
    /// it again.
    Unknown,
}

/// What went wrong, for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A parameter of the request makes no sense.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// What should be a gossip key is none.
    #[error("{0}: give a key of 16, 24 or 32 bytes in padded standard base64")]
    InvalidKey(InvalidKey),
    /// The token does not allow the operation.
    #[error(fmt = denied)]
    PermissionDenied {
        /// What was to be touched.
        resource: Resource,
        /// In which way.
        access: Access,
        /// Whose token it is; `None` for the anonymous one.
        accessor: Option<AccessorId>,
    },
    /// Nobody has this token.
    #[error("the ACL token is not known: it may be mistyped, expired or deleted")]
    UnknownToken,
    /// It cannot be told now what the token allows.
    #[error("cannot check the ACL token now, try again: {reason}")]
    AuthorizerUnavailable {
        /// In the authorizer's words.
        reason: String,
    },
    /// The datacenter's servers have no leader at this moment.
    #[error("no cluster leader: check that a majority of the voters is up, or ask with ?stale")]
    NoLeader,
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
        /// How long was waited.
        after: Duration,
    },
    /// The server is not in the Raft configuration.
    #[error("{0} was not found in the Raft configuration")]
    UnknownServer(PeerSelector),
    /// The server is the last voter, and a cluster needs one.
    #[error("the last voter cannot be removed from the Raft configuration")]
    LastVoter,
    /// The rest of the voters would be without a live majority.
    #[error(
        "removing this voter would leave {alive} of {voters} voters alive, which is no quorum: \
         remove the dead ones first, or bring them back"
    )]
    QuorumLoss {
        /// How many voters would be left.
        voters: usize,
        /// How many of those are alive.
        alive: usize,
    },
    /// The configuration is another one than was expected.
    #[error("the Raft configuration is at index {actual}, not {expected}: read it again")]
    Conflict {
        /// The index that was expected.
        expected: u64,
        /// The index that it has.
        actual: u64,
    },
    /// Some rings did not confirm the operation; the others did.
    #[error(fmt = rings_failed)]
    RingsFailed {
        /// Which ones did not.
        failed: Vec<(DatacenterName, Pool)>,
        /// How many there are.
        rings: usize,
    },
    /// The server has no backend for this, or the backend cannot do it.
    #[error("{what} is not supported by this server")]
    Unsupported {
        /// What was asked.
        what: String,
    },
    /// The request was handed on too often.
    #[error("the request was forwarded {hops} times without meeting the leader: try again")]
    TooManyHops {
        /// How often it was.
        hops: u8,
    },
    /// The backend failed, in its words.
    #[error("{message}")]
    Backend {
        /// The backend's words.
        message: String,
    },
}

fn denied(
    resource: &Resource,
    access: &Access,
    accessor: &Option<AccessorId>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match accessor {
        Some(id) => write!(
            f,
            "permission denied: token with AccessorID '{id}' lacks permission '{resource}:{access}'"
        ),
        None => write!(
            f,
            "permission denied: anonymous token lacks permission '{resource}:{access}'"
        ),
    }
}

fn not_leader(leader: &Option<LeaderHint>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match leader {
        Some(leader) => write!(f, "this server does not lead: ask {}", leader.address),
        None => f.write_str("this server does not lead, and does not know who does: try again"),
    }
}

fn rings_failed(
    failed: &[(DatacenterName, Pool)],
    rings: &usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{} of {rings} rings did not confirm:", failed.len())?;
    for (at, (datacenter, pool)) in failed.iter().enumerate() {
        write!(
            f,
            "{} {datacenter} ({pool})",
            if at == 0 { "" } else { "," }
        )?;
    }
    Ok(())
}

impl ErrorKind {
    /// The outcome that goes without saying: unknown only where an operation
    /// was on its way when the answer was given up.
    fn outcome(&self) -> Outcome {
        match self {
            ErrorKind::DeadlineExceeded { .. }
            | ErrorKind::RingsFailed { .. }
            | ErrorKind::Backend { .. } => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }
}

impl OperatorError {
    /// An error of this kind.
    ///
    /// The outcome is [`Unknown`](Outcome::Unknown) for a missed deadline, a
    /// backend's own error and rings that failed, else
    /// [`NotApplied`](Outcome::NotApplied). Whoever knows better says so with
    /// [`with_outcome`](OperatorError::with_outcome).
    pub fn new(kind: ErrorKind) -> Self {
        OperatorError {
            outcome: kind.outcome(),
            kind: Box::new(kind),
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

    /// The same error as another server hands it on.
    #[must_use]
    pub(crate) fn forwarded(mut self) -> Self {
        self.forwards = self.forwards.saturating_add(1);
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

    /// How many servers have handed this error on to the one that was asked.
    pub fn forwards(&self) -> u8 {
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
        (&self.kind, self.outcome, self.forwards) == (&other.kind, other.outcome, other.forwards)
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
}
