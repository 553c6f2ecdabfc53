//! Reading answers: the result, or why the operation failed.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde::de::value::Error as Unreadable;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::ClientError;
use super::replies::{RingListing, outcome};
use crate::acl::{Access, AccessorId, Identity, Resource};
use crate::error::{ErrorKind, Outcome};
use crate::operation::{KeyringAction, Operation};
use crate::raft::PeerSelector;
use crate::transport::{Cause, Failure, JSON, ServerUri, media_type};
use crate::types::{DatacenterName, cut_text};

const PROBLEM: &str = "application/problem+json";

/// Accepts the answer to an operation without a result. An answer with a body does
/// not come from a server that has executed the operation.
pub(super) fn empty(answer: &Response<Bytes>) -> Result<(), ClientError> {
    if answer.body().trim_ascii().is_empty() {
        return Ok(());
    }
    Err(invalid(answer, Outcome::Unknown))
}

/// Reads a result. `unread` is the outcome if that fails.
pub(super) fn read<T: DeserializeOwned>(
    answer: &Response<Bytes>,
    unread: Outcome,
) -> Result<T, ClientError> {
    serde_json::from_slice(answer.body()).map_err(|_| invalid(answer, unread))
}

fn invalid(answer: &Response<Bytes>, outcome: Outcome) -> ClientError {
    let reason = "it does not have the expected format".into();
    let mut error = ClientError::new(ErrorKind::InvalidReply { reason });
    error.status = Some(answer.status().as_u16());
    error.with_outcome(outcome)
}

/// What was asked of which server: the meaning of an error depends on it.
pub(super) struct Asked<'a> {
    pub(super) operation: &'a Operation,
    /// The method and the path.
    pub(super) endpoint: String,
    pub(super) server: &'a ServerUri,
    pub(super) datacenter: Option<&'a DatacenterName>,
    pub(super) token: Option<&'a str>,
    pub(super) begin: Instant,
}

impl Asked<'_> {
    fn access(&self) -> Access {
        self.operation.permission().1
    }

    fn resource(&self) -> Resource {
        self.operation.permission().0
    }

    /// The error of a request that was not answered.
    pub(super) fn unanswered(&self, failure: Failure) -> ClientError {
        let target = self.server.to_string();
        let kind = match failure.cause {
            Cause::TimedOut(after) => ErrorKind::DeadlineExceeded { target, after },
            Cause::TooLarge(limit) => ErrorKind::InvalidReply {
                reason: format!("it is larger than {limit} bytes"),
            },
            cause @ (Cause::NoConnection(_) | Cause::Failed(_)) => ErrorKind::Unreachable {
                target,
                reason: cause.to_string(),
            },
        };
        let outcome = match failure.sent {
            true => self.operation.unanswered(),
            false => Outcome::NotApplied,
        };
        ClientError::new(kind)
            .with_outcome(outcome)
            .with_source(failure.source)
    }

    /// The error of an answer that is not a success.
    pub(super) fn refused(&self, answer: &Response<Bytes>) -> ClientError {
        let media_type = media_type(answer.headers());
        let document = match media_type.as_str() {
            PROBLEM | JSON => serde_json::from_slice(answer.body()).ok(),
            _ => None,
        };
        let error = document.and_then(|mut document| {
            // Decoded first, since escapes could hide a secret.
            self.clean_document(&mut document);
            match media_type.as_str() {
                PROBLEM => self.of_problem(&document, answer),
                _ => self.of_rings(&document),
            }
        });
        let mut error = error.unwrap_or_else(|| self.of_text(answer));
        error.status = Some(answer.status().as_u16());
        error
    }

    /// From a problem document, which says what to do and what has happened.
    fn of_problem(&self, document: &Value, answer: &Response<Bytes>) -> Option<ClientError> {
        /// RFC 9457, with two of the members that this library's servers add. With
        /// the third, `kind` and `data` are an [`ErrorKind`].
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
            outcome: Option<String>,
            kind: Option<String>,
        }

        let problem = Problem::deserialize(document).ok()?;
        let status = answer.status().as_u16();
        let message = problem.detail;
        let kind = ErrorKind::deserialize(document).unwrap_or_else(|_| match problem.kind {
            // A newer server's.
            Some(_) => backend(&message),
            None => self.by_status(&message, answer),
        });
        let outcome = match problem.outcome {
            Some(name) => outcome(&name),
            None => self.concluded(status, &kind, &message),
        };
        let mut error = ClientError::new(kind)
            .with_outcome(outcome)
            .with_message(message);
        error.complete = true;
        Some(error)
    }

    /// From a listing of rings some of which have failed.
    fn of_rings(&self, document: &Value) -> Option<ClientError> {
        if self.resource() != Resource::Keyring {
            return None;
        }
        let rings = Vec::<RingListing>::deserialize(document).ok()?;
        // It would say that no ring has changed.
        if rings.is_empty() {
            return None;
        }
        let mut failed = Vec::new();
        let mut reasons = Vec::new();
        for ring in &rings {
            if let Some(error) = &ring.error {
                failed.push((ring.datacenter.clone(), ring.pool.clone()));
                reasons.push(format!("{} ({}): {error}", ring.datacenter, ring.pool));
            }
        }
        let unchanged = rings
            .iter()
            .all(|ring| ring.error.is_some() && ring.outcome == Some(Outcome::NotApplied));
        let outcome = match self.access() {
            Access::Write if !unchanged => Outcome::Unknown,
            _ => Outcome::NotApplied,
        };
        let message = format!(
            "{} of {} rings failed: {}",
            failed.len(),
            rings.len(),
            reasons.join("; ")
        );
        let kind = ErrorKind::RingsFailed {
            failed,
            rings: rings.len(),
        };
        let mut error = ClientError::new(kind)
            .with_outcome(outcome)
            .with_message(cut(message));
        error.rings = rings;
        Some(error)
    }

    /// From Consul, or from something in front of it.
    fn of_text(&self, answer: &Response<Bytes>) -> ClientError {
        let status = answer.status().as_u16();
        let text = self.clean(&String::from_utf8_lossy(answer.body()));
        let named = answer.headers().get("x-operator-error");
        let named = named
            .and_then(|name| name.to_str().ok())
            // The kinds without data.
            .and_then(|name| ErrorKind::deserialize(json!({ "kind": name })).ok());
        let kind = match (named, status) {
            (Some(kind), _) => kind,
            (None, 400 | 413) => invalid_request(&text),
            (None, _) => {
                let told = TEXTS.iter().find(|(part, _)| text.contains(part));
                told.and_then(|(_, meaning)| meaning(self, &text))
                    .unwrap_or_else(|| self.by_status(&text, answer))
            }
        };
        let outcome = self.concluded(status, &kind, &text);
        let error = ClientError::new(kind).with_outcome(outcome);
        match text.is_empty() {
            true => error.with_message("the server does not say what is wrong"),
            false => error.with_message(text),
        }
    }

    fn by_status(&self, text: &str, answer: &Response<Bytes>) -> ErrorKind {
        let target = || self.server.to_string();
        match answer.status().as_u16() {
            401 | 403 => self.denied(text),
            300..=399 | 404 | 405 | 501 => ErrorKind::Unsupported {
                what: self.endpoint.clone(),
            },
            408 | 504 => ErrorKind::DeadlineExceeded {
                target: target(),
                after: self.begin.elapsed(),
            },
            429 | 503 => ErrorKind::Unavailable {
                reason: text.to_owned(),
            },
            502 => ErrorKind::Unreachable {
                target: target(),
                reason: text.to_owned(),
            },
            400..=499 => invalid_request(text),
            _ => backend(text),
        }
    }

    /// Consul names the token and the permission from 1.12 on. Older ones deny what
    /// was asked for.
    fn denied(&self, text: &str) -> ErrorKind {
        let quoted = |before| Some(text.split_once(before)?.1.split_once('\'')?.0);
        let named = quoted("lacks permission '").and_then(permission);
        let (resource, access) = named.unwrap_or((self.resource(), self.access()));
        let identity = match quoted("AccessorID '") {
            Some(id) => Identity::Accessor(AccessorId::new(id)),
            None if self.token.is_none() || text.contains("anonymous token") => Identity::Anonymous,
            None => Identity::Unnamed,
        };
        ErrorKind::PermissionDenied {
            resource,
            access,
            identity,
        }
    }

    fn no_path(&self) -> ErrorKind {
        // A keyring operation asks all datacenters, and Consul does not say which
        // one it did not reach.
        ErrorKind::NoPathToDatacenter {
            datacenter: self.datacenter.cloned().unwrap_or_else(|| "".into()),
        }
    }

    fn unreachable(&self, text: &str) -> ErrorKind {
        ErrorKind::Unreachable {
            target: format!("a server behind {}", self.server),
            reason: text.to_owned(),
        }
    }

    /// The outcome that a server does not tell.
    fn concluded(&self, status: u16, kind: &ErrorKind, text: &str) -> Outcome {
        let denied = matches!(
            kind,
            ErrorKind::PermissionDenied { .. } | ErrorKind::UnknownToken
        );
        let refused = match (self.access(), self.resource()) {
            (Access::Read, _) => true,
            // Consul changes its own rings before it asks the other datacenters, and
            // then answers with the first error that comes from there.
            (Access::Write, Resource::Keyring) => {
                let local = !text.starts_with("rpc error");
                match status {
                    403 => local,
                    400..=499 => true,
                    _ => local && (denied || matches!(kind, ErrorKind::Unsupported { .. })),
                }
            }
            // Decided before the log is written.
            (Access::Write, _) => {
                (400..=499).contains(&status)
                    || denied
                    || matches!(
                        kind,
                        ErrorKind::NoPathToDatacenter { .. }
                            | ErrorKind::UnknownServer(_)
                            | ErrorKind::LastVoter
                            | ErrorKind::NoLeader
                            | ErrorKind::Unsupported { .. }
                    )
            }
        };
        match refused {
            true => Outcome::NotApplied,
            false => Outcome::Unknown,
        }
    }

    /// The text without the secrets of the request, which a proxy might repeat.
    fn clean(&self, text: &str) -> String {
        let key = match self.operation {
            Operation::Keyring {
                action:
                    KeyringAction::Install(key) | KeyringAction::Use(key) | KeyringAction::Remove(key),
                ..
            } => Some(key.as_base64()),
            _ => None,
        };
        let secrets = self.token.into_iter().chain(key);
        let text = secrets
            .filter(|secret| !secret.is_empty())
            .fold(Cow::Borrowed(text), |text, secret| {
                text.replace(secret, "..").into()
            });
        cut(text.into_owned())
    }

    /// Cleans all texts of a document but the keys of a listing, which it is for.
    fn clean_document(&self, document: &mut Value) {
        match document {
            Value::String(text) => *text = self.clean(text),
            Value::Array(values) => {
                for value in values {
                    self.clean_document(value);
                }
            }
            Value::Object(members) => {
                let cleaned = std::mem::take(members)
                    .into_iter()
                    .map(|(name, mut value)| {
                        if !["Keys", "PrimaryKeys"].contains(&name.as_str()) {
                            self.clean_document(&mut value);
                        }
                        (self.clean(&name), value)
                    });
                *members = cleaned.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The meaning of a text; `None` if the request cannot have it.
type Meaning = fn(&Asked<'_>, &str) -> Option<ErrorKind>;

/// What Consul's texts mean, which tell more than its statuses. The first part that
/// a text contains counts.
const TEXTS: [(&str, Meaning); 12] = [
    ("ermission denied", |asked, text| Some(asked.denied(text))),
    ("eyring denied ", |asked, text| Some(asked.denied(text))),
    ("ACL not found", |_, _| Some(ErrorKind::UnknownToken)),
    ("o cluster leader", |_, _| Some(ErrorKind::NoLeader)),
    ("o path to datacenter", |asked, _| Some(asked.no_path())),
    ("was not found in the Raft configuration", unknown_server),
    ("ould not find address for server id", unknown_server),
    ("eed at least one voter", |_, _| Some(ErrorKind::LastVoter)),
    ("nodes reported ", some_rings_failed),
    ("connection refused", |asked, text| {
        Some(asked.unreachable(text))
    }),
    ("failed to get conn", |asked, text| {
        Some(asked.unreachable(text))
    }),
    ("stream closed", |asked, text| Some(asked.unreachable(text))),
];

fn unknown_server(asked: &Asked<'_>, _: &str) -> Option<ErrorKind> {
    let server = match asked.operation {
        Operation::RemovePeer { server, .. } => server.clone(),
        Operation::TransferLeadership { to: Some(id) } => PeerSelector::Id(id.clone()),
        _ => return None,
    };
    Some(ErrorKind::UnknownServer(server))
}

/// Which ones, Consul says for people only.
fn some_rings_failed(asked: &Asked<'_>, _: &str) -> Option<ErrorKind> {
    (asked.resource() == Resource::Keyring).then(|| ErrorKind::RingsFailed {
        failed: Vec::new(),
        rings: 0,
    })
}

fn invalid_request(reason: &str) -> ErrorKind {
    ErrorKind::InvalidRequest {
        reason: reason.to_owned(),
    }
}

fn backend(message: &str) -> ErrorKind {
    ErrorKind::Backend {
        message: message.to_owned(),
    }
}

/// A permission as Consul writes it, such as `operator:write`.
fn permission(text: &str) -> Option<(Resource, Access)> {
    let (resource, access) = text.split_once(':')?;
    let resource = IntoDeserializer::<Unreadable>::into_deserializer(resource);
    let access = IntoDeserializer::<Unreadable>::into_deserializer(access);
    Some((
        Resource::deserialize(resource).ok()?,
        Access::deserialize(access).ok()?,
    ))
}

fn cut(text: String) -> String {
    let mut text = cut_text(text);
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    use super::*;
    use crate::keyring::{GossipKey, RelayFactor};
    use crate::operation::KeyringScope;
    use crate::types::TEXT_LIMIT;

    fn answer(status: u16, content_type: &str, body: &str) -> Response<Bytes> {
        let body = Bytes::from(body.to_owned());
        let answer = Response::builder().status(status);
        answer
            .header(CONTENT_TYPE, content_type)
            .body(body)
            .unwrap()
    }

    fn keyring(action: KeyringAction) -> Operation {
        Operation::Keyring {
            action,
            scope: KeyringScope::Federation,
            relay_factor: RelayFactor::default(),
        }
    }

    fn install() -> Operation {
        let key = GossipKey::from_bytes(&[7; 16]).unwrap();
        keyring(KeyringAction::Install(key))
    }

    fn list() -> Operation {
        keyring(KeyringAction::List)
    }

    fn remove() -> Operation {
        Operation::RemovePeer {
            server: PeerSelector::Id("carol".into()),
            expected_index: None,
        }
    }

    fn refused(operation: &Operation, answer: &Response<Bytes>) -> ClientError {
        let asked = Asked {
            operation,
            endpoint: "GET /v1/operator".into(),
            server: &"http://a".parse().unwrap(),
            datacenter: None,
            token: Some("hunter2"),
            begin: Instant::now(),
        };
        asked.refused(answer)
    }

    fn outcome_of(call: &Operation, status: u16, text: &str) -> Outcome {
        refused(call, &answer(status, "text/plain", text)).outcome()
    }

    #[test]
    fn remote_denial_may_come_after_local_rings_have_changed() {
        let denied = "Permission denied";
        let remote = "rpc error making call: Permission denied";
        for (call, text, outcome) in [
            (install(), denied, Outcome::NotApplied),
            (install(), remote, Outcome::Unknown),
            (remove(), remote, Outcome::NotApplied),
            (list(), remote, Outcome::NotApplied),
        ] {
            assert_eq!(outcome_of(&call, 403, text), outcome, "{text}");
        }
        let path = "No path to datacenter";
        assert_eq!(outcome_of(&install(), 500, path), Outcome::Unknown);
        assert_eq!(outcome_of(&remove(), 500, path), Outcome::NotApplied);
    }

    #[test]
    fn failure_without_a_text_may_have_happened() {
        for status in [500, 502, 503, 504] {
            for call in [remove(), install()] {
                assert_eq!(outcome_of(&call, status, ""), Outcome::Unknown);
            }
        }
        let lost = "leadership lost while committing log";
        assert_eq!(outcome_of(&remove(), 500, lost), Outcome::Unknown);
    }

    #[test]
    fn denial_of_consul_1_12_names_token_and_permission() {
        let text = "Permission denied: token with AccessorID '6a1253d2' lacks permission \
                    'operator:write'";
        let error = refused(&list(), &answer(403, "text/plain", text));
        let kind = ErrorKind::PermissionDenied {
            resource: Resource::Operator,
            access: Access::Write,
            identity: Identity::Accessor(AccessorId::new("6a1253d2")),
        };
        assert_eq!(error.kind(), &kind);
        let older = refused(&list(), &answer(403, "text/plain", "Permission denied"));
        let kind = ErrorKind::PermissionDenied {
            resource: Resource::Keyring,
            access: Access::Read,
            identity: Identity::Unnamed,
        };
        assert_eq!(older.kind(), &kind);
    }

    #[test]
    fn repeated_secret_is_left_out_and_long_text_cut() {
        let long = format!("no hunter2 here: {}", "é".repeat(4096));
        let error = refused(&list(), &answer(500, "text/plain", &long));
        assert!(error.message().starts_with("no .. here: é"));
        assert!(error.message().ends_with(" ..."));
        assert!(error.message().len() <= TEXT_LIMIT + 4);
    }

    #[test]
    fn escaped_secret_is_left_out_too() {
        let ring = r#"[{"WAN":true,"Datacenter":"hunter\u0032","Keys":{},"NumNodes":1,
            "Messages":{"hunter\u0032":"h\u0075nter2"},"Error":"\u0068unter2"}]"#;
        let problem =
            r#"{"detail":"hun\u0074er2","kind":"backend","data":{"message":"hunte\u00722"}}"#;
        for (content_type, body) in [(JSON, ring), (PROBLEM, problem)] {
            let error = refused(&install(), &answer(500, content_type, body));
            assert!(error.message().contains(".."));
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn only_a_list_of_rings_about_the_keyring_is_read_as_rings() {
        let ring = r#"[{"WAN":true,"Datacenter":"dc1","Keys":{},"NumNodes":1,
            "Error":"1/1 nodes reported failure","Outcome":"not-applied"}]"#;
        for (call, body, kind, outcome) in [
            (install(), ring, "rings-failed", Outcome::NotApplied),
            (install(), "[]", "backend", Outcome::Unknown),
            (remove(), "[]", "backend", Outcome::Unknown),
            (remove(), ring, "backend", Outcome::Unknown),
        ] {
            let error = refused(&call, &answer(500, JSON, body));
            assert_eq!(error.kind().name(), kind, "{body}");
            assert_eq!(error.outcome(), outcome, "{body}");
        }
    }

    #[test]
    fn problem_document_is_read_as_the_servers_error() {
        let body = r#"{"type":"about:blank","title":"Conflict","status":409,
            "detail":"removing this voter would ...","outcome":"not-applied",
            "kind":"quorum-loss","data":{"voters":3,"alive":1,"needed":2}}"#;
        let error = refused(&remove(), &answer(409, PROBLEM, body));
        let kind = ErrorKind::QuorumLoss {
            voters: 3,
            alive: 1,
            needed: 2,
        };
        assert_eq!(error.kind(), &kind);
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(error.advice(), None);
        assert_eq!(
            error.to_string(),
            "removing this voter would ... (HTTP 409)"
        );
    }

    #[test]
    fn kind_of_a_newer_server_is_a_backend_error_in_its_words() {
        let body = r#"{"detail":"the plan is stale","outcome":"applied","kind":"stale-plan",
            "data":{"plan":7}}"#;
        let error = refused(&remove(), &answer(409, PROBLEM, body));
        let message = "the plan is stale".into();
        assert_eq!(error.kind(), &ErrorKind::Backend { message });
        assert_eq!(error.outcome(), Outcome::Applied);
    }

    #[test]
    fn header_names_the_kind_of_an_answer_without_a_document() {
        let mut answer = answer(503, "text/html", "<h1>Service Unavailable</h1>");
        let named = HeaderValue::from_static("no-leader");
        answer.headers_mut().insert("x-operator-error", named);
        let error = refused(&remove(), &answer);
        assert_eq!(error.kind(), &ErrorKind::NoLeader);
        // What needs data is concluded from the rest.
        let named = HeaderValue::from_static("quorum-loss");
        answer.headers_mut().insert("x-operator-error", named);
        let error = refused(&remove(), &answer);
        assert_eq!(error.kind().name(), "unavailable");
    }
}
