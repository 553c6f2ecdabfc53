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

mod page;

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body;
use http_body_util::Full;

use crate::body::{self, Unread};
use crate::consul::{Dialect, Endpoint, Headers, Request, RequestSummary, Response, Wire};
use crate::service::OperatorService;
use crate::timer::Deadline;

pub use page::{Page, UI_PATH};

/// Answers Consul's operator endpoints over HTTP.
///
/// Cheap to clone. It is always ready, never fails, and starts no task. A body is read
/// only if the endpoint needs it, up to the [limit](Wire::with_body_limit) and within [a
/// timeout](OperatorHttp::with_body_deadline); a later or larger one is answered with 408
/// or 413. More requests at once than [a limit](OperatorHttp::with_concurrency_limit) are
/// answered with 503.
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
    concurrency_limit: usize,
    /// The number of requests that are executed.
    executing: Arc<AtomicUsize>,
    summaries: bool,
    page: Option<Page>,
    #[cfg(feature = "metrics")]
    metrics: bool,
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
                concurrency_limit: 1024,
                executing: Arc::default(),
                summaries: false,
                page: None,
                #[cfg(feature = "metrics")]
                metrics: false,
            }),
        }
    }

    /// Sets the dialect and its settings.
    #[must_use]
    pub fn with_wire(mut self, wire: Wire) -> Self {
        Arc::make_mut(&mut self.shared).wire = wire;
        self
    }

    /// Sets the dialect. See [`Wire::with_dialect`].
    #[must_use]
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        let wire = self.shared.wire.with_dialect(dialect);
        self.with_wire(wire)
    }

    /// Serves only methods that read. See [`Wire::read_only`].
    #[must_use]
    pub fn read_only(self) -> Self {
        let wire = self.shared.wire.read_only();
        self.with_wire(wire)
    }

    /// Switches an endpoint off. See [`Wire::without`].
    #[must_use]
    pub fn without(self, endpoint: Endpoint) -> Self {
        let wire = self.shared.wire.without(endpoint);
        self.with_wire(wire)
    }

    /// Switches `GET /v1/operator/openapi.json` on. See [`Wire::with_openapi`].
    #[must_use]
    pub fn with_openapi(self) -> Self {
        let wire = self.shared.wire.with_openapi();
        self.with_wire(wire)
    }

    /// Serves a page for people at [`/v1/operator/ui`](UI_PATH), such as
    /// `cluster_operator_ui::PAGE`. Only [`Dialect::Precise`] has it.
    ///
    /// The page is served without a token; what it shows it has to ask for with one.
    #[must_use]
    pub fn with_ui(mut self, page: Page) -> Self {
        Arc::make_mut(&mut self.shared).page = Some(page);
        self
    }

    /// Sets how many requests are executed at once, by this value and its clones. One more
    /// is answered with 503 and `Retry-After`. Default: 1,024.
    ///
    /// A request whose body is still being read does not count: the
    /// [deadline](OperatorHttp::with_body_deadline) of the body and the server's limit of
    /// connections bound those.
    #[must_use]
    pub fn with_concurrency_limit(mut self, requests: usize) -> Self {
        Arc::make_mut(&mut self.shared).concurrency_limit = requests;
        self
    }

    /// Puts a [`RequestSummary`] into the extensions of each response, so that outer
    /// layers know the operation and its outcome.
    ///
    /// ```
    /// # use cluster_operator::OperatorService;
    /// use axum::response::Response;
    /// use cluster_operator::consul::RequestSummary;
    /// use cluster_operator::server::OperatorHttp;
    ///
    /// # fn mount(service: OperatorService) -> axum::Router {
    /// axum::Router::new()
    ///     .fallback_service(OperatorHttp::new(service).with_summaries())
    ///     .layer(axum::middleware::map_response(|response: Response| async {
    ///         if let Some(summary) = response.extensions().get::<RequestSummary>() {
    ///             println!("{:?}: {}", summary.operation, summary.outcome.name());
    ///         }
    ///         response
    ///     }))
    /// # }
    /// ```
    #[must_use]
    pub fn with_summaries(mut self) -> Self {
        Arc::make_mut(&mut self.shared).summaries = true;
        self
    }

    /// Counts and times the requests. See
    /// [`MetricsObserver`](crate::observer::MetricsObserver) for the names of the metrics.
    /// A request whose client goes away before the response is not counted.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_metrics(mut self) -> Self {
        Arc::make_mut(&mut self.shared).metrics = true;
        self
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
    async fn respond<B>(&self, request: http::Request<B>) -> http::Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        #[cfg(feature = "metrics")]
        let metered = self.metrics.then(|| {
            let timer = self.service.timer();
            (timer, timer.now(), request.method().clone())
        });
        let (response, summary) = self.answer(request).await;
        #[cfg(feature = "metrics")]
        if let Some((timer, began, method)) = metered {
            crate::observer::count_request(
                summary.endpoint.map_or("other", Endpoint::label),
                method.as_str(),
                response.status,
                summary.error,
                timer.now().saturating_duration_since(began),
            );
        }
        let mut response = http::Response::from(response);
        if self.summaries {
            response.extensions_mut().insert(summary);
        }
        response
    }

    async fn answer<B>(&self, request: http::Request<B>) -> (Response, RequestSummary)
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
        let rejected = |error| {
            let mut summary = RequestSummary::rejected(self.wire.endpoint(&path), Some(error));
            summary.request_id = self.wire.given_id(&head.headers);
            summary
        };
        if let Some(page) = self.page
            && path == UI_PATH
            && self.wire.dialect() == Dialect::Precise
        {
            let response = page.answer(method);
            let error = (response.status >= 400).then_some("invalid-request");
            return (response, RequestSummary::rejected(None, error));
        }
        let wanted = self.wire.wants_body(method, &path);
        let body = if wanted || self.wire.rejects_body(method, &path) && !body.is_end_stream() {
            match self.read(&head.headers, body).await {
                Ok(body) => body,
                Err(response) => return (*response, rejected("invalid-request")),
            }
        } else {
            if !body.is_end_stream() {
                // Discarded as in Consul. A server that answers while a body is on its way
                // hangs up afterwards, and the client's next request is lost.
                let _ = self.read(&head.headers, body).await;
            }
            Bytes::new()
        };
        // Taken after the body has come, so that slow clients take no place.
        let Some(_slot) = Slot::take(&self.executing, self.concurrency_limit) else {
            let response = self.own_wire().too_many_requests(&head.headers);
            return (response, rejected("unavailable"));
        };
        let request = Request {
            method,
            path: &path,
            query: head.uri.query(),
            headers: &head.headers,
            body,
        };
        self.wire.answer(&self.service, request).await
    }

    /// Returns the wire for responses that it writes without the service.
    fn own_wire(&self) -> Wire {
        self.wire.with_default_policy(self.service.default_policy())
    }

    async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<Bytes, Box<Response>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let wire = self.own_wire();
        let mut deadline = Deadline::new(self.service.timer(), self.body_deadline);
        match deadline.bound(body::read(body, wire.body_limit())).await {
            Some(Ok(body)) => Ok(body),
            Some(Err(Unread::TooLarge)) => Err(Box::new(wire.body_too_large(headers))),
            Some(Err(Unread::Broken(_))) => Err(Box::new(wire.body_unreadable(headers))),
            None => Err(Box::new(wire.body_too_late(headers))),
        }
    }
}

/// A place among the requests that are executed at once.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(executing: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let before = executing.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(executing);
        (before < limit).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
        Box::pin(async move { Ok(shared.respond(request).await) })
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
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Headers for HeaderMap {
    fn value(&self, name: &str, at: usize) -> Option<&[u8]> {
        // Known names need not be parsed.
        let values = match name {
            "accept" => self.get_all(header::ACCEPT),
            "authorization" => self.get_all(header::AUTHORIZATION),
            "cache-control" => self.get_all(header::CACHE_CONTROL),
            "x-consul-token" => self.get_all(X_CONSUL_TOKEN),
            "x-request-id" => self.get_all(X_REQUEST_ID),
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
