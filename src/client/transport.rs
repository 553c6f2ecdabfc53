//! Connections, and one exchange over them.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

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
/// A request is wiped once it is sent, and a reply to a server call once it is
/// read. What a connection holds in its own buffers is not.
///
/// [`HttpPeers`]: super::HttpPeers
/// [`OperatorClient`]: super::OperatorClient
#[derive(Clone)]
pub struct Transport {
    connections: Arc<dyn Connections>,
    connect_timeout: Duration,
}

/// The answer to a request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    /// The header `X-Operator-Error`.
    pub(super) error: Option<String>,
    pub(super) body: Bytes,
    /// The time from the call to the end of the answer.
    pub(super) elapsed: Duration,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Failure {
    /// A part of the request may have arrived.
    pub(super) sent: bool,
    pub(super) cause: Cause,
    #[source]
    pub(super) source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cause {
    #[error("no connection within {} ms", .0.as_millis())]
    NoConnection(Duration),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
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
            // Only what no connection has taken yet, which `SendState` makes sure
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
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let begin = Instant::now();
        let state = SendState::default();
        let request = request.map(|bytes| Outgoing::new(bytes, state.clone()));
        let fail = |cause, source| Failure {
            sent: !state.abandon(),
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
            let text = |value: Option<&HeaderValue>| Some(value?.to_str().ok()?.to_owned());
            let content_type = text(head.headers.get(CONTENT_TYPE));
            Ok(Answer {
                status: head.status,
                content_type: essence(&content_type.unwrap_or_default()),
                error: text(head.headers.get("x-operator-error")),
                body,
                elapsed: begin.elapsed(),
            })
        });
        if self.connect_timeout < timeout {
            match timeout_at(later(begin, self.connect_timeout), &mut answer).await {
                Ok(answer) => return answer,
                Err(_) if state.abandon() => {
                    return Err(fail(Cause::NoConnection(self.connect_timeout), None));
                }
                Err(_) => {}
            }
        }
        match timeout_at(later(begin, timeout), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(fail(Cause::TimedOut(timeout), None)),
        }
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

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const ABANDONED: u8 = 2;

/// The state of a request: waiting, begun to be sent, or abandoned.
///
/// A connection that takes a request looks at its body before it writes the
/// first byte. So a request whose body nobody has looked at has not been sent,
/// whatever went wrong; and one that was abandoned before is not sent any more.
#[derive(Clone, Default)]
struct SendState(Arc<AtomicU8>);

impl SendState {
    /// Forbids the sending. Says whether it was not begun yet, in which case
    /// nothing of the request arrives anywhere.
    fn abandon(&self) -> bool {
        self.change(ABANDONED)
    }

    /// Begins the sending, unless it was abandoned.
    fn start(&self) -> bool {
        self.change(STARTED)
    }

    /// Enters a state, if it was waiting. Returns whether it is in that state now.
    fn change(&self, to: u8) -> bool {
        match self
            .0
            .compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(now) => now == to,
        }
    }
}

/// The body of a request, which notes when it begins to be sent.
struct Outgoing {
    bytes: Option<Bytes>,
    state: SendState,
}

/// The request was given up before it was sent.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it was sent")]
struct Abandoned;

impl Outgoing {
    fn new(bytes: Bytes, state: SendState) -> Self {
        Outgoing {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            state,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Abandoned;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abandoned>>> {
        Poll::Ready(if self.state.start() {
            self.bytes.take().map(|bytes| Ok(Frame::data(bytes)))
        } else {
            Some(Err(Abandoned))
        })
    }

    /// An abandoned body is not at its end: a connection that wants to send it has
    /// to ask for more, and gets an error.
    fn is_end_stream(&self) -> bool {
        self.state.start() && self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.state.start() {
            SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
        } else {
            SizeHint::default()
        }
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

/// The media type of server calls and of most answers.
pub(super) const JSON: &str = "application/json";

/// A media type without its parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;
    use http_body_util::BodyExt;

    use super::*;

    fn outgoing(text: &'static str) -> (Outgoing, SendState) {
        let state = SendState::default();
        (Outgoing::new(text.into(), state.clone()), state)
    }

    #[test]
    fn looking_at_a_body_begins_to_send_it() {
        let looks: [fn(&mut Outgoing); 3] = [
            |body| _ = body.is_end_stream(),
            |body| _ = body.size_hint(),
            |body| drop(block_on(body.frame())),
        ];
        for text in ["", "{}"] {
            for look in looks {
                let (mut body, state) = outgoing(text);
                look(&mut body);
                assert!(!state.abandon());
                look(&mut body);
            }
        }
    }

    #[test]
    fn abandoned_body_cannot_be_sent_even_if_it_is_empty() {
        for text in ["", "{}"] {
            let (mut body, state) = outgoing(text);
            assert!(state.abandon());
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), None);
            assert!(block_on(body.frame()).unwrap().is_err());
            assert!(state.abandon());
        }
    }
}
