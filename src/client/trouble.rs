//! Why another server's answer could not be had, and what follows from it.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;

use super::ServerUri;
use super::protocol::{JSON, PEER_PATH, Unreadable, read_answer};
use super::transport::{Answer, Cause, Failure};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::peers::Target;
use crate::reply::OperatorReply;

/// One server's answer could not be had.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whether its service may have seen the request.
    pub(super) arrived: bool,
    reason: Reason,
    source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("the request cannot be written: {0}")]
    Request(Box<dyn Error + Send + Sync>),
    #[error("{0}")]
    Transport(Cause),
    #[error("{}", hint(*.0))]
    Status(StatusCode),
    #[error("what answers there is no PeerHttp: check the address, and what is between")]
    Stranger,
    #[error("the answer is {0}: do all servers run the same version?")]
    Unreadable(Unreadable),
}

/// The status, and what to do about it. What the answer says is left out: it may
/// come from anyone, and repeat anything.
fn hint(status: StatusCode) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED => "give both servers the same shared secret",
        StatusCode::NOT_FOUND => "check that PeerHttp is mounted, and of the same version",
        StatusCode::PAYLOAD_TOO_LARGE => "raise PeerHttp::with_body_limit there",
        StatusCode::BAD_REQUEST => "check that all servers run the same version",
        _ => "check what is between the servers",
    };
    format!("it answers HTTP {} at {PEER_PATH}: {hint}", status.as_u16())
}

impl Trouble {
    /// The request could not be made.
    pub(super) fn unwritten(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Trouble {
            arrived: false,
            reason: Reason::Request(source.into()),
            source: None,
        }
    }

    /// Whether there is no time left for another server.
    pub(super) fn is_late(&self) -> bool {
        matches!(self.reason, Reason::Transport(Cause::Late(_)))
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble {
            arrived: failure.sent,
            reason: Reason::Transport(failure.cause.clone()),
            source: failure.into_source(),
        }
    }
}

/// What the other service answered, if it did.
pub(super) fn read(answer: &Answer) -> Result<Result<OperatorReply, OperatorError>, Trouble> {
    let trouble = |arrived, reason| Trouble {
        arrived,
        reason,
        source: None,
    };
    if answer.status != StatusCode::OK {
        // A 4xx says that the request was not carried out, whoever says it.
        let arrived = !answer.status.is_client_error();
        return Err(trouble(arrived, Reason::Status(answer.status)));
    }
    if answer.content_type != JSON {
        return Err(trouble(true, Reason::Stranger));
    }
    read_answer(&answer.body).map_err(|error| trouble(true, Reason::Unreadable(error)))
}

/// The error that stands for all that were tried.
pub(super) fn failed(
    target: &Target,
    tried: Vec<(&ServerUri, Trouble)>,
    writes: bool,
    deadline: Duration,
) -> OperatorError {
    let arrived = tried.iter().any(|(_, trouble)| trouble.arrived);
    let reasons: Vec<_> = tried
        .iter()
        .map(|(uri, trouble)| format!("{uri}: {}", trouble.reason))
        .collect();
    let reason = reasons.join("; ");
    let last = tried.into_iter().next_back().map(|(_, trouble)| trouble);
    let kind = match last.as_ref().map(|trouble| &trouble.reason) {
        Some(Reason::Transport(Cause::Late(_))) => ErrorKind::DeadlineExceeded {
            target: name(target),
            after: deadline,
        },
        Some(Reason::Transport(Cause::TooLarge(_)) | Reason::Unreadable(_)) => ErrorKind::Backend {
            message: format!("cannot read the answer of {}: {reason}", name(target)),
        },
        _ => ErrorKind::Unreachable {
            target: name(target),
            reason,
        },
    };
    let outcome = if writes && arrived {
        Outcome::Unknown
    } else {
        Outcome::NotApplied
    };
    let error = OperatorError::new(kind).with_outcome(outcome);
    match last.and_then(|trouble| trouble.source) {
        Some(source) => error.with_source(source),
        None => error,
    }
}

pub(super) fn name(target: &Target) -> String {
    match target {
        Target::Server(leader) => format!("server {}", leader.address),
        Target::Datacenter(datacenter) => format!("datacenter {datacenter}"),
    }
}
