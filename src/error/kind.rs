//! The kinds of errors, and their texts.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::types::{
    Access, ConfigVersion, DatacenterName, Identity, InvalidKey, LeaderHint, PeerSelector, Pool,
    Resource, ServerId,
};

/// The kind of an [`OperatorError`](super::OperatorError), for programs. Servers and
/// clients share it.
///
/// It serializes as `{"kind": NAME, "data": {..}}`, in a problem document too; its
/// [name](ErrorKind::name) is in the header `X-Operator-Error` of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A parameter of the request is invalid.
    #[error("{reason}")]
    InvalidRequest {
        /// The parameter and what is wrong with it.
        reason: String,
    },
    /// The gossip key is malformed.
    #[error("{0}: give a key of 16, 24 or 32 bytes in padded standard base64")]
    InvalidKey(InvalidKey),
    /// The token does not allow the operation.
    #[error(fmt = denied)]
    PermissionDenied {
        /// The resource that the operation reads or changes.
        resource: Resource,
        /// The access that the operation needs.
        access: Access,
        /// The owner of the token.
        identity: Identity,
    },
    /// The token does not exist.
    #[error("the ACL token is not known: it may be mistyped, expired or deleted")]
    UnknownToken,
    /// The authorizer is unavailable.
    #[error("cannot check the ACL token now, try again: {reason}")]
    AuthorizerUnavailable {
        /// The reason that the authorizer gives.
        reason: String,
    },
    /// The datacenter has no leader at this moment.
    #[error("no cluster leader: check that a majority of the voters is up, or ask with ?stale")]
    NoLeader,
    /// This server is not in the Raft configuration: it was removed, or has not yet
    /// joined.
    #[error(
        "this server ({id}) is not in the Raft configuration, so it knows no leader: ask another \
         server, or join it again"
    )]
    NotMember {
        /// The server's id.
        id: ServerId,
    },
    /// This server is not the leader, or not any more.
    #[error(fmt = not_leader)]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<LeaderHint>,
    },
    /// The datacenter is unknown.
    #[error("no path to datacenter {datacenter:?}: check its name, and that it is joined")]
    NoPathToDatacenter {
        /// The datacenter in the request.
        datacenter: DatacenterName,
    },
    /// A server or datacenter is unreachable.
    #[error("cannot reach {target}: {reason}")]
    Unreachable {
        /// The server or datacenter.
        target: String,
        /// The reason that the transport gives.
        reason: String,
    },
    /// An answer did not arrive within the timeout.
    #[error("no answer from {target} within {} ms", after.as_millis())]
    DeadlineExceeded {
        /// The server, datacenter, pool or authorizer that did not answer.
        target: String,
        /// The timeout.
        after: Duration,
    },
    /// The server is not in the Raft configuration.
    #[error("{0} was not found in the Raft configuration")]
    UnknownServer(PeerSelector),
    /// The server is the last voter, and a cluster needs one.
    #[error("the last voter cannot be removed from the Raft configuration")]
    LastVoter,
    /// Too few of the voters that stay would be alive for the majority that the quorum
    /// guard requires.
    #[error(
        "removing this voter would leave {alive} of {voters} voters alive, and {needed} are \
         needed: remove the dead ones first, bring them back, or add a voter"
    )]
    QuorumLoss {
        /// The number of voters that would stay.
        voters: usize,
        /// The number of those that are alive.
        alive: usize,
        /// The number of those that have to be alive.
        needed: usize,
    },
    /// Too few of the voters that stay have confirmed that they are alive.
    #[error(
        "only {confirmed} of the voters that stay confirmed a new log entry within {} ms, and \
         {needed} are needed, so nothing was changed: check that the others are up",
        after.as_millis()
    )]
    QuorumUnproven {
        /// The number of voters that confirmed the entry.
        confirmed: usize,
        /// The number of voters that have to.
        needed: usize,
        /// The timeout of the proof.
        after: Duration,
    },
    /// The version of the Raft configuration is not the expected one.
    #[error(fmt = conflict)]
    Conflict {
        /// The expected version.
        expected: ConfigVersion,
        /// The actual version.
        actual: ConfigVersion,
    },
    /// The leader's term is not the expected one.
    #[error(
        "the leader's term is {actual}, not {expected}: read the Raft configuration again, then \
         repeat it"
    )]
    TermChanged {
        /// The expected term.
        expected: u64,
        /// The actual term.
        actual: u64,
    },
    /// Another change of the Raft configuration is in progress.
    #[error(
        "another change of the Raft configuration is in progress: repeat it once that is committed"
    )]
    ChangeInProgress,
    /// The server to replace has no vote.
    #[error("server {id} has no vote, so there is nothing to replace: remove it instead")]
    NothingToReplace {
        /// The server's id.
        id: ServerId,
    },
    /// The server that should become a voter is one already.
    #[error("server {id} has a vote already: name a server without one that has the whole log")]
    AlreadyVoter {
        /// The server's id.
        id: ServerId,
    },
    /// The server that should become a voter does not have the whole log.
    #[error(
        "server {id} did not confirm a new log entry within {} ms, so nothing was changed: check \
         that it is up, and wait until it has the whole log",
        after.as_millis()
    )]
    NotCaughtUp {
        /// The server's id.
        id: ServerId,
        /// The timeout of the proof.
        after: Duration,
    },
    /// The target of a leadership transfer is already the leader.
    #[error("server {id} leads already")]
    AlreadyLeader {
        /// The server's id.
        id: ServerId,
    },
    /// The target of a leadership transfer is not a voter.
    #[error("server {id} has no vote, so it cannot lead: name a voter")]
    NotVoter {
        /// The server's id.
        id: ServerId,
    },
    /// No other voter is available as the target of a leadership transfer.
    #[error("no other voter is up that could lead: add a voter, or bring one back")]
    NoTransferTarget,
    /// A leadership transfer ended with another leader than its target.
    ///
    /// It is not applied in the sense that the target does not lead. Another election has
    /// taken place, though, and the old leader may have lost its leadership.
    #[error("server {leader} leads now, not the target of the transfer: repeat it")]
    TransferredElsewhere {
        /// The leader's id, which may be that of the old leader.
        leader: ServerId,
    },
    /// The nodes gossip in clear text and have no keyring.
    #[error("gossip encryption is off: start every node with a gossip key first")]
    EncryptionOff,
    /// Some rings did not confirm the operation.
    #[error(fmt = rings_failed)]
    RingsFailed {
        /// The rings that did not.
        failed: Vec<(DatacenterName, Pool)>,
        /// The number of all rings.
        rings: usize,
    },
    /// The server has no backend for the operation, or the backend does not support
    /// it.
    #[error("{what} is not supported by this server")]
    Unsupported {
        /// The feature that is not supported.
        what: String,
    },
    /// The request was forwarded too often.
    #[error("the request was forwarded {hops} times without meeting the leader: try again")]
    TooManyHops {
        /// The number of times that it was forwarded.
        hops: u8,
    },
    /// Two servers speak different versions of the server call.
    #[error("the server call cannot be read: {reason}")]
    IncompatibleServer {
        /// The versions, and which server is too old.
        reason: String,
    },
    /// A server's reply is malformed or does not answer the request.
    #[error("the answer cannot be read: {reason}")]
    InvalidReply {
        /// The reason.
        reason: String,
    },
    /// The server cannot serve the request at this moment.
    #[error("{reason}")]
    Unavailable {
        /// The reason that the server gives.
        reason: String,
    },
    /// The backend or the server failed.
    #[error("{message}")]
    Backend {
        /// The message that it gives.
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

/// The largest number of failed rings that an error's text names.
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
    /// Returns the name of the kind, as in the header `X-Operator-Error`.
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
            ErrorKind::NothingToReplace { .. } => "nothing-to-replace",
            ErrorKind::AlreadyVoter { .. } => "already-voter",
            ErrorKind::NotCaughtUp { .. } => "not-caught-up",
            ErrorKind::AlreadyLeader { .. } => "already-leader",
            ErrorKind::NotVoter { .. } => "not-voter",
            ErrorKind::NoTransferTarget => "no-transfer-target",
            ErrorKind::TransferredElsewhere { .. } => "transferred-elsewhere",
            ErrorKind::EncryptionOff => "encryption-off",
            ErrorKind::RingsFailed { .. } => "rings-failed",
            ErrorKind::Unsupported { .. } => "unsupported",
            ErrorKind::TooManyHops { .. } => "too-many-hops",
            ErrorKind::IncompatibleServer { .. } => "incompatible-server",
            ErrorKind::InvalidReply { .. } => "invalid-reply",
            ErrorKind::Unavailable { .. } => "unavailable",
            ErrorKind::Backend { .. } => "backend",
        }
    }

    /// Returns the default outcome of this kind. It is unknown only where the error can
    /// occur after the operation was sent.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            ErrorKind::DeadlineExceeded { .. }
            | ErrorKind::RingsFailed { .. }
            | ErrorKind::InvalidReply { .. }
            | ErrorKind::Backend { .. } => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::OperatorError;

    #[test]
    fn failed_rings_are_named() {
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
    fn eight_failed_rings_are_named_and_the_rest_counted() {
        let segment = |n: u32| ("dc1".into(), Pool::Segment(format!("{n}").into()));
        let text = |failed: u32| {
            let failed = (0..failed).map(segment).collect();
            OperatorError::new(ErrorKind::RingsFailed { failed, rings: 99 }).to_string()
        };
        assert!(text(8).ends_with(", dc1 (segment 7)"));
        assert!(text(48).ends_with(", dc1 (segment 7) and 40 more"));
    }
}
