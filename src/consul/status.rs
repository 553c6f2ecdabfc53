//! Which status an error has, and how it is written.

use serde::Serialize;

use super::endpoint::View;
use super::fault;
use super::message::{PROBLEM, Response};
use crate::acl::Access;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::NodeFailure;
use crate::operation::RingOutcome;

/// The status of an error in the `Precise` dialect.
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
        | ErrorKind::AlreadyLeader { .. }
        | ErrorKind::NotVoter { .. }
        | ErrorKind::NoTransferTarget
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

/// The status of a keyring operation in which these rings failed: the one that
/// they share, else 500. A ring that may have changed has no status of 4xx, since
/// a client takes that for a refusal.
pub(super) fn of_rings<'a>(failed: impl Iterator<Item = &'a RingOutcome>) -> u16 {
    let mut statuses = failed.map(|ring| {
        let status = match (&ring.error, &ring.report) {
            (Some(error), _) => of(error),
            (None, None) => 500,
            (None, Some(report)) => {
                let is_size = |failure: &NodeFailure| *failure == NodeFailure::KeySize;
                match report.failures().any(|(_, failure)| is_size(failure)) {
                    true => 500,
                    false => 409,
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

/// An error of the `Precise` dialect, with what the operator can do and what is
/// known of the change.
pub(super) fn precise(error: &OperatorError, view: &View) -> Response {
    let status = of(error);
    let outcome = (view.access == Access::Write).then(|| error.outcome());
    let kind = fault::shown(error.kind(), view.addresses);
    let mut text = fault::precise(&kind);
    match outcome {
        Some(Outcome::Applied) => text.push_str(" (the change has been made)"),
        Some(Outcome::Unknown) => {
            text.push_str(" (the change may have been made: look before you repeat it)");
        }
        Some(Outcome::NotApplied) | None => {}
    }
    let response = if view.form.problem {
        problem_response(status, &text, outcome, Some(&kind))
    } else {
        Response::text(status, text)
    };
    described(response, error)
}

/// An error text of Consul, which finds the status by looking for words in it.
pub(super) fn consul(text: String) -> Response {
    let forbidden = text.contains("Permission denied") || text.contains("ACL not found");
    Response::text(if forbidden { 403 } else { 500 }, text)
}

/// Names the kind of the error in a header, so that a program need not search the
/// text for it.
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
        problem_response(status, text, None, None)
    } else {
        Response::text(status, text.to_owned())
    }
}

/// RFC 9457, with the outcome, and the kind of the error with its data.
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
}

fn problem_response(
    status: u16,
    detail: &str,
    outcome: Option<Outcome>,
    kind: Option<&ErrorKind>,
) -> Response {
    let problem = Problem {
        r#type: "about:blank",
        title: title(status),
        status,
        detail,
        outcome,
        kind,
    };
    match serde_json::to_vec(&problem) {
        Ok(body) => Response::new(status, PROBLEM, body),
        Err(_) => Response::text(status, detail.to_owned()),
    }
}

/// The status in HTTP's own words, as RFC 9457 wants it beside `about:blank`.
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
