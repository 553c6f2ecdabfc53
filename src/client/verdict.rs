//! What a server's refusal means.

use serde::Deserialize;

use super::error::{ClientError, ClientErrorKind};
use super::ring::{KeyRing, outcome};
use super::transport::{Answer, Cause, Failure};
use crate::error::Outcome;

/// What was asked, as far as an error's meaning depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Read,
    /// One Raft cluster is changed, by its leader.
    WriteRaft,
    /// Many rings are changed, one after another.
    WriteRings,
}

/// How much of an error's text is kept, in bytes.
const TEXT_LIMIT: usize = 4096;

/// RFC 9457, with the member that this library's servers add.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    outcome: Option<String>,
}

/// The error of an answer that is no success. `secrets` are what the request
/// contained; a proxy might repeat them.
pub(super) fn refused(answer: &Answer, asked: Asked, secrets: &[&str]) -> ClientError {
    let status = answer.status.as_u16();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut error = match answer.content_type.as_str() {
        "application/problem+json" => match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => precise(status, asked, problem),
            Err(_) => plain(status, asked, text),
        },
        "application/json" => match serde_json::from_str::<Vec<KeyRing>>(&text) {
            Ok(rings) => of_rings(asked, rings),
            Err(_) => plain(status, asked, text),
        },
        _ => plain(status, asked, text),
    };
    error.status = Some(status);
    // After it was decoded, since escapes could hide a secret before.
    error.message = cut(without(secrets, &error.message));
    if error.message.is_empty() {
        error.message = "the server does not say what is wrong".into();
    }
    for ring in &mut error.rings {
        let told = ring.error.iter_mut().chain(ring.messages.values_mut());
        told.for_each(|text| *text = cut(without(secrets, text)));
    }
    error
}

/// The error of an answer that did not come.
pub(super) fn unanswered(failure: Failure, asked: Asked) -> ClientError {
    let kind = match &failure.cause {
        Cause::Late(_) => ClientErrorKind::DeadlineExceeded,
        Cause::TooLarge(_) => ClientErrorKind::InvalidAnswer,
        Cause::NoConnection(_) | Cause::Broken(_) => ClientErrorKind::Unreachable,
    };
    let outcome = match asked {
        Asked::Read => Outcome::NotApplied,
        _ if !failure.sent => Outcome::NotApplied,
        _ => Outcome::Unknown,
    };
    ClientError::new(kind, failure.cause.to_string())
        .with_outcome(outcome)
        .with_source(failure.into_source())
}

fn without(secrets: &[&str], text: &str) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, ".."))
}

/// From a server of this library's own dialect, which says what to do and what
/// has happened.
fn precise(status: u16, asked: Asked, problem: Problem) -> ClientError {
    let kind = kind(status, &problem.detail);
    let outcome = match problem.outcome {
        Some(word) => outcome(&word),
        None => concluded(asked, status, kind, &problem.detail),
    };
    let mut error = ClientError::new(kind, problem.detail).with_outcome(outcome);
    error.complete = true;
    error
}

fn of_rings(asked: Asked, rings: Vec<KeyRing>) -> ClientError {
    let failed: Vec<_> = rings
        .iter()
        .filter_map(|ring| {
            let error = ring.error.as_ref()?;
            Some(format!("{} ({}): {error}", ring.datacenter, ring.pool))
        })
        .collect();
    let message = format!(
        "{} of {} rings failed: {}",
        failed.len(),
        rings.len(),
        failed.join("; ")
    );
    let unchanged =
        |ring: &KeyRing| ring.error.is_some() && ring.outcome == Some(Outcome::NotApplied);
    let outcome = if asked == Asked::Read || rings.iter().all(unchanged) {
        Outcome::NotApplied
    } else {
        Outcome::Unknown
    };
    let mut error = ClientError::new(ClientErrorKind::RingsFailed, message);
    error.rings = rings;
    error.with_outcome(outcome)
}

/// From Consul, or from whatever stands in front of it.
fn plain(status: u16, asked: Asked, text: String) -> ClientError {
    let kind = kind(status, &text);
    let outcome = concluded(asked, status, kind, &text);
    ClientError::new(kind, text).with_outcome(outcome)
}

/// Consul's texts tell more than its statuses, and the newest one's are this
/// library's.
fn kind(status: u16, text: &str) -> ClientErrorKind {
    const TEXTS: [(&str, ClientErrorKind); 15] = [
        ("ermission denied", ClientErrorKind::PermissionDenied),
        ("eyring denied ", ClientErrorKind::PermissionDenied),
        ("ACL not found", ClientErrorKind::UnknownToken),
        ("o cluster leader", ClientErrorKind::NoLeader),
        ("o path to datacenter", ClientErrorKind::NoPathToDatacenter),
        (
            "was not found in the Raft configuration",
            ClientErrorKind::UnknownServer,
        ),
        (
            "ould not find address for server id",
            ClientErrorKind::UnknownServer,
        ),
        ("eed at least one voter", ClientErrorKind::LastVoter),
        ("last voter cannot be removed", ClientErrorKind::LastVoter),
        ("which is no quorum", ClientErrorKind::QuorumLoss),
        (
            "the Raft configuration is at index",
            ClientErrorKind::Conflict,
        ),
        ("nodes reported ", ClientErrorKind::RingsFailed),
        ("connection refused", ClientErrorKind::Unreachable),
        ("failed to get conn", ClientErrorKind::Unreachable),
        ("stream closed", ClientErrorKind::Unreachable),
    ];
    let told = TEXTS.iter().find(|(part, _)| text.contains(part));
    match (status, told) {
        (400 | 413, _) => ClientErrorKind::InvalidRequest,
        (_, Some((_, kind))) => *kind,
        (401 | 403, None) => ClientErrorKind::PermissionDenied,
        (300..=399 | 404 | 405 | 501, None) => ClientErrorKind::Unsupported,
        (408 | 504, None) => ClientErrorKind::DeadlineExceeded,
        (409, None) => ClientErrorKind::Conflict,
        (429 | 503, None) => ClientErrorKind::Unavailable,
        (502, None) => ClientErrorKind::Unreachable,
        (400..=499, None) => ClientErrorKind::InvalidRequest,
        _ => ClientErrorKind::Server,
    }
}

/// The outcome that a server does not tell.
fn concluded(asked: Asked, status: u16, kind: ClientErrorKind, text: &str) -> Outcome {
    let refused = match asked {
        Asked::Read => true,
        // Decided before the log is written.
        Asked::WriteRaft => {
            (400..=499).contains(&status)
                || matches!(
                    kind,
                    ClientErrorKind::PermissionDenied
                        | ClientErrorKind::UnknownToken
                        | ClientErrorKind::NoPathToDatacenter
                        | ClientErrorKind::UnknownServer
                        | ClientErrorKind::LastVoter
                        | ClientErrorKind::QuorumLoss
                        | ClientErrorKind::Conflict
                        | ClientErrorKind::NoLeader
                        | ClientErrorKind::Unsupported
                )
        }
        // Consul changes its own rings before it asks the other datacenters, and
        // then answers with the first error that comes from there.
        Asked::WriteRings => {
            let local = !text.starts_with("rpc error");
            let denied = matches!(
                kind,
                ClientErrorKind::PermissionDenied | ClientErrorKind::UnknownToken
            );
            match status {
                403 => local,
                400..=499 => true,
                _ => local && (denied || kind == ClientErrorKind::Unsupported),
            }
        }
    };
    if refused {
        Outcome::NotApplied
    } else {
        Outcome::Unknown
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        let mut end = TEXT_LIMIT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" ...");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            content_type: content_type.into(),
            body: body.to_owned().into(),
        }
    }

    fn outcome_of(asked: Asked, status: u16, body: &str) -> Outcome {
        refused(&answer(status, "text/plain", body), asked, &[]).outcome()
    }

    #[test]
    fn a_remote_denial_may_come_after_local_rings_have_changed() {
        let denied = "Permission denied";
        let remote = "rpc error making call: Permission denied";
        for (asked, text, outcome) in [
            (Asked::WriteRings, denied, Outcome::NotApplied),
            (Asked::WriteRings, remote, Outcome::Unknown),
            (Asked::WriteRaft, remote, Outcome::NotApplied),
            (Asked::Read, remote, Outcome::NotApplied),
        ] {
            assert_eq!(outcome_of(asked, 403, text), outcome, "{asked:?} {text}");
        }
        let path = "No path to datacenter";
        assert_eq!(outcome_of(Asked::WriteRings, 500, path), Outcome::Unknown);
        assert_eq!(outcome_of(Asked::WriteRaft, 500, path), Outcome::NotApplied);
    }

    #[test]
    fn a_failure_that_says_nothing_may_have_happened() {
        for status in [500, 502, 503, 504] {
            for asked in [Asked::WriteRaft, Asked::WriteRings] {
                assert_eq!(outcome_of(asked, status, ""), Outcome::Unknown);
            }
        }
        let lost = "leadership lost while committing log";
        assert_eq!(outcome_of(Asked::WriteRaft, 500, lost), Outcome::Unknown);
    }

    #[test]
    fn a_secret_that_is_repeated_is_left_out_and_a_long_text_cut() {
        let long = format!("no hunter2 here: {}", "é".repeat(4096));
        let error = refused(&answer(500, "text/plain", &long), Asked::Read, &["hunter2"]);
        assert!(error.message().starts_with("no .. here: é"));
        assert!(error.message().ends_with(" ..."));
        assert!(error.message().len() <= TEXT_LIMIT + 4);
    }

    #[test]
    fn an_escaped_secret_is_left_out_too() {
        let ring = r#"[{"WAN":true,"Datacenter":"a","Keys":{},"NumNodes":1,
            "Messages":{"n":"h\u0075nter2"},"Error":"\u0068unter2"}]"#;
        for (content_type, body) in [
            ("application/json", ring),
            ("application/problem+json", r#"{"detail":"hun\u0074er2"}"#),
        ] {
            let answer = answer(500, content_type, body);
            let error = refused(&answer, Asked::WriteRings, &["hunter2"]);
            assert!(error.message().contains(".."));
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_problem_says_by_itself_what_to_do() {
        let body = r#"{"type":"about:blank","title":"x","status":503,"detail":"No cluster leader: wait","outcome":"applied"}"#;
        let error = refused(
            &answer(503, "application/problem+json", body),
            Asked::WriteRaft,
            &[],
        );
        assert_eq!(error.kind(), ClientErrorKind::NoLeader);
        assert_eq!(error.outcome(), Outcome::Applied);
        assert_eq!(error.to_string(), "No cluster leader: wait (HTTP 503)");
    }
}
