//! Reading answers: the result, or why the operation failed.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::ClientError;
use super::replies::{RingListing, outcome};
use super::texts::{self, Excludes, Meaning, Reasons};
use crate::acl::{Access, Resource};
use crate::error::{ErrorKind, Outcome};
use crate::operation::{KeyringAction, Operation};
use crate::transport::{Cause, Failure, JSON, ServerUri, media_type};
use crate::types::{DatacenterName, cut_text};

const PROBLEM: &str = "application/problem+json";

/// What was asked of which server: the meaning of an answer depends on it.
pub(super) struct Asked<'a> {
    pub(super) operation: &'a Operation,
    /// The method and the path.
    pub(super) endpoint: String,
    pub(super) server: &'a ServerUri,
    pub(super) datacenter: Option<&'a DatacenterName>,
    pub(super) token: Option<&'a str>,
    pub(super) begin: Instant,
}

/// Accepts the answer to an operation without a result. An answer with a body does
/// not come from a server that has executed the operation.
pub(super) fn empty(answer: &Response<Bytes>, operation: &Operation) -> Result<(), ClientError> {
    match answer.body().trim_ascii().is_empty() {
        true => Ok(()),
        false => Err(invalid(answer, operation)),
    }
}

/// Reads a result.
pub(super) fn read<T: DeserializeOwned>(
    answer: &Response<Bytes>,
    operation: &Operation,
) -> Result<T, ClientError> {
    serde_json::from_slice(answer.body()).map_err(|_| invalid(answer, operation))
}

fn invalid(answer: &Response<Bytes>, operation: &Operation) -> ClientError {
    let reason = "it does not have the expected format".into();
    ClientError::new(ErrorKind::InvalidReply { reason }, operation)
        .with_status(answer.status())
        .with_outcome(operation.unanswered())
}

impl Asked<'_> {
    /// Returns the error of a request that was not answered.
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
        ClientError::new(kind, self.operation)
            .with_outcome(outcome)
            .with_source(failure.source)
    }

    /// Returns the error of an answer that is not a success.
    pub(super) fn refused(&self, answer: &Response<Bytes>) -> ClientError {
        let media_type = media_type(answer.headers());
        let document = match media_type.as_str() {
            PROBLEM | JSON => serde_json::from_slice(answer.body()).ok(),
            _ => None,
        };
        let error = document.and_then(|mut document| {
            // Cleaned after decoding, since escapes could hide a secret.
            self.clean_document(&mut document);
            match media_type.as_str() {
                PROBLEM => self.of_problem(&document, answer),
                _ => self.of_rings(&document),
            }
        });
        error
            .unwrap_or_else(|| self.of_text(answer))
            .with_status(answer.status())
    }

    /// Reads a problem document, which says what to do and what has changed.
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
        let message = problem.detail;
        let kind = ErrorKind::deserialize(document).unwrap_or_else(|_| match problem.kind {
            // A newer server's.
            Some(_) => backend(&message),
            None => self.by_status(&message, answer),
        });
        let outcome = match problem.outcome {
            Some(name) => outcome(&name),
            None => self.concluded(answer, Excludes::Nothing, &message),
        };
        let error = ClientError::new(kind, self.operation);
        Some(error.with_outcome(outcome).complete(message))
    }

    /// Reads a listing of rings some of which have failed.
    fn of_rings(&self, document: &Value) -> Option<ClientError> {
        if self.operation.permission().0 != Resource::Keyring {
            return None;
        }
        let rings = Vec::<RingListing>::deserialize(document).ok()?;
        // An empty one would say that no ring has changed.
        if rings.is_empty() {
            return None;
        }
        let failed = || rings.iter().filter(|ring| ring.error.is_some());
        let unchanged =
            |ring: &RingListing| ring.error.is_some() && ring.outcome == Some(Outcome::NotApplied);
        let outcome = match rings.iter().all(unchanged) {
            true => Outcome::NotApplied,
            false => self.operation.unanswered(),
        };
        let errors: Vec<_> = failed()
            .map(|ring| {
                let error = ring.error.as_deref().unwrap_or_default();
                format!("{} ({}): {error}", ring.datacenter, ring.pool)
            })
            .collect();
        let message = format!(
            "{} of {} rings failed: {}",
            errors.len(),
            rings.len(),
            errors.join("; ")
        );
        let messages = failed().flat_map(|ring| ring.messages.values());
        let reasons = Reasons::of(messages.map(String::as_str));
        let kind = match reasons.encryption_is_off() {
            true => ErrorKind::EncryptionOff,
            false => ErrorKind::RingsFailed {
                failed: failed()
                    .map(|ring| (ring.datacenter.clone(), ring.pool.clone()))
                    .collect(),
                rings: rings.len(),
            },
        };
        let error = ClientError::new(kind, self.operation)
            .with_outcome(outcome)
            .with_message(cut(message))
            .with_advice(reasons.advice());
        Some(error.with_rings(rings))
    }

    /// Reads the text of Consul, or of something in front of it.
    fn of_text(&self, answer: &Response<Bytes>) -> ClientError {
        let whole = self.clean(&String::from_utf8_lossy(answer.body()));
        let text = cut(whole.clone());
        let meaning = self.meaning(answer, &whole).unwrap_or_else(|| Meaning {
            kind: self.by_status(&text, answer),
            excludes: Excludes::Nothing,
            advice: None,
        });
        let outcome = self.concluded(answer, meaning.excludes, &text);
        let message = match text.is_empty() {
            true => "the server does not say what is wrong".to_owned(),
            false => text,
        };
        ClientError::new(meaning.kind, self.operation)
            .with_outcome(outcome)
            .with_message(message)
            .with_advice(meaning.advice)
    }

    /// Returns the meaning that the header or the text tells.
    fn meaning(&self, answer: &Response<Bytes>, text: &str) -> Option<Meaning> {
        let named = answer.headers().get("x-operator-error");
        let named = named
            .and_then(|name| name.to_str().ok())
            // The kinds without data.
            .and_then(|name| ErrorKind::deserialize(json!({ "kind": name })).ok());
        match named {
            Some(kind) => Some(Meaning {
                excludes: match kind {
                    ErrorKind::UnknownToken => Excludes::All,
                    _ => Excludes::Raft,
                },
                kind,
                advice: None,
            }),
            None if matches!(answer.status().as_u16(), 400 | 413) => None,
            None => texts::meaning(self, text),
        }
    }

    fn by_status(&self, text: &str, answer: &Response<Bytes>) -> ErrorKind {
        let target = || self.server.to_string();
        let reason = || text.to_owned();
        match answer.status().as_u16() {
            401 | 403 => texts::denied(self, text),
            300..=399 | 404 | 405 | 501 => texts::unsupported(self),
            408 | 504 => ErrorKind::DeadlineExceeded {
                target: target(),
                after: self.begin.elapsed(),
            },
            429 | 503 => ErrorKind::Unavailable { reason: reason() },
            502 => ErrorKind::Unreachable {
                target: target(),
                reason: reason(),
            },
            400..=499 => ErrorKind::InvalidRequest { reason: reason() },
            _ => backend(text),
        }
    }

    /// Returns the outcome that a server does not tell.
    fn concluded(&self, answer: &Response<Bytes>, excludes: Excludes, text: &str) -> Outcome {
        let status = answer.status().as_u16();
        let refused = match self.operation.permission() {
            (_, Access::Read) => true,
            // Another datacenter refused it, and the local rings may have changed.
            (Resource::Keyring, _) if text.starts_with("rpc error") => false,
            (Resource::Keyring, _) => excludes == Excludes::All || is_refusal(status),
            _ => excludes != Excludes::Nothing || is_refusal(status),
        };
        match refused {
            true => Outcome::NotApplied,
            false => Outcome::Unknown,
        }
    }

    /// Returns the text without the secrets of the request, which a proxy might
    /// repeat.
    fn clean(&self, text: &str) -> String {
        use KeyringAction::{Install, Remove, Use};

        let key = match self.operation {
            Operation::Keyring {
                action: Install(key) | Use(key) | Remove(key),
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
        text.into_owned()
    }

    /// Cleans and cuts all texts of a document but the keys of a listing, which it
    /// is for.
    fn clean_document(&self, document: &mut Value) {
        match document {
            Value::String(text) => *text = cut(self.clean(text)),
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
                        (cut(self.clean(&name)), value)
                    });
                *members = cleaned.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether a status says that the request was refused before anything was done.
fn is_refusal(status: u16) -> bool {
    matches!(status, 300..=499 | 501)
}

fn backend(message: &str) -> ErrorKind {
    ErrorKind::Backend {
        message: message.to_owned(),
    }
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
    use crate::raft::PeerSelector;
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

    fn outcome_of(operation: &Operation, status: u16, text: &str) -> Outcome {
        refused(operation, &answer(status, "text/plain", text)).outcome()
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
