//! Which status an error has, and how it is written.

use super::json::JsonWriter;
use super::message::Response;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::NodeFailure;
use crate::reply::RingOutcome;

/// The status of an error in the `Precise` dialect.
pub(super) fn of(error: &OperatorError) -> u16 {
    match error.kind() {
        ErrorKind::InvalidRequest { .. } | ErrorKind::InvalidKey(_) => 400,
        ErrorKind::PermissionDenied { .. } | ErrorKind::UnknownToken => 403,
        ErrorKind::NoPathToDatacenter { .. } | ErrorKind::UnknownServer(_) => 404,
        ErrorKind::LastVoter | ErrorKind::QuorumLoss { .. } | ErrorKind::Conflict { .. } => 409,
        ErrorKind::Unsupported { .. } => 501,
        ErrorKind::Unreachable { .. } => 502,
        ErrorKind::NoLeader
        | ErrorKind::NotLeader { .. }
        | ErrorKind::TooManyHops { .. }
        | ErrorKind::AuthorizerUnavailable { .. } => 503,
        ErrorKind::DeadlineExceeded { .. } => 504,
        _ => 500,
    }
}

/// The status of a keyring operation in which these rings failed: the one that
/// they share, else 500.
pub(super) fn of_rings<'a>(failed: impl Iterator<Item = &'a RingOutcome>) -> u16 {
    let mut statuses = failed.map(|ring| match &ring.result {
        Err(error) => of(error),
        Ok(report) => {
            let refused = report.failures().all(|(_, failure)| {
                matches!(
                    failure,
                    NodeFailure::KeyNotInstalled
                        | NodeFailure::PrimaryKey
                        | NodeFailure::EncryptionOff
                )
            });
            if refused && report.errors > 0 {
                409
            } else {
                500
            }
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
pub(super) fn precise(error: &OperatorError, writes: bool, problem: bool) -> Response {
    let status = of(error);
    let outcome = writes.then(|| error.outcome());
    let mut text = super::fault::precise(error);
    match outcome {
        Some(Outcome::Applied) => text.push_str(" (the change has been made)"),
        Some(Outcome::Unknown) => {
            text.push_str(" (the change may have been made: look before you repeat it)");
        }
        Some(Outcome::NotApplied) | None => {}
    }
    let response = if problem {
        problem_response(status, &text, outcome)
    } else {
        Response::text(status, text)
    };
    if status == 503 {
        response.with("Retry-After", "1")
    } else {
        response
    }
}

pub(super) fn error_response(status: u16, text: &str, problem: bool) -> Response {
    if problem {
        problem_response(status, text, None)
    } else {
        Response::text(status, text.to_owned())
    }
}

/// RFC 9457.
fn problem_response(status: u16, detail: &str, outcome: Option<Outcome>) -> Response {
    let mut body = Vec::new();
    let mut json = JsonWriter::new(&mut body, false);
    json.begin_object();
    json.field("type");
    json.string("about:blank");
    json.field("title");
    json.string(title(status));
    json.field("status");
    json.u64(status.into());
    json.field("detail");
    json.string(detail);
    if let Some(outcome) = outcome {
        json.field("outcome");
        json.string(match outcome {
            Outcome::NotApplied => "not-applied",
            Outcome::Applied => "applied",
            Outcome::Unknown => "unknown",
        });
    }
    json.end_object();
    Response::new(status, "application/problem+json", body)
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
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

/// Whether an Accept header asks for RFC 9457. A wildcard does not: whoever does
/// not name it gets the text that Consul's clients print.
pub(super) fn wants_problem(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|media| media.eq_ignore_ascii_case("application/problem+json"));
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

    #[test]
    fn a_problem_has_to_be_named() {
        assert!(wants_problem("text/html, Application/problem+json;q=0.5"));
        assert!(!wants_problem("*/*"));
        assert!(!wants_problem("application/json"));
        assert!(!wants_problem("application/problem+json; q=0"));
    }
}
