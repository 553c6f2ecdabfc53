//! Errors of the client for programs.

use std::error::Error;
use std::fmt;

use super::replies::RingListing;
use crate::error::{ErrorKind, Outcome};

/// Why an operation failed, and whether it happened all the same.
///
/// Neither its texts nor its `Debug` contain the token or the key of the request.
///
/// ```no_run
/// # use cluster_operator::client::OperatorClient;
/// # use cluster_operator::PeerSelector;
/// use cluster_operator::ErrorKind;
///
/// # async fn run(client: OperatorClient, carol: PeerSelector) {
/// if let Err(error) = client.remove_peer(&carol, None).await {
///     match error.kind() {
///         ErrorKind::UnknownServer(_) => println!("{carol} is gone already"),
///         ErrorKind::QuorumLoss { alive, needed, .. } => {
///             println!("{alive} voters would be left, and {needed} are needed");
///         }
///         _ => println!("{error}"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ClientError {
    kind: Box<ErrorKind>,
    pub(super) status: Option<u16>,
    pub(super) message: String,
    /// The message says by itself what to do and what has changed.
    pub(super) complete: bool,
    outcome: Outcome,
    pub(super) rings: Vec<RingListing>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ClientError {
    /// An error in the kind's own words, not applied.
    pub(super) fn new(kind: ErrorKind) -> Self {
        ClientError {
            status: None,
            message: kind.to_string(),
            complete: false,
            outcome: Outcome::NotApplied,
            rings: Vec::new(),
            source: None,
            kind: Box::new(kind),
        }
    }

    pub(super) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub(super) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    pub(super) fn with_source(mut self, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = source;
        self
    }

    /// What went wrong.
    ///
    /// A server that answers in [`Precise`](crate::consul::Dialect::Precise) says it
    /// with all its data. For other servers, Consul among them, it is concluded from
    /// the text and the status; data that neither they nor the request hold is empty
    /// or zero.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The status of the answer; `None` if there was none.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The server's words; without an answer, the client's.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells whether it happened all the same. Consul does not say it; then it is
    /// concluded from the error, and unknown where that does not tell.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What each ring did, for [`RingsFailed`](ErrorKind::RingsFailed) from a server
    /// that answers in [`Precise`](crate::consul::Dialect::Precise); otherwise empty.
    pub fn rings(&self) -> &[RingListing] {
        &self.rings
    }

    /// What to do about it, if the [message](ClientError::message) does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        if self.complete {
            return None;
        }
        Some(match *self.kind {
            ErrorKind::InvalidRequest { .. } => "check the parameters, and the server's version",
            ErrorKind::PermissionDenied { .. } => {
                "use a token whose policy has `operator` or `keyring` with read or write"
            }
            ErrorKind::UnknownToken => "the token may be mistyped, expired or deleted",
            ErrorKind::NoLeader => {
                "check that a majority of the voters is up, or read with Consistency::Stale"
            }
            ErrorKind::NoPathToDatacenter { .. } => "check its name, and that it is joined",
            ErrorKind::Unreachable { .. } => "check the address, and that the server is up",
            ErrorKind::DeadlineExceeded { .. } => {
                "check that the server is up, or allow more time with with_deadline"
            }
            ErrorKind::UnknownServer(_) => "read the Raft configuration for ids and addresses",
            ErrorKind::LastVoter => "a cluster needs one voter: add another one first",
            ErrorKind::RingsFailed { .. } => {
                "list the keys to see which rings have changed, then repeat it for the rest"
            }
            ErrorKind::Unsupported { .. } => "check the address and the server's version",
            ErrorKind::InvalidReply { .. } => {
                "check that the server speaks Consul's API, or raise with_answer_limit"
            }
            ErrorKind::Unavailable { .. } => "try again in a while",
            ErrorKind::Backend { .. } => "look into the server's log",
            _ => return None,
        })
    }
}

/// The message, the status, and what neither of them says: what to do, and whether
/// something may have changed.
impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if self.complete {
            return Ok(());
        }
        if let Some(advice) = self.advice() {
            write!(f, "; {advice}")?;
        }
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
