//! The service as a [`tower_service::Service`] over [`http::Request`].
//!
//! ```
//! # use std::sync::Arc;
//! # use cluster_operator::{AllowAll, OperatorService};
//! # use cluster_operator::server::OperatorHttp;
//! # fn mount(service: OperatorService) {
//! use axum::Router;
//! use axum::routing::get;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "my own server" }))
//!     .fallback_service(OperatorHttp::new(service));
//! # }
//! ```

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body;
use http_body_util::Full;

use crate::body::{self, Unread};
use crate::consul::{Dialect, Headers, Request, Response, Wire};
use crate::service::OperatorService;
use crate::timer::Deadline;

/// Answers Consul's operator endpoints over HTTP.
///
/// Cheap to clone. It is always ready, never fails, and starts no task. A body is read
/// only if the endpoint needs it, up to the [limit](Wire::with_body_limit) and within [a
/// timeout](OperatorHttp::with_body_deadline); a later or larger one is answered with 408
/// or 413.
///
/// # Mounting
/// - As the fallback of a router: it gets the whole path, and answers 404 to unknown ones.
///   Most servers want this.
/// - As a route such as axum's `/v1/operator/{*rest}`.
/// - In a nest, which cuts off the beginning of the path: set it with
///   [`nested_under`](OperatorHttp::nested_under).
#[derive(Clone)]
pub struct OperatorHttp {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    service: OperatorService,
    wire: Wire,
    body_deadline: Duration,
    prefix: String,
}

impl OperatorHttp {
    /// Creates a service that answers in [`Dialect::Precise`].
    pub fn new(service: OperatorService) -> Self {
        OperatorHttp {
            shared: Arc::new(Shared {
                service,
                wire: Wire::new(Dialect::default()),
                body_deadline: Duration::from_secs(10),
                prefix: String::new(),
            }),
        }
    }

    /// Sets the dialect and its settings.
    #[must_use]
    pub fn with_wire(mut self, wire: Wire) -> Self {
        Arc::make_mut(&mut self.shared).wire = wire;
        self
    }

    /// Sets the dialect.
    #[must_use]
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        let limit = self.shared.wire.body_limit();
        self.with_wire(Wire::new(dialect).with_body_limit(limit))
    }

    /// Sets how long a client may take to send a body, by default 10 s.
    #[must_use]
    pub fn with_body_deadline(mut self, deadline: Duration) -> Self {
        Arc::make_mut(&mut self.shared).body_deadline = deadline;
        self
    }

    /// Sets what a router has cut off the path, such as `/v1/operator`.
    #[must_use]
    pub fn nested_under(mut self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        // The rest of the path begins with a slash.
        Arc::make_mut(&mut self.shared).prefix = prefix.trim_end_matches('/').to_owned();
        self
    }
}

impl Shared {
    async fn answer<B>(&self, request: http::Request<B>) -> Response
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let path = match &*self.prefix {
            "" => Cow::Borrowed(head.uri.path()),
            prefix => Cow::Owned(format!("{prefix}{}", head.uri.path())),
        };
        let method = head.method.as_str();
        let body = if self.wire.wants_body(method, &path) {
            match self.read(&head.headers, body).await {
                Ok(body) => body,
                Err(response) => return *response,
            }
        } else {
            Bytes::new()
        };
        let request = Request {
            method,
            path: &path,
            query: head.uri.query(),
            headers: &head.headers,
            body,
        };
        self.wire.serve(&self.service, request).await
    }

    async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<Bytes, Box<Response>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let wire = self.wire.with_default_policy(self.service.default_policy());
        let mut deadline = Deadline::new(self.service.timer(), self.body_deadline);
        match deadline.bound(body::read(body, wire.body_limit())).await {
            Some(Ok(body)) => Ok(body),
            Some(Err(Unread::TooLarge)) => Err(Box::new(wire.body_too_large(headers))),
            Some(Err(Unread::Broken(_))) => Err(Box::new(wire.body_unreadable(headers))),
            None => Err(Box::new(wire.body_too_late(headers))),
        }
    }
}

impl<B> tower_service::Service<http::Request<B>> for OperatorHttp
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = http::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(shared.answer(request).await.into()) })
    }
}

impl fmt::Debug for OperatorHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorHttp")
            .field("service", &self.shared.service)
            .field("wire", &self.shared.wire)
            .finish_non_exhaustive()
    }
}

const X_CONSUL_TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

impl Headers for HeaderMap {
    fn value(&self, name: &str, at: usize) -> Option<&[u8]> {
        // Known names need not be parsed.
        let values = match name {
            "accept" => self.get_all(header::ACCEPT),
            "authorization" => self.get_all(header::AUTHORIZATION),
            "cache-control" => self.get_all(header::CACHE_CONTROL),
            "x-consul-token" => self.get_all(X_CONSUL_TOKEN),
            name => self.get_all(name),
        };
        values.into_iter().nth(at).map(HeaderValue::as_bytes)
    }

    fn count(&self) -> usize {
        self.len()
    }
}

impl From<Response> for http::Response<Full<Bytes>> {
    fn from(response: Response) -> Self {
        let mut headers = HeaderMap::with_capacity(response.headers.len());
        for (name, value) in response.headers {
            let name = match name {
                "Content-Type" => Ok(header::CONTENT_TYPE),
                "Cache-Control" => Ok(header::CACHE_CONTROL),
                name => HeaderName::from_bytes(name.as_bytes()),
            };
            let value = match value {
                Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
                Cow::Owned(text) => HeaderValue::try_from(text),
            };
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        let mut converted = http::Response::new(Full::new(response.body));
        *converted.status_mut() =
            StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *converted.headers_mut() = headers;
        converted
    }
}
