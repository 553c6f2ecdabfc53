//! Why a program's request failed.

use std::error::Error;
use std::fmt;

use super::ring::KeyRing;
use crate::error::Outcome;

/// Why an operation failed, and whether it happened all the same.
///
/// The texts are the server's, with what to do next where the server does not say
/// it. Neither they nor `Debug` contain the token or the key of the request.
#[derive(Debug)]
pub struct ClientError {
    pub(super) kind: ClientErrorKind,
    pub(super) status: Option<u16>,
    pub(super) message: String,
    /// Whether the message says by itself what to do and what has changed, as
    /// this library's own dialect does.
    pub(super) complete: bool,
    pub(super) outcome: Outcome,
    pub(super) rings: Vec<KeyRing>,
    pub(super) source: Option<Box<dyn Error + Send + Sync>>,
}

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// The request makes no sense to the server.
    InvalidRequest,
    /// The token does not allow it.
    PermissionDenied,
    /// Nobody has this token.
    UnknownToken,
    /// No such datacenter is known to the server.
    NoPathToDatacenter,
    /// The server to be removed or to lead is not in the Raft configuration.
    UnknownServer,
    /// The server to be removed is the last voter.
    LastVoter,
    /// The removal would leave the cluster without a quorum.
    QuorumLoss,
    /// The Raft configuration is at another index than was expected.
    Conflict,
    /// Some rings did not confirm. [`ClientError::rings`] tells each one's part,
    /// if the server does.
    RingsFailed,
    /// The server has no such operation.
    Unsupported,
    /// There is no leader at this moment.
    NoLeader,
    /// The server cannot do it at this moment.
    Unavailable,
    /// The server, or one behind it, could not be reached, or hung up.
    Unreachable,
    /// There was no answer in time.
    DeadlineExceeded,
    /// There was an answer that cannot be read, or is too large.
    InvalidAnswer,
    /// The server failed in another way.
    Server,
}

impl ClientErrorKind {
    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            ClientErrorKind::InvalidRequest => "check the parameters, and the server's version",
            ClientErrorKind::PermissionDenied => {
                "use a token whose policy has `operator` or `keyring` with read or write"
            }
            ClientErrorKind::UnknownToken => "the token may be mistyped, expired or deleted",
            ClientErrorKind::NoPathToDatacenter => "check its name, and that it is joined",
            ClientErrorKind::UnknownServer => "read the Raft configuration for ids and addresses",
            ClientErrorKind::LastVoter => "a cluster needs one voter: add another one first",
            ClientErrorKind::QuorumLoss => "remove dead voters first, or bring them back",
            ClientErrorKind::Conflict => "read the Raft configuration again",
            ClientErrorKind::RingsFailed => {
                "list the keys to see which rings have changed, then repeat it for the rest"
            }
            ClientErrorKind::Unsupported => "check the address and the server's version",
            ClientErrorKind::NoLeader => {
                "check that a majority of the voters is up, or read with Consistency::Stale"
            }
            ClientErrorKind::Unavailable => "try again in a while",
            ClientErrorKind::Unreachable => "check the address, and that the server is up",
            ClientErrorKind::DeadlineExceeded => {
                "check that the server is up, or allow more time with with_deadline"
            }
            ClientErrorKind::InvalidAnswer => "check that this is a Consul-compatible server",
            ClientErrorKind::Server => "look into the server's log",
        }
    }
}

impl ClientError {
    pub(super) fn new(kind: ClientErrorKind, message: impl Into<String>) -> Self {
        ClientError {
            kind,
            status: None,
            message: message.into(),
            complete: false,
            outcome: Outcome::NotApplied,
            rings: Vec::new(),
            source: None,
        }
    }

    pub(super) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub(super) fn with_source(
        mut self,
        source: impl Into<Option<Box<dyn Error + Send + Sync>>>,
    ) -> Self {
        self.source = source.into();
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ClientErrorKind {
        self.kind
    }

    /// The status of the answer; `None` if there was none.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The server's words, or the transport's.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether it happened all the same. Consul does not say; then it is
    /// concluded from the error, and unknown where that does not tell.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What each ring did, from a server of this library's own dialect; otherwise
    /// empty.
    pub fn rings(&self) -> &[KeyRing] {
        &self.rings
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if self.complete {
            return Ok(());
        }
        write!(f, "; {}", self.kind.advice())?;
        match self.outcome {
            Outcome::NotApplied => Ok(()),
            Outcome::Applied => f.write_str(" (the change has been made)"),
            Outcome::Unknown => {
                f.write_str(" (the change may have been made: look before you repeat it)")
            }
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn Error + 'static))
    }
}
