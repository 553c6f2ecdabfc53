//! The kinds of errors, and their texts.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::types::{
    Access, ConfigVersion, DatacenterName, Identity, InvalidKey, LeaderHint, PeerSelector, Pool,
    Resource, ServerId,
};

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
    /// The nodes gossip in clear text and have no keyring.
    #[error("gossip encryption is off: start every node with a gossip key first")]
    EncryptionOff,
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

    /// The default outcome of this kind: unknown only where an operation may have
    /// been under way when the answer was given up.
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
