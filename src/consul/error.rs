//! How errors are written: their status, their text, and a problem document.

use std::borrow::Cow;

use serde::Serialize;

use super::dialect::{Denials, Rules};
use super::endpoint::{Endpoint, Group, View};
use super::go::{is_binary, quote};
use super::message::{BINARY, PROBLEM, Response, TEXT};
use crate::acl::{Access, Identity};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{NodeFailure, NodeMessage};
use crate::operation::RingOutcome;
use crate::raft::{PeerSelector, RemovalPlan};

/// Returns the status of an error in `Precise`.
pub(super) fn of(error: &OperatorError) -> u16 {
    match error.kind() {
        ErrorKind::InvalidRequest { .. } | ErrorKind::InvalidKey(_) => 400,
        ErrorKind::PermissionDenied { .. } | ErrorKind::UnknownToken => 403,
        ErrorKind::NoPathToDatacenter { .. } | ErrorKind::UnknownServer(_) => 404,
        ErrorKind::LastVoter
        | ErrorKind::QuorumLoss { .. }
        | ErrorKind::QuorumUnproven { .. }
        | ErrorKind::Conflict { .. }
        | ErrorKind::TermChanged { .. }
        | ErrorKind::ChangeInProgress
        | ErrorKind::NothingToReplace { .. }
        | ErrorKind::AlreadyVoter { .. }
        | ErrorKind::NotCaughtUp { .. }
        | ErrorKind::AlreadyLeader { .. }
        | ErrorKind::NotVoter { .. }
        | ErrorKind::NoTransferTarget
        | ErrorKind::TransferredElsewhere { .. }
        | ErrorKind::EncryptionOff => 409,
        ErrorKind::Unsupported { .. } => 501,
        ErrorKind::Unreachable { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::InvalidReply { .. } => 502,
        ErrorKind::NoLeader
        | ErrorKind::NotMember { .. }
        | ErrorKind::Unavailable { .. }
        | ErrorKind::NotLeader { .. }
        | ErrorKind::TooManyHops { .. }
        | ErrorKind::AuthorizerUnavailable { .. } => 503,
        ErrorKind::DeadlineExceeded { .. } => 504,
        _ => 500,
    }
}

/// Returns the status of a keyring operation in which these rings failed: their common
/// status, else 500. A ring that may have changed has no 4xx, which would say that it was
/// rejected.
pub(super) fn of_rings<'a>(failed: impl Iterator<Item = &'a RingOutcome>) -> u16 {
    let mut statuses = failed.map(|ring| {
        let status = match (&ring.error, &ring.report) {
            (Some(error), _) => of(error),
            (None, None) => 500,
            (None, Some(report)) => {
                let is_size = |failure: &NodeFailure| *failure == NodeFailure::KeySize;
                if report.failures().any(|(_, failure)| is_size(failure)) {
                    500
                } else {
                    409
                }
            }
        };
        match status {
            400..=499 if ring.outcome() != Outcome::NotApplied => 500,
            _ => status,
        }
    });
    let first = statuses.next().unwrap_or(500);
    if statuses.all(|status| status == first) {
        first
    } else {
        500
    }
}

/// Makes the response to an error in `Precise`, with what is known of the change.
pub(super) fn respond(error: &OperatorError, view: &View) -> Response {
    let status = of(error);
    let outcome = (view.access == Access::Write).then(|| error.outcome());
    let kind = shown(error.kind(), view.addresses);
    let mut text = precise_text(&kind);
    text.push_str(&error.ways_around());
    match outcome {
        Some(Outcome::Applied) => text.push_str(" (the change has been made)"),
        Some(Outcome::Unknown) => {
            text.push_str(" (the change may have been made: look before you repeat it)");
        }
        Some(Outcome::NotApplied) | None => {}
    }
    let response = if view.form.problem {
        problem_response(status, &text, outcome, Some(&kind), error.plan())
    } else {
        Response::text(status, text)
    };
    described(response, error)
}

/// Makes the response to an error in a Consul dialect. Consul finds the status by looking
/// for words in the text.
pub(super) fn respond_consul(text: String) -> Response {
    let forbidden = text.contains("Permission denied") || text.contains("ACL not found");
    let media = if is_binary(&text) { BINARY } else { TEXT };
    Response::new(if forbidden { 403 } else { 500 }, media, text)
}

/// Makes the response to a change of autopilot's configuration that contradicts itself, which
/// Consul would take.
pub(super) fn contradiction(error: &OperatorError, rules: &Rules) -> Response {
    Response::text(400, format!("{}{error}", rules.bad_request))
}

/// Adds the kind of the error in a header, for programs.
pub(super) fn described(response: Response, error: &OperatorError) -> Response {
    let retry = response.status == 503;
    let response = response.with("X-Operator-Error", error.kind().name());
    if retry {
        response.with("Retry-After", "1")
    } else {
        response
    }
}

pub(super) fn error_response(status: u16, text: &str, problem: bool) -> Response {
    if problem {
        problem_response(status, text, None, None, None)
    } else {
        Response::text(status, text.to_owned())
    }
}

/// A problem document (RFC 9457) with the outcome, the kind of the error with its data, and
/// the plan of a removal that was rejected.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(flatten)]
    kind: Option<&'a ErrorKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a RemovalPlan>,
}

fn problem_response(
    status: u16,
    detail: &str,
    outcome: Option<Outcome>,
    kind: Option<&ErrorKind>,
    plan: Option<&RemovalPlan>,
) -> Response {
    let problem = Problem {
        r#type: "about:blank",
        title: title(status),
        status,
        detail,
        outcome,
        kind,
        plan,
    };
    match serde_json::to_vec(&problem) {
        Ok(body) => Response::new(status, PROBLEM, body),
        Err(_) => Response::text(status, detail.to_owned()),
    }
}

/// Returns HTTP's name of a status, which RFC 9457 requires with `about:blank`.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

/// Tells whether an Accept header names a media type. A wildcard does not: a client that
/// names nothing gets the text that Consul's tools print.
pub(super) fn names(accept: &str, media: &str) -> bool {
    if matches!(accept, "" | "*/*") {
        return false;
    }
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|named| named.eq_ignore_ascii_case(media));
        let refused = |parameter: &str| {
            parameter
                .strip_prefix("q=")
                .is_some_and(|weight| weight.parse() == Ok(0.0))
        };
        named && !parts.any(refused)
    })
}

/// Tells whether an error shows the address of another server.
pub(super) fn names_server(error: &OperatorError) -> bool {
    matches!(shown(error.kind(), false), Cow::Owned(_))
}

/// Returns the kind of an error, without the addresses of other servers unless
/// `addresses` is set.
pub(super) fn shown(kind: &ErrorKind, addresses: bool) -> Cow<'_, ErrorKind> {
    let unnamed = |target: &str| match target.strip_prefix(SERVER) {
        Some(_) => "the leader".to_owned(),
        None => target.to_owned(),
    };
    match kind {
        _ if addresses => Cow::Borrowed(kind),
        ErrorKind::Unreachable { target, .. } => Cow::Owned(ErrorKind::Unreachable {
            target: unnamed(target),
            reason: "check that it is up, and that this server has its address".into(),
        }),
        ErrorKind::DeadlineExceeded { target, after } if target.starts_with(SERVER) => {
            Cow::Owned(ErrorKind::DeadlineExceeded {
                target: unnamed(target),
                after: *after,
            })
        }
        ErrorKind::NotLeader { leader: Some(_) } => {
            Cow::Owned(ErrorKind::NotLeader { leader: None })
        }
        // It has the id of this server.
        ErrorKind::NotMember { .. } => Cow::Owned(ErrorKind::NoLeader),
        _ => Cow::Borrowed(kind),
    }
}

/// The prefix of a server's address.
const SERVER: &str = "server ";

/// Returns the text in `Precise`: the error's own, or the newest Consul's if clients look
/// for its words.
pub(super) fn precise_text(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::PermissionDenied { identity, .. } => {
            let text = kind.to_string().replacen("permission", "Permission", 1);
            match identity {
                Identity::Anonymous => {
                    text + ". The anonymous token is used implicitly when a request does not \
                            specify a token."
                }
                _ => text,
            }
        }
        ErrorKind::UnknownToken => "ACL not found".into(),
        ErrorKind::NoLeader => {
            let text = kind.to_string();
            text.replacen("no cluster leader", "No cluster leader", 1)
        }
        ErrorKind::NoPathToDatacenter { datacenter } => format!(
            "No path to datacenter {}: check its name, and that it is joined",
            quote(datacenter.as_str())
        ),
        ErrorKind::UnknownServer(server) => unknown_server(server, None),
        kind => kind.to_string(),
    }
}

/// Returns the text in a Consul dialect.
pub(super) fn consul_text(error: &OperatorError, view: &View, rules: &Rules) -> String {
    let forwards = match error.kind() {
        // Consul transfers the leadership over gRPC, which adds none.
        _ if view.endpoint == Endpoint::TransferLeader => 0,
        // The server that could not be reached adds another prefix.
        ErrorKind::Unreachable { .. } => error.forwards().saturating_sub(1),
        _ => error.forwards(),
    };
    let mut text = rules.forwarded.repeat(forwards.into());
    let own = match &*shown(error.kind(), view.addresses) {
        ErrorKind::PermissionDenied { access, .. } if rules.denials == Denials::Terse => {
            denied(view.endpoint, *access)
        }
        kind @ ErrorKind::PermissionDenied { .. } => precise_text(kind),
        ErrorKind::UnknownToken => "ACL not found".into(),
        ErrorKind::NoLeader | ErrorKind::NotLeader { .. } | ErrorKind::NotMember { .. } => {
            "No cluster leader".into()
        }
        ErrorKind::NoPathToDatacenter { .. } => "No path to datacenter".into(),
        ErrorKind::UnknownServer(PeerSelector::Id(id))
            if view.endpoint == Endpoint::TransferLeader =>
        {
            match view.broken_name {
                None => format!("Could not find address for server id {id}"),
                // As gRPC refuses to send it.
                Some(_) => {
                    "grpc: error while marshaling: string field contains invalid UTF-8".into()
                }
            }
        }
        ErrorKind::UnknownServer(server) => unknown_server(server, view.broken_name.as_deref()),
        ErrorKind::AlreadyLeader { .. } => "cannot transfer leadership to itself".into(),
        ErrorKind::NoTransferTarget => "cannot find peer".into(),
        ErrorKind::LastVoter => rules.last_voter.into(),
        ErrorKind::InvalidKey(error) => error.to_string(),
        // The request was sent and not answered.
        ErrorKind::Unreachable { .. } if error.outcome() == Outcome::Unknown => {
            format!("{}stream closed", rules.forwarded)
        }
        ErrorKind::Unreachable { target, .. } => {
            let address = target.strip_prefix(SERVER).filter(|_| view.addresses);
            format!(
                "{}failed to get conn: dial tcp{}{}: connect: connection refused",
                rules.no_connection,
                if address.is_some() { " " } else { "" },
                address.unwrap_or_default()
            )
        }
        kind => kind.to_string(),
    };
    text.push_str(&own);
    text
}

fn denied(endpoint: Endpoint, access: Access) -> String {
    match (endpoint.group(), access) {
        (Group::Keyring, Access::Read) => "Reading keyring denied by ACLs".into(),
        (Group::Keyring, Access::Write) => "Modifying keyring denied due to ACLs".into(),
        (Group::Autopilot, _) => {
            format!("Permission denied: Missing operator:{access} permissions")
        }
        _ => "Permission denied".into(),
    }
}

/// `broken` is the name of the server as it was given, if that is not UTF-8.
fn unknown_server(server: &PeerSelector, broken: Option<&[u8]>) -> String {
    let (what, name) = match server {
        PeerSelector::Id(id) => ("id", id.as_str()),
        PeerSelector::Address(address) => ("address", address.as_str()),
    };
    format!(
        "{what} {} was not found in the Raft configuration",
        quote(broken.unwrap_or(name.as_bytes()))
    )
}

/// Returns the message of a node in Serf's words.
pub(super) fn message(message: &NodeMessage, access: Access) -> Cow<'_, str> {
    match message {
        NodeMessage::Failed(failure) => match (failure, access) {
            (NodeFailure::KeyNotInstalled, _) => "Requested key is not in the keyring".into(),
            (NodeFailure::PrimaryKey, _) => "Removing the primary key is not allowed".into(),
            (NodeFailure::EncryptionOff, Access::Read) => {
                "Keyring is empty (encryption not enabled)".into()
            }
            (NodeFailure::EncryptionOff, Access::Write) => {
                "No keyring to modify (encryption not enabled)".into()
            }
            (NodeFailure::KeySize, _) => "key size must be 16, 24 or 32 bytes".into(),
            (failure, _) => failure.to_string().into(),
        },
        NodeMessage::Truncated { shown, total } => {
            format!("truncated key list response, showing first {shown} of {total} keys").into()
        }
        NodeMessage::Note(note) => note.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{Pool, RingReport};

    fn refused(nodes: usize, failures: &[NodeFailure]) -> RingOutcome {
        let mut report = RingReport::new(nodes);
        for (node, failure) in failures.iter().enumerate() {
            report.failed(format!("node-{node}").into(), failure.clone());
        }
        RingOutcome::new("dc1", Pool::Lan, report)
    }

    #[test]
    fn ring_is_a_conflict_only_if_every_node_refused() {
        let named = NodeFailure::KeyNotInstalled;
        let all = refused(2, &[named.clone(), NodeFailure::PrimaryKey]);
        assert_eq!(of_rings([&all].into_iter()), 409);
        let silent = refused(2, std::slice::from_ref(&named));
        let mut partly = silent.clone();
        partly.report.as_mut().unwrap().done();
        let other = refused(2, &[named, NodeFailure::Other("disk full".into())]);
        for ring in [silent, partly, other] {
            assert_eq!(of_rings([&ring].into_iter()), 500, "{ring:?}");
        }
    }

    #[test]
    fn ring_that_may_have_changed_has_no_4xx_status() {
        let denied = OperatorError::new(ErrorKind::UnknownToken);
        let unasked = RingOutcome::failed("dc1", Pool::Lan, denied.clone());
        assert_eq!(of_rings([&unasked].into_iter()), 403);
        let mut changed = RingOutcome::new("dc1", Pool::Lan, RingReport::new(2));
        changed.report.as_mut().unwrap().done();
        changed.error = Some(denied);
        assert_eq!(of_rings([&changed].into_iter()), 500);
    }

    #[test]
    fn media_type_has_to_be_named() {
        assert!(names("text/html, Application/problem+json;q=0.5", PROBLEM));
        assert!(!names("*/*", PROBLEM));
        assert!(!names("application/json", PROBLEM));
        assert!(!names("application/problem+json; q=0", PROBLEM));
    }
}
