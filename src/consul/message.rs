//! Requests and responses without an HTTP crate.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::dialect::Rules;
use super::endpoint::Endpoint;
use crate::acl::DefaultPolicy;
use crate::error::Outcome;
use crate::operation::RequestId;

/// A request with nothing decoded.
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, with its escapes.
    pub path: &'a str,
    /// The query after the question mark, with its escapes; `None` without one.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a dyn Headers,
    /// The body. It may be left empty unless [`Wire::wants_body`] says that it is read.
    ///
    /// [`Wire::wants_body`]: super::Wire::wants_body
    pub body: Bytes,
}

/// The bounds of a request. A request beyond one of them is answered with an error that
/// names it. The body has [a limit of its own](super::Wire::with_body_limit).
impl Request<'_> {
    /// The longest token in bytes.
    pub const MAX_TOKEN: usize = 4096;
    /// The longest name, address or other value of a parameter in bytes.
    pub const MAX_VALUE: usize = 512;
    /// The longest query in bytes, with its escapes.
    pub const MAX_QUERY: usize = 16 * 1024;
    /// The most parameters of a query.
    pub const MAX_PARAMETERS: usize = 64;
    /// The most header fields, which is less than HTTP servers take, so that the error is
    /// ours.
    pub const MAX_HEADERS: usize = 64;
}

/// Shows the method and the path. The query, the headers and the body may hold
/// tokens and keys.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The header fields of a request.
pub trait Headers: Sync {
    /// The value of a field, which need not be UTF-8: the first one for 0, and the next ones
    /// of a field that is repeated. The name is given in lower case and matched without
    /// regard to case.
    fn value(&self, name: &str, at: usize) -> Option<&[u8]>;

    /// The number of fields.
    fn count(&self) -> usize;
}

/// The first value of a field as a text. Bytes that are not UTF-8 are replaced.
pub(super) fn text<'a>(headers: &'a dyn Headers, name: &str) -> Option<Cow<'a, str>> {
    headers.value(name, 0).map(String::from_utf8_lossy)
}

impl Headers for [(&str, &str)] {
    fn value(&self, name: &str, at: usize) -> Option<&[u8]> {
        self.iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .nth(at)
            .map(|(_, value)| value.as_bytes())
    }

    fn count(&self) -> usize {
        self.len()
    }
}

impl<const N: usize> Headers for [(&str, &str); N] {
    fn value(&self, name: &str, at: usize) -> Option<&[u8]> {
        self.as_slice().value(name, at)
    }

    fn count(&self) -> usize {
        N
    }
}

impl<H: Headers + ?Sized> Headers for &H {
    fn value(&self, name: &str, at: usize) -> Option<&[u8]> {
        (**self).value(name, at)
    }

    fn count(&self) -> usize {
        (**self).count()
    }
}

/// A response. The transport adds `Date`, and `Content-Length` unless it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
}

/// Shows the status and the headers, without the query of a redirect. A listing's body
/// holds keys.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.split('?').next().unwrap_or_default()))
            .collect();
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// The summary of a request, for logs, metrics and outer layers. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestSummary {
    /// The endpoint; `None` for a path that is not served.
    pub endpoint: Option<Endpoint>,
    /// The [name](crate::Operation::name) of the operation; `None` if there was none,
    /// because the request was rejected.
    pub operation: Option<&'static str>,
    /// The outcome; that of a read is [`NotApplied`](Outcome::NotApplied).
    pub outcome: Outcome,
    /// The [name](crate::ErrorKind::name) of the error's kind; `None` if it succeeded.
    pub error: Option<&'static str>,
    /// The id of the request; `None` if it has none, see
    /// [`Wire::with_request_ids`](super::Wire::with_request_ids).
    pub request_id: Option<RequestId>,
}

impl RequestSummary {
    /// Creates the summary of a request without an operation.
    pub(crate) fn rejected(endpoint: Option<Endpoint>, error: Option<&'static str>) -> Self {
        RequestSummary {
            endpoint,
            operation: None,
            outcome: Outcome::NotApplied,
            error,
            request_id: None,
        }
    }
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// What Go takes for no text.
pub(super) const BINARY: &str = "application/octet-stream";
pub(super) const JSON: &str = "application/json";
/// An error in the form of RFC 9457.
pub(super) const PROBLEM: &str = "application/problem+json";

impl Response {
    pub(super) fn empty(status: u16) -> Self {
        Response {
            status,
            headers: Vec::with_capacity(4),
            body: Bytes::new(),
        }
    }

    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Response::empty(status).with("Content-Type", content_type);
        response.body = body.into();
        response
    }

    pub(super) fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Response::new(status, TEXT, text)
    }

    /// Adds the header fields of every response of the dialect.
    pub(super) fn finish(self, rules: &Rules, policy: DefaultPolicy) -> Self {
        let response = if rules.no_store {
            self.with("Cache-Control", "no-store")
        } else {
            self
        };
        if !rules.consul_headers {
            return response;
        }
        let policy = match policy {
            DefaultPolicy::Allow => "allow",
            DefaultPolicy::Deny => "deny",
        };
        response
            .with("Vary", "Accept-Encoding")
            .with("X-Consul-Default-Acl-Policy", policy)
    }

    /// Turns it into the answer to HEAD, which has the length of the body of GET. The
    /// transport would set a length of 0.
    pub(super) fn leave_out_body(&mut self) {
        let length = self.body.len().to_string();
        self.headers.push(("Content-Length", length.into()));
        self.body.clear();
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the first value of a field, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }
}
