//! One request of the client for programs, and reading its answer.

use std::error::Error;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::ServerUri;
use super::error::{ClientError, ClientErrorKind};
use super::protocol::{JSON, write};
use super::transport::Answer;
use crate::error::Outcome;
use crate::keyring::GossipKey;

/// What RFC 3986 leaves as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request in the making.
pub(super) struct Call {
    method: Method,
    /// Path and query.
    target: String,
    body: Bytes,
    /// The key in the body.
    pub(super) key: Option<Zeroizing<String>>,
}

impl Call {
    pub(super) fn new(method: Method, path: &str) -> Self {
        Call {
            method,
            target: format!("/v1/operator/{path}"),
            body: Bytes::new(),
            key: None,
        }
    }

    pub(super) fn flag(&mut self, name: &str) {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
    }

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.flag(name);
        self.target.push('=');
        self.target.extend(utf8_percent_encode(value, QUERY));
    }

    /// Puts a key into the body.
    pub(super) fn carry(&mut self, key: &GossipKey) -> Result<(), ClientError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Change<'a> {
            #[serde(with = "crate::keyring::exposed")]
            key: &'a GossipKey,
        }

        self.body = write(&Change { key }).map_err(unsendable)?;
        self.key = Some(key.to_base64());
        Ok(())
    }

    /// The request to this server.
    pub(super) fn request(
        &self,
        server: &ServerUri,
        token: Option<&HeaderValue>,
    ) -> Result<Request<Bytes>, ClientError> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = server.join(&self.target).map_err(unsendable)?;
        let headers = request.headers_mut();
        // This library's servers say more in a problem; Consul does not look.
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, application/problem+json"),
        );
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        if let Some(token) = token {
            headers.insert("x-consul-token", token.clone());
        }
        Ok(request)
    }
}

/// What an operation without a result answers. Something else than nothing does
/// not come from one of these servers.
pub(super) fn empty(answer: &Answer) -> Result<(), ClientError> {
    if answer.body.trim_ascii().is_empty() {
        return Ok(());
    }
    Err(strange(answer, Outcome::Unknown))
}

pub(super) fn json<T: DeserializeOwned>(
    answer: &Answer,
    outcome: Outcome,
) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|_| strange(answer, outcome))
}

fn strange(answer: &Answer, outcome: Outcome) -> ClientError {
    let text = "the answer is not what such a server sends";
    let mut error = ClientError::new(ClientErrorKind::InvalidAnswer, text);
    error.status = Some(answer.status.as_u16());
    error.with_outcome(outcome)
}

fn unsendable(error: impl Error + Send + Sync + 'static) -> ClientError {
    let text = format!("the request cannot be written: {error}");
    let source: Box<dyn Error + Send + Sync> = Box::new(error);
    ClientError::new(ClientErrorKind::InvalidRequest, text).with_source(source)
}
