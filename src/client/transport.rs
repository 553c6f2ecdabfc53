//! Connections, and one exchange over them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::outgoing::{Departure, Outgoing};
use crate::body::{Unread, read};

/// Connections to servers over HTTP/1.1, kept open and used again.
///
/// Cheap to clone; clones share the connections. [`HttpPeers`] and
/// [`OperatorClient`] have one each unless they are given one.
///
/// A request that was begun to be sent is never sent again. One that was given to
/// a kept connection which turns out to be closed before its first byte is sent
/// over another.
///
/// # TLS
/// There is none by default, so that this crate decides on no TLS library. Hand
/// in a connector that speaks it, such as `hyper-rustls`' `HttpsConnector`, with
/// client certificates if the servers are to know each other by them.
///
/// # Secrets
/// What is handed to a connection is wiped once it is sent. What a connection has
/// in its own buffers, and an answer, is not.
///
/// [`HttpPeers`]: super::HttpPeers
/// [`OperatorClient`]: super::OperatorClient
#[derive(Clone)]
pub struct Transport {
    connections: Arc<dyn Connections>,
    connect_timeout: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Failure {
    /// Whether anything of the request may have arrived.
    pub(super) sent: bool,
    pub(super) cause: Cause,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cause {
    #[error("no connection within {} ms", .0.as_millis())]
    NoConnection(Duration),
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Broken(String),
}

impl Transport {
    /// Connections over TCP, without TLS.
    pub fn tcp() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // A server that has gone without a word is noticed on idle connections.
        connector.set_keepalive(Some(Duration::from_secs(15)));
        Transport::over(connector)
    }

    /// Connections that this connector makes: a [`tower_service::Service`] from
    /// [`http::Uri`] to a stream, as `hyper-util` has it.
    pub fn over<C>(connector: C) -> Self
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            // Only what no connection has taken yet, which `Departure` makes sure
            // of by itself.
            .retry_canceled_requests(true)
            .build(connector);
        Transport {
            connections: Arc::new(client),
            connect_timeout: Duration::from_secs(2),
        }
    }

    /// Sets how long it may take until a request can be sent, TLS included.
    /// Default: 2 s, in which one lost packet is made up for.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sends a request once, and reads an answer of at most so many bytes. It has
    /// to be awaited inside a tokio runtime.
    pub(super) async fn exchange(
        &self,
        request: Request<Bytes>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Answer, Failure> {
        let begin = Instant::now();
        let departure = Departure::default();
        let request = request.map(|bytes| Outgoing::new(bytes, departure.clone()));
        let fail = |cause, source| Failure {
            sent: !departure.abandon(),
            cause,
            source,
        };
        let mut answer = std::pin::pin!(async {
            let response = self.connections.send(request).await.map_err(|error| {
                let source: Box<dyn Error + Send + Sync> = Box::new(error);
                fail(Cause::Broken(chain(&*source)), Some(source))
            })?;
            let (head, body) = response.into_parts();
            let body = read(body, limit).await.map_err(|unread| match unread {
                Unread::TooLarge => fail(Cause::TooLarge(limit), None),
                Unread::Broken(error) => fail(Cause::Broken(chain(&*error)), Some(error)),
            })?;
            let content_type = head.headers.get(CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok());
            Ok(Answer {
                status: head.status,
                content_type: essence(content_type.unwrap_or_default()),
                body,
            })
        });
        if self.connect_timeout < deadline {
            match timeout_at(later(begin, self.connect_timeout), &mut answer).await {
                Ok(answer) => return answer,
                Err(_) if departure.abandon() => {
                    return Err(fail(Cause::NoConnection(self.connect_timeout), None));
                }
                Err(_) => {}
            }
        }
        match timeout_at(later(begin, deadline), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(fail(Cause::Late(deadline), None)),
        }
    }
}

impl Failure {
    /// What caused it, for [`Error::source`].
    pub(super) fn into_source(self) -> Option<Box<dyn Error + Send + Sync>> {
        self.source
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Hides the connector's type.
trait Connections: Send + Sync {
    fn send(&self, request: Request<Outgoing>) -> ResponseFuture;
}

impl<C> Connections for Client<C, Outgoing>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    fn send(&self, request: Request<Outgoing>) -> ResponseFuture {
        self.request(request)
    }
}

/// A duration may be too long for the clock; then there is no end.
fn later(begin: Instant, after: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    begin + after.min(YEAR)
}

/// An error with what is behind it: hyper's own text alone says little.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some repeat what is behind them.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// A media type without its parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}
