//! The side that is asked.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use super::protocol::{self, JSON, PEER_PATH, read_request};
use super::secret::{Accepted, SharedSecret};
use super::transport::essence;
use crate::body::{Unread, read};
use crate::service::OperatorService;
use crate::time::Deadline;

/// Answers the requests that other servers' [`HttpPeers`](super::HttpPeers) send,
/// as a [`tower_service::Service`] over [`http::Request`].
///
/// Cheap to clone. It is always ready, never fails, and starts no task. Mount it
/// at [`PEER_PATH`], beside [`OperatorHttp`](crate::http::OperatorHttp) or on a
/// listener of its own:
///
/// ```
/// # use cluster_operator::OperatorService;
/// use cluster_operator::client::{PEER_PATH, PeerHttp, SharedSecret};
///
/// # fn mount(service: OperatorService) -> Result<(), Box<dyn std::error::Error>> {
/// let secret = SharedSecret::new(std::env::var("PEER_SECRET")?)?;
/// let app: axum::Router = axum::Router::new()
///     .route_service(PEER_PATH, PeerHttp::new(service).with_shared_secret(&secret));
/// # Ok(()) }
/// ```
///
/// # Who may ask
/// The service authorizes each request by the ACL token in it, as it does one
/// that comes from an operator. But what a server says about a request is
/// believed: how often it was handed on, and that its answer is one datacenter's
/// share of a whole. And the requests carry tokens and keys in clear. So it
/// belongs on a listener as private as the servers' Raft and gossip, behind TLS
/// if the network is not; and a [shared secret](PeerHttp::with_shared_secret)
/// keeps out whoever reaches it all the same.
///
/// # Limits
/// A body is read up to [a limit](PeerHttp::with_body_limit) and within
/// [a deadline](PeerHttp::with_body_deadline). The service stops within what the
/// asking server is ready to [wait](crate::OperatorRequest::patience), or by its
/// own deadline. A server that hangs up drops the call.
#[derive(Clone)]
pub struct PeerHttp {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    service: OperatorService,
    accepted: Accepted,
    body_limit: usize,
    body_deadline: Duration,
}

impl PeerHttp {
    /// Answers everyone who reaches it.
    pub fn new(service: OperatorService) -> Self {
        PeerHttp {
            shared: Arc::new(Shared {
                service,
                accepted: Accepted::default(),
                body_limit: 64 * 1024,
                body_deadline: Duration::from_secs(10),
            }),
        }
    }

    /// Answers only those who present this secret. Called again it accepts one
    /// more, for as long as some servers still have the old one.
    #[must_use]
    pub fn with_shared_secret(mut self, secret: &SharedSecret) -> Self {
        Arc::make_mut(&mut self.shared).accepted.add(secret);
        self
    }

    /// Sets the largest body that is read, in bytes. Default: 64 KiB.
    #[must_use]
    pub fn with_body_limit(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.shared).body_limit = bytes;
        self
    }

    /// Sets how long a server may take to send a body. Default: 10 s.
    #[must_use]
    pub fn with_body_deadline(mut self, deadline: Duration) -> Self {
        Arc::make_mut(&mut self.shared).body_deadline = deadline;
        self
    }
}

impl Shared {
    async fn answer<B>(&self, request: http::Request<B>) -> Result<Bytes, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        if head.uri.path() != PEER_PATH {
            return Err(Refusal::Path);
        }
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        if !self.accepted.admits(head.headers.get(AUTHORIZATION)) {
            return Err(Refusal::Secret);
        }
        let content_type = head.headers.get(CONTENT_TYPE);
        if content_type.is_none_or(|value| essence(value.to_str().unwrap_or_default()) != JSON) {
            return Err(Refusal::ContentType);
        }
        let json = Deadline::new(self.service.timer(), self.body_deadline)
            .bound(read(body, self.body_limit))
            .await
            .ok_or(Refusal::Late)?
            .map_err(|unread| match unread {
                Unread::TooLarge => Refusal::TooLarge,
                Unread::Broken(_) => Refusal::Body,
            })?;
        let request = read_request(&json).map_err(|_| Refusal::Body)?;
        drop(json);
        protocol::write(&self.service.call(request).await).map_err(|_| Refusal::Answer)
    }
}

/// Why the service is not asked, or its answer not sent. Nothing of the request
/// is repeated.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Path,
    Method,
    Secret,
    ContentType,
    Late,
    TooLarge,
    Body,
    Answer,
}

impl Refusal {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Refusal::Path => (StatusCode::NOT_FOUND, "only server calls are answered here"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "server calls are POSTs"),
            Refusal::Secret => (StatusCode::UNAUTHORIZED, "the shared secret is another one"),
            Refusal::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "server calls are application/json",
            ),
            Refusal::Late => (StatusCode::REQUEST_TIMEOUT, "the call did not come in time"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the call is too large"),
            Refusal::Body => (StatusCode::BAD_REQUEST, "the call cannot be read"),
            Refusal::Answer => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer cannot be written",
            ),
        };
        let mut response = response(status, "text/plain; charset=utf-8", text.into());
        let extra: Option<(HeaderName, &'static str)> = match self {
            Refusal::Method => Some((ALLOW, "POST")),
            Refusal::Secret => Some((WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A listing holds keys.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<B> tower_service::Service<http::Request<B>> for PeerHttp
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            Ok(match shared.answer(request).await {
                Ok(json) => response(StatusCode::OK, JSON, json),
                Err(refusal) => refusal.response(),
            })
        })
    }
}

impl fmt::Debug for PeerHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerHttp")
            .field("service", &self.shared.service)
            .finish_non_exhaustive()
    }
}
