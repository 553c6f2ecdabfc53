//! The receiving side of server calls.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use super::SharedSecret;
use crate::body::{Unread, read};
use crate::peers::{Envelope, too_old};
use crate::service::OperatorService;
use crate::timer::Deadline;
use crate::transport::{JSON, media_type};

/// The path of the server call.
///
/// It is none of Consul's paths, and is not below `/v1`, so that a proxy that admits
/// operators to `/v1/operator` does not admit them here.
///
/// # Format
/// `POST` with the bytes of an [`Envelope`] as `application/json`. The answer is a
/// 200 with the bytes of an [`EnvelopeReply`](crate::peers::EnvelopeReply), also as
/// `application/json`. Any other status means that the service did not answer: after
/// a 4xx it has not received the envelope.
///
/// The path changes with the version of the envelope. An older server answers it
/// with 404, and the sender reports that the other server is too old.
pub const PEER_PATH: &str = "/cluster-operator/v2/call";

/// The path of version 1 of the server call.
const PEER_PATH_1: &str = "/cluster-operator/v1/call";

/// The paths at which to mount [`PeerHttp`]: [`PEER_PATH`], and that of version 1,
/// where an older server learns that it is too old.
pub const PEER_PATHS: [&str; 2] = [PEER_PATH, PEER_PATH_1];

/// Answers the envelopes that other servers' [`HttpPeers`](super::HttpPeers) send,
/// as a [`tower_service::Service`] over [`http::Request`].
///
/// Cheap to clone. It is always ready, never fails, and spawns no task. Mount it
/// at all of [`PEER_PATHS`], beside [`OperatorHttp`](crate::server::OperatorHttp) or
/// on a listener of its own:
///
/// ```
/// # use cluster_operator::OperatorService;
/// use cluster_operator::peer_http::{PEER_PATHS, PeerHttp, SharedSecret};
///
/// # fn mount(service: OperatorService) -> Result<(), Box<dyn std::error::Error>> {
/// let secret = SharedSecret::new(std::env::var("PEER_SECRET")?)?;
/// let peers = PeerHttp::new(service).with_shared_secret(&secret);
/// let mut app: axum::Router = axum::Router::new();
/// for path in PEER_PATHS {
///     app = app.route_service(path, peers.clone());
/// }
/// # Ok(()) }
/// ```
///
/// # Access
/// The service authorizes each request by the ACL token in it, like an operator's.
/// But it trusts what another server says about a request: how often it was
/// forwarded, and that its reply is one datacenter's part of a whole. And envelopes
/// hold tokens and keys in clear. So mount it on a listener as private as the
/// servers' Raft and gossip, behind TLS if the network is not private, and give the
/// servers a [shared secret](PeerHttp::with_shared_secret) against everyone else who
/// reaches it.
///
/// # Limits
/// A body is read up to [a limit](PeerHttp::with_body_limit) and within
/// [a deadline](PeerHttp::with_body_deadline). The service answers within the time
/// that the envelope gives it, and within its own deadline. If the other server
/// closes the connection, the call is dropped.
#[derive(Clone)]
pub struct PeerHttp {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    service: OperatorService,
    secrets: Vec<SharedSecret>,
    body_limit: usize,
    body_deadline: Duration,
}

impl PeerHttp {
    /// Answers every caller that reaches it.
    pub fn new(service: OperatorService) -> Self {
        PeerHttp {
            shared: Arc::new(Shared {
                service,
                secrets: Vec::new(),
                body_limit: 64 * 1024,
                body_deadline: Duration::from_secs(10),
            }),
        }
    }

    /// Answers only servers that present this secret. Call it again to accept one
    /// more, while some servers still have the old one.
    #[must_use]
    pub fn with_shared_secret(mut self, secret: &SharedSecret) -> Self {
        Arc::make_mut(&mut self.shared).secrets.push(secret.clone());
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
        let path = head.uri.path();
        if !PEER_PATHS.contains(&path) {
            return refuse(StatusCode::NOT_FOUND, "only server calls are answered here");
        }
        if head.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "a server call is a POST");
        }
        if !self.admits(&head.headers) {
            let text = "the shared secret does not match";
            return refuse(StatusCode::UNAUTHORIZED, text);
        }
        if media_type(&head.headers) != JSON {
            let text = "a server call is application/json";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        let mut deadline = Deadline::new(self.service.timer(), self.body_deadline);
        let envelope = match deadline.bound(read(body, self.body_limit)).await {
            Some(Ok(body)) => Envelope::from_bytes(body),
            Some(Err(Unread::TooLarge)) => {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the call is too large");
            }
            Some(Err(Unread::Broken(_))) => {
                return refuse(StatusCode::BAD_REQUEST, "the call is incomplete");
            }
            None => return refuse(StatusCode::REQUEST_TIMEOUT, "the call took too long"),
        };
        if path == PEER_PATH_1 {
            return Ok(version_1_reply());
        }
        Ok(self.service.answer(&envelope).await.as_bytes().clone())
    }

    /// Checks that the headers present one of the secrets, if there are any. All are
    /// compared, so that the time does not depend on which one matches.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let found = |found, secret: &SharedSecret| found | secret.is_presented_in(headers);
        self.secrets.is_empty() || self.secrets.iter().fold(false, found)
    }
}

/// Returns an error as version 1 wrote it. Version 1 printed it as "{what} is not
/// supported by this server".
fn version_1_reply() -> Bytes {
    let what = format!("this server call ({})", too_old());
    let error = format!(
        r#"{{"kind":{{"Unsupported":{{"what":"{what}"}}}},"outcome":"NotApplied","forwards":0}}"#
    );
    format!(r#"{{"Err":{error}}}"#).into()
}

/// Why the service did not receive an envelope. Nothing of the request is repeated.
struct Refusal {
    status: StatusCode,
    text: &'static str,
}

fn refuse<T>(status: StatusCode, text: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, text })
}

impl Refusal {
    fn response(self) -> Response<Full<Bytes>> {
        let mut response = response(self.status, "text/plain; charset=utf-8", self.text.into());
        let header = match self.status {
            StatusCode::METHOD_NOT_ALLOWED => (ALLOW, "POST"),
            StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, "Bearer"),
            _ => return response,
        };
        let value = HeaderValue::from_static(header.1);
        response.headers_mut().insert(header.0, value);
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
                Ok(reply) => response(StatusCode::OK, JSON, reply),
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
