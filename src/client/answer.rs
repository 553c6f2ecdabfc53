//! Reading answers: the result, or why the operation failed.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::ClientError;
use super::keyring::{RingListing, outcome};
use super::texts::{self, Asked, Excludes, Meaning, Reasons};
use crate::acl::{Access, Resource};
use crate::error::{ErrorKind, Outcome};
use crate::operation::{KeyringAction, Operation};
use crate::raft::RemovalPlan;
use crate::transport::{Cause, Failure, JSON, media_type};
use crate::types::cut_text;

const PROBLEM: &str = "application/problem+json";

/// Accepts the answer to an operation without a result. An answer with a body does
/// not come from a server that has executed the operation.
pub(super) fn empty(answer: &Response<Bytes>, operation: &Operation) -> Result<(), ClientError> {
    if answer.body().trim_ascii().is_empty() {
        Ok(())
    } else {
        Err(invalid(answer, operation))
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
        let outcome = if failure.sent {
            self.operation.unanswered()
        } else {
            Outcome::NotApplied
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
        /// RFC 9457, with the members that this library's servers add: `kind` and `data`
        /// are an [`ErrorKind`].
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
            outcome: Option<String>,
            kind: Option<String>,
            plan: Option<Value>,
        }

        let problem = Problem::deserialize(document).ok()?;
        let message = problem.detail;
        let kind = ErrorKind::deserialize(document).unwrap_or_else(|_| match problem.kind {
            // A newer server's.
            Some(_) => texts::backend(self, &message),
            None => self.by_status(&message, answer),
        });
        let outcome = match problem.outcome {
            Some(name) => outcome(&name),
            None => self.concluded(answer, Excludes::Nothing, &message),
        };
        let error = ClientError::new(kind, self.operation);
        // A newer server's plan may not be readable.
        let plan = problem
            .plan
            .and_then(|plan| RemovalPlan::deserialize(plan).ok());
        let error = error.with_outcome(outcome).complete(message);
        Some(error.with_plan(plan))
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
        let outcome = if rings.iter().all(unchanged) {
            Outcome::NotApplied
        } else {
            self.operation.unanswered()
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
        let meaning = self
            .meaning(answer, &text, &whole)
            .unwrap_or_else(|| Meaning {
                kind: self.by_status(&text, answer),
                excludes: Excludes::Nothing,
                advice: None,
            });
        let outcome = self.concluded(answer, meaning.excludes, &text);
        let message = if text.is_empty() {
            "the server does not say what is wrong".to_owned()
        } else {
            text
        };
        ClientError::new(meaning.kind, self.operation)
            .with_outcome(outcome)
            .with_message(message)
            .with_advice(meaning.advice)
    }

    /// Returns the meaning of the header or of the text.
    fn meaning(&self, answer: &Response<Bytes>, text: &str, whole: &str) -> Option<Meaning> {
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
            None => texts::meaning(self, text, whole),
        }
    }

    fn by_status(&self, text: &str, answer: &Response<Bytes>) -> ErrorKind {
        let target = || self.server.to_string();
        let reason = || text.to_owned();
        match answer.status().as_u16() {
            401 | 403 => texts::denied(self, text),
            300..=399 | 404 | 405 | 501 => texts::unsupported(self, text),
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
            _ => texts::backend(self, text),
        }
    }

    /// Concludes the outcome where the server does not name it.
    fn concluded(&self, answer: &Response<Bytes>, excludes: Excludes, text: &str) -> Outcome {
        let status = answer.status().as_u16();
        let refused = match self.operation.permission() {
            (_, Access::Read) => true,
            // Another datacenter refused it, and the local rings may have changed.
            (Resource::Keyring, _) if text.starts_with("rpc error") => false,
            (Resource::Keyring, _) => excludes == Excludes::All || is_refusal(status),
            _ => excludes != Excludes::Nothing || is_refusal(status),
        };
        if refused {
            Outcome::NotApplied
        } else {
            Outcome::Unknown
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

/// Tells whether a status means that the request was refused before it had an effect.
fn is_refusal(status: u16) -> bool {
    matches!(status, 300..=499 | 501)
}

fn cut(text: String) -> String {
    let mut text = cut_text(text);
    text.truncate(text.trim_end().len());
    text
}
